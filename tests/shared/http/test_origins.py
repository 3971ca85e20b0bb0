import pytest

from bff_shared.http.origins import is_allowed


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, ()),
        ("http://shop.example", ()),
        ("HTTP://Shop.Example", ()),
        ("https://a.other.example", ("https://*.other.example",)),
        ("https://a.b.other.example", ("https://*.other.example",)),
        ("https://anything.example:8443", ("*",)),
        ("http://localhost:5173", ("http://localhost:*",)),
    ],
)
def test_welcome_origins(origin: str | None, allowed: tuple[str, ...]) -> None:
    assert is_allowed(origin, "shop.example", "http", allowed)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://shop.example", ()),
        ("http://shop.example:8080", ()),
        ("null", ()),
        ("https://other.example", ("https://*.other.example",)),
        ("https://evil.example/.other.example", ("https://*.other.example",)),
        ("https://evil-other.example", ("https://other.example",)),
        ("https://otherxexample", ("https://other.example",)),
    ],
)
def test_unwelcome_origins(origin: str, allowed: tuple[str, ...]) -> None:
    assert not is_allowed(origin, "shop.example", "http", allowed)
