import pytest

from bff_proxy import redact


def test_credentials_in_headers_are_masked() -> None:
    given = [(b"Authorization", b"Bearer s3"), (b"set-cookie", b"a=s3"), (b"Cookie", b"a=s3"), (b"accept", b"*/*")]
    shown = redact.headers(given)
    assert "s3" not in str(shown)
    assert ("accept", "*/*") in shown


@pytest.mark.parametrize(
    "data",
    [
        b'{"access_token": "s3cr\\"et", "a": 1}',
        b'{"password":"s3cret"}',
        b'{"apiKey":s3cret}',
        b'{"token":"s3cret is cut off',
        b"user=a&password=s3cret&b=1",
        b"/backtests?api_key=s3cret;x=1",
    ],
)
def test_token_like_fields_are_masked(data: bytes) -> None:
    assert "s3cr" not in redact.text(data)
    assert redact.MASK in redact.text(data)


def test_long_body_is_cut() -> None:
    shown = redact.text(b"x" * 5000)
    assert shown.count("x") == redact.SHOWN_BYTES
    assert shown.endswith("(5000 bytes)")


def test_bytes_that_are_no_text_are_shown_escaped() -> None:
    assert redact.text(b"\xff\xfe") == "\\xff\\xfe"
