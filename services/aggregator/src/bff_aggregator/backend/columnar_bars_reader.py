"""Reads bars that are spelled as the backend spells them, without spaces and in the contract's order, by whole columns.

    {"t":"2024-10-31T13:30:00Z","o":229.51,"h":229.51,"l":228.9,"c":229.12,"v":575300}

Pure. A general JSON parser makes eight Python objects a bar first; this looks at colons, then at eight bytes of every
number at once (arithmetic on bytes within a word: D. Lemire, Number parsing at a gigabyte per second, 2021). Either it
is sure of every byte, or it returns None and leaves the body to the general parser. One column after the other, so that
what is worked on stays in the processor's cache.
"""

from datetime import date

import numpy as np
import orjson
from numpy.typing import NDArray

from bff_aggregator.backend.bars import Bars, Floats, Ints

Words = NDArray[np.uint64]
Places = NDArray[np.int64]

_START = b'"bars":['
_DAY = 86_400
_STAMP = 20
_WORD = 8
_POWERS = np.power(10.0, np.arange(_WORD))


def _word(text: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(text, "little"))


_ZEROS, _HIGHS, _SIXES = _word(b"0" * 8), _word(b"\xf0" * 8), _word(b"\x06" * 8)
_DOTS, _ONES, _TOPS, _LOWS = _word(b"." * 8), _word(b"\x01" * 8), _word(b"\x80" * 8), _word(b"\x0f" * 8)
_PAIRS, _QUADS = _word(b"\xff\0\xff\0\xff\0\xff\0"), _word(b"\xff\xff\0\0\xff\xff\0\0")
_EIGHT, _ONE = np.uint64(8), np.uint64(1)
# Times a lone set lowest bit of a byte, the highest byte of the product is that byte's number.
_NUMBERS = _word(bytes(range(7, -1, -1)))
_BETWEEN, _FIRST, _AFTER = _word(b'},{"t":"'), _word(b':[{"t":"'), _word(b'\0\0","o":')
_AFTER_BYTES, _KEY_BYTES = _word(b"\0\0" + b"\xff" * 6), _word(b"\xff" * 5)


def read(content: bytes, *, trades: bool) -> Bars | None:
    """Return the bars of a body as they come, or None where its spelling is another one."""
    begin, end = content.find(_START) + len(_START), content.rfind(b"]")
    if begin < len(_START) or end - begin < _STAMP or not _is_frame(content[:begin] + content[end:]):
        return None
    text = np.frombuffer(content, np.uint8)
    words: Words = np.ndarray((len(text) - _WORD + 1,), "<u8", text, strides=(1,))
    keys = b"hlcvn" if trades else b"hlcv"
    found = np.flatnonzero(text[begin:end] == ord(":"))
    # One of the key `t`, two of its value, one of the key `o`, one of each other key.
    if not len(found) or len(found) % (4 + len(keys)) or text[end - 1] != ord("}"):
        return None
    found += begin
    colons = [np.ascontiguousarray(column) for column in found.reshape(-1, 4 + len(keys)).T]
    t = _times(words, colons[0] + 2, content) if _have_keys(words, colons[0], colons[4:], keys) else None
    if t is None:
        return None
    starts = [colon + 1 for colon in colons[3:]]
    ends = [*(colon - 4 for colon in colons[4:]), np.append(colons[0][1:] - 6, end - 1)]
    columns = [_prices(text, words, a, b, content) for a, b in zip(starts[:4], ends[:4], strict=True)]
    counts = [_counts(text, words, a, b, content) for a, b in zip(starts[4:], ends[4:], strict=True)]
    o, h, low, c = columns
    v, n = counts[0], counts[-1]
    if o is None or h is None or low is None or c is None or v is None or n is None:
        return None
    return Bars(t, o, h, low, c, v, n if trades else None)


def _is_frame(text: bytes) -> bool:
    """Tell whether the body without its bars is JSON with an empty list in their place."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(document, dict) and document.get("bars") == []


def _have_keys(words: Words, t: Places, colons: list[Places], keys: bytes) -> bool:
    """Look at every byte that belongs to no value; `t` and `colons` are where the keys' colons are."""
    if t[-1] + 20 >= len(words):
        return False
    between = words[t - 6]
    return (
        between[0] == _FIRST
        and bool(np.all(between[1:] == _BETWEEN))
        and bool(np.all(words[t + 20] & _AFTER_BYTES == _AFTER))
        and all(
            bool(np.all(words[colon - 4] & _KEY_BYTES == _word(b',"%c":' % key)))
            for colon, key in zip(colons, keys, strict=True)
        )
    )


def _digits(word: Words) -> Words:
    """Return the numbers that words of eight decimal digits spell, the first digit in the lowest byte."""
    word = (word & _LOWS) * np.uint64(2561) >> np.uint64(8)
    word = (word & _PAIRS) * np.uint64(6553601) >> np.uint64(16)
    return (word & _QUADS) * np.uint64(42949672960001) >> np.uint64(32)


def _are_digits(word: Words) -> bool:
    return bool(np.all((word & _HIGHS == _ZEROS) & (word + _SIXES & _HIGHS == _ZEROS)))


def _begin_well(text: NDArray[np.uint8], starts: Places) -> bool:
    """Tell whether numbers begin with a digit, and none with a zero before another digit, which JSON does not allow."""
    first = text[starts]
    after = text[starts[first == ord("0")] + 1]
    return bool(np.all(first >= ord("0"))) and not bool(np.any((after >= ord("0")) & (after <= ord("9"))))


def _padded(word: Words, digits: Words) -> Words:
    """Put zeros before the last `digits` (1 to 8) digits of a word."""
    blank = (_ONE << (_EIGHT - digits) * _EIGHT) - _ONE
    padded: Words = word & ~blank | _ZEROS & blank
    return padded


def _prices(text: NDArray[np.uint8], words: Words, starts: Places, ends: Places, content: bytes) -> Floats | None:
    """Return decimal numbers; up to eight characters at once, which is exact: a whole number by a power of ten."""
    size = ends - starts
    long = np.flatnonzero(size > _WORD)
    if bool(np.any(size <= 0)) or len(long) > len(size) // 4 or not _begin_well(text, starts):
        return None
    length = np.minimum(size, _WORD).astype(np.uint64)
    word = words[ends - _WORD]
    word &= ~np.uint64(0) << (_EIGHT - length) * _EIGHT
    gap = word ^ _DOTS
    dot = gap - _ONES & ~gap & _TOPS
    dot[long] = 0
    has = dot != 0
    # A lone set bit is bit 7 of the dot's byte; the bits below it are that byte and the ones before it.
    below = np.where(has, (dot << _ONE) - _ONE, np.uint64(0))
    place = np.where(has, (dot >> np.uint64(7)) * _NUMBERS >> np.uint64(56), np.uint64(_WORD - 1))
    if bool(np.any(dot & dot - _ONE)) or bool(np.any(has & (place == _WORD - 1))):
        return None
    whole = _padded(word & ~below | (word & below >> _EIGHT) << _EIGHT, length - has)
    whole[long] = _ZEROS
    if not _are_digits(whole):
        return None
    prices: Floats = _digits(whole) / _POWERS[np.uint64(_WORD - 1) - place]
    for row in long.tolist():
        value = _plain(content[starts[row] : ends[row]])
        if value is None:
            return None
        prices[row] = value
    return prices


def _plain(text: bytes) -> float | int | None:
    """Read one JSON number that is not negative; None for anything else, and for what is not finite."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1e308
    return value if usable else None


def _counts(text: NDArray[np.uint8], words: Words, starts: Places, ends: Places, content: bytes) -> Ints | None:
    size = ends - starts
    if bool(np.any(size <= 0)) or not _begin_well(text, starts):
        return None
    long = np.flatnonzero(size > _WORD)
    whole = _padded(words[ends - _WORD], np.minimum(size, _WORD).astype(np.uint64))
    whole[long] = _ZEROS
    if not _are_digits(whole):
        return None
    counts: Ints = _digits(whole).astype(np.int64)
    for row in long.tolist():
        value = _plain(content[starts[row] : ends[row]])
        if not isinstance(value, int) or value >= 2**62:
            return None
        counts[row] = value
    return counts


def _times(words: Words, at: Places, content: bytes) -> Ints | None:
    """Return `YYYY-MM-DDTHH:MM:SSZ` as UTC seconds; dates, of which there are few, by the standard library."""
    year, clock, tail = words[at], words[at + 8], words[at + 12]
    if not (_are_stamps(clock, b"00T00:00", b"..T..:..") and _are_stamps(tail, b"0:00:00Z", b".:..:..Z")):
        return None
    hour, minute, second = _two(clock, 3), _two(clock, 6), _two(tail, 5)
    if bool(np.any((hour > 23) | (minute > 59) | (second > 59))):
        return None
    new = np.flatnonzero((year[1:] != year[:-1]) | ((clock[1:] ^ clock[:-1]) & np.uint64(0xFFFF) != 0)) + 1
    first = np.concatenate(([0], new))
    try:
        days = [_day(content[place : place + 10]) for place in at[first].tolist()]
    except ValueError:
        return None
    day = np.repeat(np.array(days, np.int64), np.diff(first, append=len(at)))
    return day * _DAY + (hour * 3600 + minute * 60 + second)


def _are_stamps(word: Words, zeros: bytes, pattern: bytes) -> bool:
    """Tell whether words are digits where `pattern` has a dot, and what it says elsewhere."""
    fixed = _word(bytes(0 if byte == ord(".") else 0xFF for byte in pattern))
    return bool(np.all(word & fixed == _word(zeros) & fixed)) and _are_digits(word & ~fixed | _ZEROS & fixed)


def _two(word: Words, byte: int) -> Ints:
    """Return the number that two digits from a byte on spell."""
    tens, ones = (word >> np.uint64(8 * place) & np.uint64(15) for place in (byte, byte + 1))
    return (tens * np.uint64(10) + ones).astype(np.int64)


def _day(text: bytes) -> int:
    return date.fromisoformat(text.decode("ascii", "replace")).toordinal() - date(1970, 1, 1).toordinal()
