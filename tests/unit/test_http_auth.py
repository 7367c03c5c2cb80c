"""Credentials of a source: each kind, where it comes from, and that nobody sees it."""

import hashlib

import pytest

from pipeline.errors import SettingsError
from pipeline.sources.auth import AUTH_KINDS, AlibabaTypeA, NoAuth, auth_variables, check_auth, open_auth

VARIABLES = {"TOKEN": "t0ken-t0ken", "USER": "al:ice"[:2], "PASS": "p:ä", "POLICY": "eyJ_~-", "SIG": "c2ln", "PAIR": "K2JC"}


def opened(given, variables=VARIABLES, **more):
    return open_auth(given, variables, "cdn.example", where="source", **more)


def test_nothing_is_sent_by_default():
    assert opened({}) == NoAuth()
    assert opened({"kind": "none"}).sign("/x").fields == ()


def test_bearer_and_basic():
    assert opened({"kind": "bearer", "token": "TOKEN"}).sign("/x").fields == (("Authorization", "Bearer t0ken-t0ken"),)
    assert opened({"kind": "basic", "user": "USER", "password": "PASS"}).sign("/x").fields == (
        ("Authorization", "Basic YWw6cDrDpA=="),
    )


def test_cloudfront_sends_its_three_cookies():
    custom = {"kind": "cloudfront", "policy": "POLICY", "signature": "SIG", "key_pair_id": "PAIR"}
    assert opened(custom).sign("/x").fields == (
        ("Cookie", "CloudFront-Policy=eyJ_~-; CloudFront-Signature=c2ln; CloudFront-Key-Pair-Id=K2JC"),
    )
    canned = {"kind": "cloudfront", "expires": "EXPIRES", "signature": "SIG", "key_pair_id": "PAIR"}
    assert (
        opened(canned, VARIABLES | {"EXPIRES": "1767225600"})
        .sign("/x")
        .fields[0][1]
        .startswith("CloudFront-Expires=1767225600; ")
    )


def test_alibaba_type_a_is_the_vendors_own_example():
    # https://www.alibabacloud.com/help/en/cdn/user-guide/type-a-signing: path, time, key and result are those of its example.
    auth = AlibabaTypeA("aliyuncdnexp1234", now=lambda: 1444435200.9, rand=lambda: "0")
    signed = auth.sign("/video/standard/test.mp4")
    assert signed.query == "auth_key=1444435200-0-0-23bf85053008f5c0e791667a313e28ce"


def test_alibaba_type_a_signs_each_path_and_moment_anew():
    auth = opened({"kind": "alibaba-a", "key": "TOKEN", "uid": "7"})
    one, two = auth.sign("/parts/ab/x").query, auth.sign("/parts/ab/x").query
    assert one != two
    time, rand, uid, digest = one.removeprefix("auth_key=").split("-")
    assert len(time) == 10
    assert uid == "7"
    assert digest == hashlib.md5(f"/parts/ab/x-{time}-{rand}-7-t0ken-t0ken".encode()).hexdigest()


def test_netrc_gives_the_hosts_entry(tmp_path):
    (tmp_path / ".netrc").write_text("machine cdn.example login me password secret-one\nmachine b login you password two\n")
    assert opened({"kind": "netrc"}, home=tmp_path).sign("/").fields == (("Authorization", "Basic bWU6c2VjcmV0LW9uZQ=="),)


@pytest.mark.parametrize(
    "text, words",
    [
        ("machine other login me password secret-one\n", "no entry for cdn.example"),
        ("machine cdn.example secret-one", "line 1: it cannot be parsed"),
    ],
)
def test_netrc_that_does_not_help_is_named_without_its_words(tmp_path, text, words):
    file = tmp_path / "netrc"
    file.write_text(text)
    with pytest.raises(SettingsError, match=words) as refused:
        opened({"kind": "netrc", "file": str(file)})
    assert "secret-one" not in str(refused.value) + refused.value.hint


def test_missing_netrc_is_named(tmp_path):
    with pytest.raises(SettingsError, match="No such file"):
        opened({"kind": "netrc"}, home=tmp_path)


@pytest.mark.parametrize(
    "given, words",
    [
        ({"kind": "digest"}, "kind 'digest' is unknown, expected one of none, bearer"),
        ({"kind": "bearer"}, "bearer takes token; found kind"),
        ({"kind": "bearer", "token": "TOKEN", "user": "USER"}, "bearer takes token"),
        ({"token": "TOKEN"}, "none takes nothing else"),
        ({"kind": "cloudfront", "signature": "SIG", "key_pair_id": "PAIR"}, "cloudfront takes"),
        (
            {"kind": "cloudfront", "policy": "POLICY", "expires": "TOKEN", "signature": "SIG", "key_pair_id": "PAIR"},
            "cloudfront takes",
        ),
        ({"kind": "bearer", "token": "UNSET"}, "UNSET is not set"),
        ({"kind": "bearer", "token": "LINES"}, "LINES is not set, or no text of one line"),
        ({"kind": "bearer", "token": "SPACE"}, "characters that no token has"),
    ],
)
def test_setting_that_cannot_be_is_refused(given, words):
    variables = VARIABLES | {"LINES": "secret\r\nX-Evil: 1", "SPACE": "secret two"}
    with pytest.raises(SettingsError, match=words) as refused:
        opened(given, variables)
    assert "secret" not in str(refused.value)


def test_every_kind_names_the_variables_it_reads():
    assert auth_variables({"kind": "netrc", "file": "/x"}) == frozenset()
    assert auth_variables({"kind": "alibaba-a", "key": "KEY", "uid": "7"}) == {"KEY"}
    assert auth_variables({"kind": "basic", "user": "U", "password": "P"}) == {"U", "P"}
    for kind, names in AUTH_KINDS.items():
        given = {"kind": kind} | {name: "X" for name in names if name != "expires"}
        check_auth(given, "source")


def test_secrets_stand_in_no_repr():
    for given in (
        {"kind": "bearer", "token": "TOKEN"},
        {"kind": "alibaba-a", "key": "TOKEN"},
        {"kind": "basic", "user": "TOKEN", "password": "TOKEN"},
    ):
        auth = opened(given)
        assert "t0ken" not in repr(auth)
        assert "auth_key" not in repr(auth.sign("/x"))
        assert "t0ken" not in repr(auth.sign("/x"))
