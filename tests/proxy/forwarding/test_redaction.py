import pytest

from bff_proxy.forwarding import redaction


def test_credentials_in_headers_are_masked() -> None:
    given = [(b"Authorization", b"Bearer s3"), (b"set-cookie", b"a=s3"), (b"Cookie", b"a=s3"), (b"accept", b"*/*")]
    shown = redaction.headers(given)
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
        b"/backtests?jwt=s3cret&a=1",
        b"/callback?code=s3cret&x=2",
        b"/file?X-Amz-Signature=s3cret",
        b"/file?sig=s3cret&a=1",
        b"/x?access_token=s3cret",
        b"/x?session_id=s3cret",
        b'{"authorization":"Bearer s3cret"}',
        b'{"headers":{"Authorization":["Bearer s3cret"]}}',
        b'{"client_secret":"s3cret"}',
        b"Authorization: Bearer s3cretvalue",
    ],
)
def test_token_like_fields_are_masked(data: bytes) -> None:
    assert "s3cr" not in redaction.text(data)
    assert redaction.MASK in redaction.text(data)


def test_long_body_is_cut() -> None:
    shown = redaction.text(b"x" * 5000)
    assert shown.count("x") == redaction.SHOWN_BYTES
    assert shown.endswith("(5000 bytes)")


def test_bytes_that_are_no_text_are_shown_escaped() -> None:
    assert redaction.text(b"\xff\xfe") == "\\xff\\xfe"


def test_a_jwt_is_masked_wherever_it_stands() -> None:
    token = b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzM2NyZXQifQ.s3cretsignature"
    assert "s3cret" not in redaction.text(b'{"note":"' + token + b'"}')
    assert "s3cret" not in str(redaction.headers([(b"x-note", token)]))


@pytest.mark.parametrize(
    "name", [b"X-Api-Key", b"X-Auth-Token", b"X-Amz-Security-Token", b"X-CSRF-Token", b"X-Session"]
)
def test_headers_that_sound_like_credentials_are_masked(name: bytes) -> None:
    assert redaction.headers([(name, b"s3cret")]) == [(name.decode(), redaction.MASK)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"sec-websocket-protocol", b"bearer, s3cret"),
        (b"x-original-url", b"/x?access_token=s3cret"),
        (b"x-forwarded-uri", b"/x?a=1&sig=s3cret"),
        (b"x-note", b"Bearer s3cretvalue"),
        (b"forwarded", b"for=192.0.2.1;token=s3cret"),
    ],
)
def test_a_token_is_masked_in_whatever_header_it_travels(name: bytes, value: bytes) -> None:
    assert "s3cret" not in str(redaction.headers([(name, value)]))


@pytest.mark.parametrize("value", [b"text/html;q=0.8, */*", b"multipart/form-data; boundary=x", b"max-age=60, private"])
def test_a_header_without_a_token_is_shown(value: bytes) -> None:
    assert redaction.headers([(b"x-any", value)]) == [("x-any", value.decode())]


def test_targets_in_headers_are_masked() -> None:
    assert "s3cret" not in str(
        redaction.headers([(b"referer", b"https://a/?token=s3cret"), (b"Location", b"/?code=s3cret")])
    )


@pytest.mark.parametrize(
    "data", [b"/backtests?symbol=AAPL&status=done", b'{"strategy":"shown","statement":1,"zip_codes":2}']
)
def test_what_is_no_credential_is_shown(data: bytes) -> None:
    assert redaction.text(data) == data.decode()
