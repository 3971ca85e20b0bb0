"""Bodies of the OpenFeature Remote Evaluation Protocol (OFREP), version 0.3. Pure.

Specification: https://openfeature.dev/specification/appendix-c; the event stream is ADR-0008 of the protocol.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from bff_proxy.flags.evaluation import TARGETING_KEY, Evaluated, FlagSet
from bff_proxy.flags.evaluation_cost import CONTEXT, Size
from bff_proxy.flags.rules import MOST_NUMBER

EVENTS = "/ofrep/v1/events"
INACTIVITY_SECONDS = 120
MOST_KEY = 256
MAX_DEPTH = 16
"""Lists and objects within each other in a context."""


class BadEvaluation(Exception):
    """The request cannot be evaluated; `body` is what the protocol answers, with status 400."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(details)
        self.body = {"errorCode": code, "errorDetails": details}


def context_of(body: bytes, attributes: Size = CONTEXT) -> Mapping[str, Any]:
    """Return the evaluation context of a request's body, which may be empty; raises BadEvaluation.

    `attributes` is how large each attribute may be for the flags to be evaluated in time.
    """
    try:
        document = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise BadEvaluation("PARSE_ERROR", "the body is not JSON") from error
    if not isinstance(document, dict):
        raise BadEvaluation("PARSE_ERROR", "the body must be an object")
    context = document.get("context") or {}
    if not isinstance(context, dict):
        raise BadEvaluation("INVALID_CONTEXT", "context must be an object")
    if not _is_small(context, CONTEXT):
        raise BadEvaluation(
            "INVALID_CONTEXT", f"more than {CONTEXT.values} values, too long texts or too large numbers"
        )
    for name, attribute in context.items():
        if not _is_small(attribute, attributes):
            raise BadEvaluation(
                "INVALID_CONTEXT",
                f"{name} is more than {attributes.values} values or {attributes.characters} characters, too much for"
                " the rules of these flags",
            )
    who = context.get(TARGETING_KEY)
    if who is not None and not (isinstance(who, str) and len(who) <= MOST_KEY):
        raise BadEvaluation("INVALID_CONTEXT", f"{TARGETING_KEY} must be a text of at most {MOST_KEY} characters")
    return context


def _is_small(whole: Any, limit: Size) -> bool:
    """Tell whether a context, or an attribute of one, is within what the costs of rules are reckoned with."""
    values, size, todo = 0, 0, list[tuple[Any, int]]([(whole, 0)])
    while todo:
        value, depth = todo.pop()
        values += 1
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, dict):
            size += sum(map(len, value))
            todo += [(one, depth + 1) for one in value.values()]
        elif isinstance(value, list):
            todo += [(one, depth + 1) for one in value]
        elif isinstance(value, int) and not -MOST_NUMBER <= value <= MOST_NUMBER:
            return False
        # A list or an object is itself one value more than there are in it.
        if not limit.holds(values + len(todo) - 1, size) or depth > MAX_DEPTH:
            return False
    return True


def not_found(key: str) -> dict[str, Any]:
    """Return the body of a 404."""
    return {"key": key, "errorCode": "FLAG_NOT_FOUND", "errorDetails": "there is no such flag"}


def single(flags: FlagSet, found: Evaluated) -> dict[str, Any]:
    """Return one flag's answer; a disabled flag has no value, so that the client's own default holds."""
    if found.reason == "ERROR":
        return {"key": found.key, "errorCode": "GENERAL", "errorDetails": "the flag's rules failed"}
    value = {} if found.value is None else {"value": found.value}
    about = {"key": found.key, "reason": found.reason, "variant": found.variant}
    return {**about, **value, "metadata": _metadata(flags, found.key)}


def bulk(flags: FlagSet, found: list[Evaluated]) -> dict[str, Any]:
    """Return the answer for all flags, with the stream that tells of changes (ADR-0008 of the protocol)."""
    stream = {"type": "sse", "endpoint": {"requestUri": EVENTS}, "inactivityDelaySec": INACTIVITY_SECONDS}
    return {
        "flags": [single(flags, one) for one in found],
        "eventStreams": [stream],
        "metadata": {"revision": flags.revision},
    }


def etag(body: bytes) -> str:
    """Return an answer's entity tag (RFC 9110 section 8.8.3), quotes included."""
    return f'"{hashlib.sha256(body).hexdigest()[:16]}"'


def is_known(condition: str | None, tag: str) -> bool:
    """Tell whether an `If-None-Match` names a tag (RFC 9110 section 13.1.2, weak comparison)."""
    if condition is None:
        return False
    return condition.strip() == "*" or tag in {part.strip().removeprefix("W/") for part in condition.split(",")}


def _metadata(flags: FlagSet, key: str) -> dict[str, Any]:
    flag, change = flags.flags[key], flags.changes.get(key)
    about: dict[str, Any] = {"source": flags.source(key), "reason": flag.reason, "description": flag.description}
    if change is not None:
        about["changed_at"] = int(change.at)
    return {name: value for name, value in about.items() if value != ""}
