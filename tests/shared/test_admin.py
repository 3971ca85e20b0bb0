import pytest

from bff_shared import admin
from bff_shared.admin import AdminGate, require_admin
from bff_shared.errors import BffError, NotFound, TooManyRequests, Unauthorized


@pytest.mark.parametrize("authorization", ["Bearer sesame", "bearer  sesame "])
def test_token_lets_in(authorization: str) -> None:
    require_admin(authorization, "sesame")


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer sesam", "Basic sesame", "sesame", "Bearer s\u00e9"])
def test_anything_else_does_not(authorization: str) -> None:
    with pytest.raises(Unauthorized):
        require_admin(authorization, "sesame")


def test_without_a_token_there_is_nothing_to_be_let_into() -> None:
    with pytest.raises(NotFound):
        require_admin("Bearer ", "")


def refused(gate: AdminGate, given: str, client: str) -> type[BffError] | None:
    try:
        gate.check(f"Bearer {given}", client)
    except BffError as error:
        return type(error)
    return None


def test_a_very_long_token_is_refused_unless_it_is_the_configured_one() -> None:
    with pytest.raises(Unauthorized):
        require_admin(f"Bearer {' ' * 10_000}sesame", "sesame")
    require_admin(f"Bearer {'s' * 5_000}", "s" * 5_000)


def test_a_client_that_has_guessed_too_often_waits_and_others_do_not() -> None:
    now = 0.0
    gate = AdminGate("sesame", lambda: now)
    assert [refused(gate, "guess", "a") for _ in range(7)] == [Unauthorized] * 5 + [TooManyRequests] * 2
    assert refused(gate, "sesame", "a") is TooManyRequests
    assert refused(gate, "sesame", "b") is None
    now += 1 / admin.CLIENT_GUESSES
    assert refused(gate, "sesame", "a") is None


def test_guesses_of_many_clients_are_slowed_together_but_shut_out_nobody_who_had_the_token() -> None:
    gate = AdminGate("sesame", lambda: 0.0)
    assert refused(gate, "sesame", "admin") is None
    answers = [refused(gate, "guess", f"client {n}") for n in range(100)]
    assert answers.count(Unauthorized) == admin.ALL_BURST
    assert answers[-1] is TooManyRequests
    assert refused(gate, "sesame", "admin") is None


def test_guesses_from_the_admins_own_address_do_not_shut_the_admin_out() -> None:
    now = 0.0
    gate = AdminGate("sesame", lambda: now)
    assert refused(gate, "sesame", "office") is None
    for _ in range(60):
        now += 1
        assert refused(gate, "guess", "office") in {Unauthorized, TooManyRequests}
        assert refused(gate, "sesame", "office") is None


def test_guesses_of_many_clients_do_not_shut_out_the_token_from_a_new_address() -> None:
    gate = AdminGate("sesame", lambda: 0.0)
    for n in range(200):
        assert refused(gate, "guess", f"client {n}") in {Unauthorized, TooManyRequests}
    assert refused(gate, "sesame", "new") is None


def test_requests_without_any_token_are_no_guesses() -> None:
    gate = AdminGate("sesame", lambda: 0.0)
    for _ in range(1000):
        with pytest.raises(Unauthorized):
            gate.check("", "a")
    assert refused(gate, "sesame", "a") is None
    with pytest.raises(NotFound):
        AdminGate("", lambda: 0.0).check("Bearer sesame", "a")
