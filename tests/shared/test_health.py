import asyncio

import pytest

from bff_shared import health
from bff_shared.errors import BackendTimeout
from bff_shared.health import CheckFailed, Health


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def fine() -> None:
    return


async def test_report_names_service_version_and_uptime() -> None:
    clock = Clock()
    subject = Health("proxy", "1.2.3", {}, clock)
    clock.now += 5
    report = await subject.report()
    expected = {"service": "proxy", "version": "1.2.3", "status": "ok", "uptime_s": 5.0, "dependencies": {}}
    assert report == expected


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (CheckFailed("connection refused"), "connection refused"),
        (BackendTimeout("took too long"), "took too long"),
        (RuntimeError("at 10.1.2.3:99"), "the check itself failed"),
    ],
)
async def test_dependency_that_is_down_degrades(failure: Exception, text: str) -> None:
    async def broken() -> None:
        raise failure

    report = await Health("proxy", "1", {"backend": broken, "other": fine}, Clock()).report()
    assert report["status"] == "degraded"
    assert report["dependencies"]["backend"]["status"] == "down"
    assert report["dependencies"]["backend"]["error"] == text
    assert report["dependencies"]["other"]["status"] == "ok"


async def test_dependency_that_hangs_counts_as_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIMEOUT", 0.01)
    report = await Health("proxy", "1", {"backend": asyncio.Event().wait}, Clock()).report()  # type: ignore[dict-item]
    assert report["dependencies"]["backend"]["error"] == "no answer within 0.01 s"


async def test_many_questions_are_one_look() -> None:
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1

    clock = Clock()
    subject = Health("proxy", "1", {"backend": look}, clock)
    await asyncio.gather(*(subject.report() for _ in range(10)))
    assert looks == 1
    clock.now += 2
    await subject.report()
    assert looks == 2


async def test_draining_is_said_whatever_the_dependencies_say() -> None:
    subject = Health("proxy", "1", {"backend": fine}, Clock())
    subject.draining = True
    assert (await subject.report())["status"] == "draining"
