"""The control routes that exist with `--faults` only: `/__faults` and `/__requests`.

`PUT /__faults` takes one rule, a list of rules or `{"rules": [...]}` (see `faults.Rule`) and replaces all rules;
`GET` shows them with their counters, `DELETE` ends all faults. `GET /__requests?path_prefix=` shows what arrived (see
`recorder.Recorder`), `DELETE` forgets it. Neither is recorded nor made to fail.
"""

from typing import Any

from fastapi import APIRouter

from bff_demo.faults import Rule, RuleSet
from bff_demo.interference import FaultBoard
from bff_demo.recorder import Recorder

__all__ = ["make_router"]


def make_router(board: FaultBoard, recorder: Recorder) -> APIRouter:
    """Return the routes over this board and this recorder."""
    router = APIRouter(include_in_schema=False)

    @router.put("/__faults")
    async def put_faults(rules: RuleSet | list[Rule] | Rule) -> dict[str, Any]:
        given = rules.rules if isinstance(rules, RuleSet) else rules if isinstance(rules, list) else [rules]
        board.put(given)
        return show_rules(board)

    @router.get("/__faults")
    async def get_faults() -> dict[str, Any]:
        return show_rules(board)

    @router.delete("/__faults")
    async def delete_faults() -> dict[str, Any]:
        board.put([])
        return show_rules(board)

    @router.get("/__requests")
    async def get_requests(path_prefix: str = "") -> dict[str, Any]:
        return recorder.report(path_prefix)

    @router.delete("/__requests")
    async def delete_requests() -> dict[str, Any]:
        recorder.reset()
        return recorder.report()

    return router


def show_rules(board: FaultBoard) -> dict[str, Any]:
    """Return the rules in force with their counters."""
    return {"rules": [active.report() for active in board.rules]}
