"""UTC dates out of parameters, which may be date-times as well. Pure."""

import re
from datetime import UTC, date, datetime

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[Tt ][0-9]{2}(:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,9})?)?)?([Zz]|[+ -][0-9]{2}(:?[0-9]{2})?)?")
RULE = "expected a date YYYY-MM-DD"


def utc_date(text: str) -> date:
    """Return the UTC date of `YYYY-MM-DD`, alone or with a time of day, which is UTC unless it names an offset.

    A `+` that came unescaped, and so became a space, is the sign that it was. Raises ValueError.
    """
    if _DATE.fullmatch(text):
        return date.fromisoformat(text)
    day, rest = text[:10], text[10:]
    if not _DATE.fullmatch(day) or not _TIME.fullmatch(rest):
        raise ValueError(RULE)
    try:
        moment = datetime.fromisoformat(day + "T" + rest[1:].upper().replace(" ", "+").replace(",", "."))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).date()
    except OverflowError as error:
        raise ValueError(RULE) from error
