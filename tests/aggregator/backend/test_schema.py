import json
from pathlib import Path
from typing import Any

import pytest

from bff_aggregator.backend import schema
from bff_aggregator.backend.schema import UnexpectedShape, items_of, metrics_of, orders_of, run_of, status_of

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("DONE", "DONE"),
        ("COMPLETED", "DONE"),
        ("FAILED", "ERROR"),
        ("canceled", "CANCELLED"),
        ("RUNNING", "RUNNING"),
        ("Paused", "PAUSED"),
    ],
)
def test_status_has_one_spelling(said: str, status: str) -> None:
    assert status_of(said) == status


def test_symbol_comes_from_the_dataset_where_it_is_not_said() -> None:
    assert run_of({"status": "DONE", "dataset_id": "TSLA-2025-1m"})["symbol"] == "TSLA"
    assert run_of({"status": "DONE", "dataset_id": "BRK-B-2024-1m"})["symbol"] == "BRK-B"
    assert run_of({"status": "DONE", "dataset_id": "ABC-rth"})["symbol"] == "ABC"
    assert run_of({"status": "DONE", "dataset_id": "TSLA-2025-1m", "symbol": "X"})["symbol"] == "X"
    assert run_of({"status": "DONE"})["symbol"] is None


def test_run_keeps_unknown_fields_and_says_null_for_unknown_values() -> None:
    run = run_of({"run_id": "r", "status": "COMPLETED", "progress": 0.5, "owner": None})
    assert (run["run_id"], run["status"], run["seed"]) == ("r", "DONE", None)
    assert run["extra"] == {"progress": 0.5, "owner": None}


def test_metrics_have_one_spelling() -> None:
    metrics = metrics_of({"sharpe": 1.5, "hit_rate": 0.4, "annual_return": 0.1, "beta": 0.9, "total_return": None})
    assert (metrics["sharpe_ratio"], metrics["win_rate"], metrics["cagr"]) == (1.5, 0.4, 0.1)
    assert metrics["total_return"] is None
    assert metrics["extra"] == {"beta": 0.9}


@pytest.mark.parametrize("answer", [{"sharpe": 1, "sharpe_ratio": 2}, {"sharpe_ratio": 2, "sharpe": 1}])
def test_own_name_wins_over_another_and_the_loser_is_kept(answer: dict[str, Any]) -> None:
    metrics = metrics_of(answer)
    assert (metrics["sharpe_ratio"], metrics["extra"]) == (2, {"sharpe": 1})


@pytest.mark.parametrize("answer", [{"sharpe": 1, "sharpe_ratio": None}, {"sharpe_ratio": None, "sharpe": 1}])
def test_value_wins_over_null_whatever_their_order(answer: dict[str, Any]) -> None:
    assert metrics_of(answer)["sharpe_ratio"] == 1


def test_metric_that_is_no_number_is_kept_as_extra() -> None:
    metrics = metrics_of({"total_return": "n/a", "cagr": 0.1})
    assert (metrics["total_return"], metrics["extra"]) == (None, {"total_return": "n/a"})


def test_orders_of_frames_and_of_rest_read_the_same() -> None:
    rest = {"order_id": "o1", "timestamp": "2025-01-02T14:31:00Z", "quantity": 1, "order_type": "MKT", "price": 2.5}
    frame = {"order_id": "o1", "ts_utc": "2025-01-02T14:31:00Z", "qty": 1, "type": "MKT", "price": 2.5}
    assert orders_of({"orders": [rest]}) == orders_of([frame])
    assert orders_of({"orders": [{**frame, "time_in_force": "IOC"}]})[0]["extra"] == {"time_in_force": "IOC"}


def test_items_of_the_list_have_the_same_fields() -> None:
    items, page, rejected = items_of({"items": [{"run_id": "r", "status": "FAILED", "tag": 1}], "total": 9})
    assert set(items[0]) == {*schema.ITEM_FIELDS, "extra"}
    assert (items[0]["status"], items[0]["extra"], page, rejected) == ("ERROR", {"tag": 1}, {"total": 9}, 0)


@pytest.mark.parametrize("answer", [[], {}, {"status": None}, "DONE", None])
def test_what_is_no_run_is_refused(answer: object) -> None:
    with pytest.raises(UnexpectedShape):
        run_of(answer)


@pytest.mark.parametrize("answer", [[], {"unexpected": True}, {"a": "b"}, 3, None])
def test_what_are_no_metrics_is_refused(answer: object) -> None:
    with pytest.raises(UnexpectedShape):
        metrics_of(answer)


@pytest.mark.parametrize("answer", [{}, {"orders": {}}, {"orders": [1]}, {"unexpected": True}, None])
def test_what_are_no_orders_is_refused(answer: object) -> None:
    with pytest.raises(UnexpectedShape):
        orders_of(answer)


def test_empty_metrics_and_orders_are_what_they_are() -> None:
    assert set(metrics_of({}).values()) == {None}
    assert orders_of({"orders": []}) == []


@pytest.mark.parametrize("text", ["2025-01-02T14:31:00Z", "2025-01-02T14:31:00", "2025-01-02T09:31:00-05:00"])
def test_instants_are_utc_unless_they_say_otherwise(text: str) -> None:
    assert schema.instant(text) == 1735828260.0


@pytest.mark.parametrize("value", [None, 3, "noon", ""])
def test_what_is_no_instant_is_none(value: object) -> None:
    assert schema.instant(value) is None


def test_recorded_answers_lose_nothing() -> None:
    detail = json.loads((SAMPLES / "backtest_detail.json").read_text())
    run = run_of(detail)
    assert {name: run[name] for name in detail} == detail
    assert "extra" not in run
