"""Keeping in step with the file and with Redis: what each failure of theirs leaves as it was."""

import pytest
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.exception import ParseError

from bff_proxy.flags.overrides import Change, Entry, Stored, StoreUnavailable
from bff_proxy.flags.redis_store import OverrideStore
from bff_proxy.flags.store import FlagStore
from bff_proxy.flags.sync import FlagSync, NotChanged
from tests.support.flags import document

CHANGE = Change("bff", False, None, "a drill", "ann", 1.0, id="c0ffee")


class Failing(OverrideStore):
    """A store that fails once it was read."""

    async def read(self) -> Stored:
        return Stored(0, {})

    async def time_limit(self) -> int:
        raise StoreUnavailable


async def test_a_change_is_not_made_where_redis_fails_between_reading_and_writing() -> None:
    flag_store = FlagStore()
    sync = FlagSync(flag_store, None, Failing("redis://127.0.0.1:9"), every=60)
    with pytest.raises(NotChanged):
        await sync.write("bff", Entry(0, CHANGE, CHANGE.id))
    assert sync.is_unavailable
    assert flag_store.current.changes == {}
    await sync.aclose()


def test_overrides_that_the_library_cannot_evaluate_leave_the_last_good_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    flag_store = FlagStore()
    flag_store.set_definitions(document())
    flag_store.set_overrides({"bff": CHANGE})

    def refuse(_core: FlagdCore, _text: str) -> None:
        raise ParseError("no such thing")

    with monkeypatch.context() as patched:
        patched.setattr(FlagdCore, "set_flags", refuse)
        flag_store.set_overrides({})
    assert flag_store.problem == "no such thing"
    assert flag_store.current.changes == {"bff": CHANGE}
    flag_store.set_definitions(document())
    assert not flag_store.problem


def test_nobody_is_shown_the_password_for_redis() -> None:
    store = OverrideStore("redis://:secret@127.0.0.1:9/0")
    sync = FlagSync(FlagStore(), None, store, every=60)
    assert repr(store) == "<OverrideStore 'bff:1:flags' connected=False>"
    assert repr(sync) == "<FlagSync file='None' redis=available overrides=0>"
