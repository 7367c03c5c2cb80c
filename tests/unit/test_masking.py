"""Masking: nothing secret passes, nothing else is touched."""

import logging

import pytest

from pipeline.cli.masking import Mask, mask_logs, secrets_in


@pytest.mark.parametrize(
    "text, shown",
    [
        ("put https://user:hunter22@host/path failed", "put https://***@host/path failed"),
        ("proxy http://u:p%40x@proxy:8080", "proxy http://***@proxy:8080"),
        ("GET /k?X-Amz-Signature=abcd&X-Amz-Date=1", "GET /k?X-Amz-Signature=***&X-Amz-Date=1"),
        ("/k?OSSAccessKeyId=LTAI5t&Expires=1&Signature=ab%2Fc", "/k?OSSAccessKeyId=***&Expires=1&Signature=***"),
        ("/k?x-oss-signature=00ff&x-oss-credential=LTAI%2F2026", "/k?x-oss-signature=***&x-oss-credential=***"),
        ("key -----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY----- here", "key *** here"),
        ("Authorization: AWS4-HMAC-SHA256 Credential=AKIA/x, Signature=aa", "Authorization: ***, Signature=***"),
        ("{'Authorization': 'OSS4 secret', 'Host': 'h'}", "{'Authorization': ***, 'Host': 'h'}"),
        ("{b'X-Amz-Security-Token': b'FwoG', b'a': b'b'}", "{b'X-Amz-Security-Token': ***, b'a': b'b'}"),
    ],
)
def test_mask_takes_signing_fields_out(text, shown):
    assert Mask().text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "parts/ab/abcdef: expected 64 bytes, found 3",
        "file a@b.txt in s3://bucket/prefix/user@host",
        "warning: https://example.org/a?b=c#d@e",
        "sha256=0011",
    ],
)
def test_mask_leaves_ordinary_text_alone(text):
    assert Mask().text(text) == text


def test_mask_takes_secret_variables_out_of_nested_values():
    mask = Mask(secrets_in({"AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI", "HOME": "/root/home"}))
    assert mask.value({"a": ["x wJalrXUtnFEMI y", 3, None], "home": "/root/home"}) == {
        "a": ["x *** y", 3, None],
        "home": "/root/home",
    }


def test_mask_leaves_no_tail_of_a_longer_secret():
    assert Mask(["secret-one", "secret-one-longer"]).text("is secret-one-longer.") == "is ***."


def test_variables_that_name_places_and_short_values_are_not_secrets():
    found = secrets_in(
        {"AWS_SHARED_CREDENTIALS_FILE": "/root/.aws/credentials", "SSH_KEY_PATH": "/x/y/z", "MODELPORT_STORE": "s3://b"}
    )
    assert found == []
    assert Mask(["abc"]).text("abc") == "abc"


def test_passwords_of_proxies_are_secrets_without_their_urls_too():
    environ = {
        "HTTPS_PROXY": "http://me:p%40ss-word-1@proxy.example:3128",
        "http_proxy": "me:password-2@proxy.example",
        "NO_PROXY": "localhost:8080,internal",
        "ALL_PROXY": "http://proxy.example:3128",
    }
    assert set(secrets_in(environ)) == {"p%40ss-word-1", "p@ss-word-1", "password-2"}


def test_debug_log_is_masked_with_its_traceback(capsys):
    handler = logging.StreamHandler()
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        mask_logs(Mask(["canary-0815"]))
        mask_logs(Mask(["canary-0815"]))
        try:
            raise ValueError("it holds canary-0815")
        except ValueError:
            logging.getLogger("botocore").exception("sent %s", {"Authorization": "canary-0815"})
    finally:
        root.removeHandler(handler)
    shown = capsys.readouterr().err
    assert "it holds ***" in shown
    assert "canary" not in shown
