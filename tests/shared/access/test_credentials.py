"""Which credentials count, and whose data they look at."""

import base64
import json
from typing import Any

import pytest

from bff_shared.access.credentials import CacheScope, Reader, Rules, identity_of

KEY = b"key"


def token(**claims: Any) -> bytes:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    return b"Bearer e30." + body + b".s"


def reader(*credentials: tuple[bytes, bytes], scope: str = "identity", **rules: Any) -> Reader:
    return Rules(CacheScope(scope), **rules).reader(KEY, credentials)


def bearer(**claims: Any) -> tuple[bytes, bytes]:
    return b"authorization", token(**claims)


def test_tokens_of_one_user_are_one_principal_and_two_credentials() -> None:
    first, second = (reader(bearer(sub="ann", jti=number)) for number in (1, 2))
    assert first.principal == second.principal
    assert first.credential != second.credential
    assert first.shares


def test_issuers_and_kinds_of_a_claim_are_told_apart() -> None:
    same = [bearer(sub="7"), bearer(sub=7), bearer(sub="7", iss="a"), bearer(sub="7", iss="b")]
    assert len({reader(credential).principal for credential in same}) == len(same)


def test_another_claim_can_say_whose_a_token_is() -> None:
    found = [reader(bearer(sub=sub, uid="ann"), claim="uid").principal for sub in ("x", "y")]
    assert found[0] == found[1]
    assert reader(bearer(uid="ann"), claim="sub").shares is False


@pytest.mark.parametrize(
    "value",
    [
        b"Basic e30.e30.s",
        b"Bearer opaque",
        b"Bearer a.b.c.d.e",
        b"Bearer e30.!!!.s",
        b"Bearer e30.e30.s",
        b"Bearer e30." + base64.urlsafe_b64encode(b"[1]") + b".s",
        token(sub=""),
        token(sub=True),
        token(sub=["ann"]),
        token(sub="a" * 513),
        token(sub="ann", iss=["x"]),
        b"Bearer " + b"e" * 9000 + b"." + token(sub="ann").split(b".")[1] + b".s",
    ],
)
def test_token_without_a_readable_claim_stands_for_itself(value: bytes) -> None:
    assert not reader((b"authorization", value)).shares


def test_token_beside_other_credentials_stands_for_itself() -> None:
    ann = bearer(sub="ann")
    assert not reader(ann, (b"cookie", b"session=1")).shares
    assert not reader(ann, ann).shares
    assert reader(ann, (b"cookie", b"_ga=1")).shares, "what does not count says nothing"


def test_none_of_the_scopes_share_a_principal() -> None:
    ann = bearer(sub="ann")
    assert len({reader(ann, scope=scope).principal for scope in CacheScope}) == 3
    assert reader(scope="shared").principal == reader(ann, scope="shared").principal
    assert reader(scope="shared").credential == reader().credential == reader(scope="credentials").principal


def test_list_of_one_user_is_shared_with_none_but_the_same_user() -> None:
    rules = Rules(CacheScope.SHARED).narrowed()
    ann = [rules.reader(KEY, [bearer(sub="ann", jti=number)]).principal for number in (1, 2)]
    assert ann[0] == ann[1] != rules.reader(KEY, [bearer(sub="bob")]).principal
    assert Rules(CacheScope.CREDENTIALS).narrowed().scope is CacheScope.CREDENTIALS


def test_cookies_of_analytics_do_not_count_and_are_not_sent_on() -> None:
    given = (b"cookie", b"_ga=GA1.2; session=abc;_gid=1; _hjSession_12=x; amp_abc123=y; __utma=1; theme=dark")
    assert reader(given).credentials == ((b"cookie", b"session=abc; theme=dark"),)
    assert reader((b"cookie", b"_ga=1")).credentials == ()
    assert reader((b"Cookie", b" a=1;b=2 ")).credentials == ((b"Cookie", b" a=1;b=2 "),), "as it came"


def test_named_cookies_alone_count() -> None:
    given = (b"cookie", b"session=abc; theme=dark; _ga=1")
    assert reader(given, cookies=("session",)).credentials == ((b"cookie", b"session=abc"),)
    assert reader(given, cookies=("_ga",)).credentials == ((b"cookie", b"_ga=1"),)


def test_identity_is_issuer_and_claim() -> None:
    assert identity_of([bearer(sub="ann", iss="https://id")], "sub") == (b"https://id", b"ann")
    assert identity_of([(b"Authorization", b"  bearer   " + token(sub="ann")[7:])], "sub") == (b"", b"ann")
