import pytest

from bff_shared.settings import Settings, SettingsError, load


def test_defaults_need_no_environment() -> None:
    assert load(Settings).backend_url == "http://127.0.0.1:8000"


def test_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFF_BACKEND_URL", "https://backend.example:8443/")
    monkeypatch.setenv("BFF_ALLOWED_ORIGINS", "https://a.example, https://*.b.example")
    settings = load(Settings)
    assert settings.backend_url == "https://backend.example:8443"
    assert settings.allowed_origins == ("https://a.example", "https://*.b.example")


def test_log_level_counts_in_either_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFF_LOG_LEVEL", "debug")
    assert load(Settings).log_level == "DEBUG"


def test_empty_variable_means_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFF_PORT", "")
    assert load(Settings).port == 8100


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BFF_PORT", "seventy"),
        ("BFF_PORT", "70000"),
        ("BFF_BACKEND_URL", "backend:8000"),
        ("BFF_BACKEND_URL", "http://backend/base"),
        ("BFF_BACKEND_URL", "http://user:pass@backend"),
        ("BFF_REDIS_URL", "http://redis"),
        ("BFF_REDIS_URL", "redis://redis:port/0"),
        ("BFF_REDIS_URL", "redis://redis:70000/0"),
        ("BFF_LOG_LEVEL", "LOUD"),
        ("BFF_TRUSTED_PROXIES", "10.0.0.0/99"),
        ("BFF_CONNECT_TIMEOUT", "0"),
        ("BFF_CONNECT_TIMEOUT", "nan"),
        ("BFF_RETRY_BUDGET", "1.5"),
    ],
)
def test_bad_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}: "):
        load(Settings)


def test_every_bad_value_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFF_PORT", "x")
    monkeypatch.setenv("BFF_WORKERS", "0")
    with pytest.raises(SettingsError) as caught:
        load(Settings)
    assert {line.split(":")[0] for line in str(caught.value).splitlines()} == {"BFF_PORT", "BFF_WORKERS"}


def test_token_is_not_shown() -> None:
    settings = load(Settings, admin_token="hush-hush")
    assert "hush-hush" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redis_url", "redis//:hush-hush@redis:6379"),
        ("redis_url", "redis://:hush-hush@redis:port"),
        ("redis_url", "redis://:hush-hush/1@redis:6379"),
        ("backend_url", "http://user:hush-hush@backend"),
    ],
)
def test_a_password_in_a_bad_address_is_not_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(Settings, **{name: value})
    assert "hush-hush" not in str(caught.value)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(load(Settings), "port", 1)  # noqa: B010  mypy refuses the plain assignment, as it should
