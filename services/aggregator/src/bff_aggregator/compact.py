"""Reads bars that are spelled as the backend spells them, without spaces and in the contract's order, by whole columns.

    {"t":"2024-10-31T13:30:00Z","o":229.51,"h":229.51,"l":228.9,"c":229.12,"v":575300}

Pure. A general JSON parser makes eight Python objects a bar first; this looks at quotes, then at eight bytes of every
number at once (arithmetic on bytes within a word: D. Lemire, Number parsing at a gigabyte per second, 2021). Either it
is sure of every byte, or it returns None and leaves the body to the general parser.
"""

from datetime import date

import numpy as np
import orjson
from numpy.typing import NDArray

from bff_aggregator.bars import Bars, Floats, Ints

Words = NDArray[np.uint64]
Places = NDArray[np.int64]

_START = b'"bars":['
_DAY = 86_400
_STAMP = 20
_WORD = 8
# Quotes of a bar: two of the key `t`, two of its value, two of each other key.
_KEYS = np.array([0, 4, 6, 8, 10, 12, 14])
_POWERS = np.power(10.0, np.arange(_WORD))


def _word(text: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(text, "little"))


_ZEROS, _HIGHS, _SIXES = _word(b"0" * 8), _word(b"\xf0" * 8), _word(b"\x06" * 8)
_DOTS, _ONES, _TOPS, _LOWS = _word(b"." * 8), _word(b"\x01" * 8), _word(b"\x80" * 8), _word(b"\x0f" * 8)
_PAIRS, _QUADS = _word(b"\xff\0\xff\0\xff\0\xff\0"), _word(b"\xff\xff\0\0\xff\xff\0\0")
_EIGHT, _ONE = np.uint64(8), np.uint64(1)


def read(content: bytes, *, trades: bool) -> Bars | None:
    """Return the bars of a body as they come, or None where its spelling is another one."""
    begin, end = content.find(_START) + len(_START), content.rfind(b"]")
    if begin < len(_START) or end - begin < _STAMP or not _is_frame(content[:begin] + content[end:]):
        return None
    text = np.frombuffer(content, np.uint8, end - begin, begin)
    keys = b"tohlcvn" if trades else b"tohlcv"
    found = np.flatnonzero(text == ord('"'))
    if not len(found) or len(found) % (2 * len(keys) + 2):
        return None
    quotes: Places = found.reshape(-1, 2 * len(keys) + 2)
    starts, ends = _numbers(text, quotes, keys)
    if starts is None or ends is None or _have_leading_zeros(text, starts):
        return None
    words: Words = np.ndarray((len(text) - _WORD + 1,), "<u8", text, strides=(1,))
    t = _times(words, quotes[:, 2] + 1, content, begin)
    prices = _prices(words, starts[:, :4], ends[:, :4], content, begin)
    counts = _counts(words, starts[:, 4:], ends[:, 4:], content, begin)
    if t is None or prices is None or counts is None:
        return None
    o, h, low, c = (np.ascontiguousarray(prices[:, index]) for index in range(4))
    return Bars(t, o, h, low, c, counts[:, 0].copy(), counts[:, 1].copy() if trades else None)


def _is_frame(text: bytes) -> bool:
    """Tell whether the body without its bars is JSON with an empty list in their place."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(document, dict) and document.get("bars") == []


def _numbers(text: NDArray[np.uint8], quotes: Places, keys: bytes) -> tuple[Places | None, Places | None]:
    """Return where the numbers of each bar begin and end, having looked at every byte that is not part of a value."""
    at = _KEYS[: len(keys)]
    lengths = np.diff(quotes, axis=1)
    names, after = text[quotes[:, at] + 1], text[quotes[:, at + 1] + 1]
    before = text[quotes[:, at] - 1]
    opened, numbers = quotes[:, 0], at[1:]
    sound = (
        bool(np.all(names == np.frombuffer(keys, np.uint8)))
        and bool(np.all(after == ord(":")))
        and bool(np.all(lengths[:, at] == 2))
        and bool(np.all(lengths[:, 1] == 2))
        and bool(np.all(lengths[:, 2] == _STAMP + 1))
        and bool(np.all(lengths[:, 3] == 2))
        and bool(np.all(before[:, 0] == ord("{")))
        and bool(np.all(before[:, 1:] == ord(",")))
        and opened[0] == 1
        and bool(np.all(text[opened[1:] - 2] == ord(",")))
        and bool(np.all(text[opened[1:] - 3] == ord("}")))
        and text[-1] == ord("}")
    )
    if not sound:
        return None, None
    last = np.append(opened[1:] - 3, len(text) - 1)
    ends = np.column_stack((quotes[:, numbers[1:]] - 1, last))
    return quotes[:, numbers + 1] + 2, ends


def _have_leading_zeros(text: NDArray[np.uint8], starts: Places) -> bool:
    """Tell whether a number begins with a zero that is followed by a digit, which JSON does not allow."""
    after = text[starts[text[starts] == ord("0")] + 1]
    return bool(np.any((after >= ord("0")) & (after <= ord("9"))))


def _digits(word: Words) -> Words:
    """Return the numbers that words of eight decimal digits spell, the first digit in the lowest byte."""
    word = (word & _LOWS) * np.uint64(2561) >> np.uint64(8)
    word = (word & _PAIRS) * np.uint64(6553601) >> np.uint64(16)
    return (word & _QUADS) * np.uint64(42949672960001) >> np.uint64(32)


def _are_digits(word: Words) -> bool:
    return bool(np.all((word & _HIGHS == _ZEROS) & (word + _SIXES & _HIGHS == _ZEROS)))


def _tokens(words: Words, starts: Places, ends: Places) -> tuple[Words, Words]:
    """Return each token's last eight bytes with what is before the token blanked, and its length, at most eight."""
    length = np.clip(ends - starts, 1, _WORD).astype(np.uint64)
    return words[ends - _WORD] & ~np.uint64(0) << (_EIGHT - length) * _EIGHT, length


def _padded(word: Words, digits: Words) -> Words:
    """Put zeros before the last `digits` (1 to 8) digits of a word."""
    return word | _ZEROS & (_ONE << (_EIGHT - digits) * _EIGHT) - _ONE


def _prices(words: Words, starts: Places, ends: Places, content: bytes, begin: int) -> Floats | None:
    """Return decimal numbers; up to eight characters at once, which is exact: a whole number by a power of ten."""
    long = ends - starts > _WORD
    if bool(np.any(ends <= starts)) or np.count_nonzero(long) > long.size // 4:
        return None
    word, length = _tokens(words, starts, ends)
    gap = word ^ _DOTS
    dot = gap - _ONES & ~gap & _TOPS
    dot = np.where(long, np.uint64(0), dot)
    has = dot != 0
    # A lone set bit is bit 7 of the dot's byte; the bits below it are that byte and the ones before it.
    below = np.where(has, (dot << _ONE) - _ONE, np.uint64(0))
    place = np.where(has, (np.frexp(dot.astype(np.float64))[1] // 8), 8) - 1
    if bool(np.any(dot & dot - _ONE)) or bool(np.any(has & (place == _WORD - 1))):
        return None
    joined = np.where(has, word & ~below | (word & below >> _EIGHT) << _EIGHT, word)
    digits = np.where(has, length - _ONE, length)
    whole = np.where(long, _ZEROS, _padded(joined, np.maximum(digits, _ONE)))
    if not _are_digits(whole):
        return None
    prices: Floats = _digits(whole) / _POWERS[np.where(has, _WORD - 1 - place, 0)]
    return _slowly(prices, long, starts, ends, content, begin)


def _slowly(
    prices: Floats, long: NDArray[np.bool_], starts: Places, ends: Places, content: bytes, begin: int
) -> Floats | None:
    """Fill in the numbers of more than eight characters, one by one."""
    for row, column in np.argwhere(long).tolist():
        value = _plain(content[begin + starts[row, column] : begin + ends[row, column]])
        if value is None:
            return None
        prices[row, column] = value
    return prices


def _plain(text: bytes) -> float | int | None:
    """Read one JSON number that is not negative; None for anything else, and for what is not finite."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1e308
    return value if usable else None


def _counts(words: Words, starts: Places, ends: Places, content: bytes, begin: int) -> Ints | None:
    long = ends - starts > _WORD
    if bool(np.any(ends <= starts)):
        return None
    word, length = _tokens(words, starts, ends)
    whole = np.where(long, _ZEROS, _padded(word, length))
    if not _are_digits(whole):
        return None
    counts: Ints = _digits(whole).astype(np.int64)
    for row, column in np.argwhere(long).tolist():
        value = _plain(content[begin + starts[row, column] : begin + ends[row, column]])
        if not isinstance(value, int) or value >= 2**62:
            return None
        counts[row, column] = value
    return counts


def _times(words: Words, at: Places, content: bytes, begin: int) -> Ints | None:
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
        days = [_day(content[begin + place : begin + place + 10]) for place in at[first].tolist()]
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
