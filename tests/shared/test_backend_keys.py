import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_shared.backend_keys import is_run_id, is_symbol

SYMBOLS = "AAPL AMpB BRK.B BF-B ^GSPC ES=F EURUSD=X C:EURUSD M&M.NS WFC+ BTC/USD O:SPY251219C00650000 RDSa ä %41 [x]"


@pytest.mark.parametrize("name", [*SYMBOLS.split(), "AAPL  240119C00150000", "x" * 64])
def test_printable_text_can_name_an_instrument(name: str) -> None:
    assert is_symbol(name)


@pytest.mark.parametrize("name", ["", " ", " A", "A ", "A\nB", "A\x00", "\u200b", "\ufffd", "x" * 65], ids=ascii)
def test_what_cannot_be_shown_names_no_instrument(name: str) -> None:
    assert not is_symbol(name)


@pytest.mark.parametrize(
    "name", ["a", "sma:AAPL:7", "2024-01-02T14:30:00", "YWJj==", "a~b", "a b", "lauf-ä", "...", "x" * 256]
)
def test_printable_text_can_name_a_run(name: str) -> None:
    assert is_run_id(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a\nb", "a\x1b[2J", "a\x00", "\u2028", "\ufffd", "x" * 257], ids=ascii
)
def test_what_leads_elsewhere_or_cannot_be_shown_names_no_run(name: str) -> None:
    assert not is_run_id(name)


@given(st.text(max_size=80))
def test_keys_hold_nothing_that_ends_a_line_or_hides(text: str) -> None:
    if is_symbol(text) or is_run_id(text):
        assert len(text.splitlines()) == 1
        assert text.encode().decode() == text
