from bff_demo.recorder import Recorder, Seen


def seen(path: str) -> Seen:
    return Seen("http", "GET", path, path, "", [])


def test_memory_is_bounded() -> None:
    recorder = Recorder()
    for number in range(3000):
        recorder.begin(seen(f"/{number}"))
        recorder.end()
    report = recorder.report()
    assert (report["total"], len(report["counts"]), len(report["requests"])) == (3000, 2001, 500)
    assert report["requests"][-1]["path"] == "/2999"
    assert report["counts"]["other"] == 1000


def test_reset_keeps_what_is_in_flight() -> None:
    recorder = Recorder()
    for _ in range(3):
        recorder.begin(seen("/"))
    recorder.end()
    recorder.reset()
    report = recorder.report()
    assert (report["total"], report["in_flight"], report["max_in_flight"]) == (0, 2, 2)
