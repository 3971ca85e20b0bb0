import pytest

from bff_shared.admin import require_admin
from bff_shared.errors import NotFound, Unauthorized


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
