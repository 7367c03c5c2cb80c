"""Masking: what must not be read over a shoulder, in a log or in a CI transcript.

Takes the environment once, gives a ``Mask`` through which every message, event, log line and
traceback passes before it is shown. Taken out are the values of secret environment
variables, private keys, the user part of a URL, and the signing fields of a presigned URL or a header.

next: ``report``
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from pipeline.providers import PROVIDERS

STARS = "***"
# A shorter value would take ordinary words out of every line.
SHORTEST_SECRET = 6

_SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|ACCESS_?KEY|API_?KEY|PRIVATE_?KEY|SIGNING_?KEY")
# Such variables say where a secret lies or how it is fetched, which a message may well have to name.
_PLACE_NAME = re.compile(r"(?:FILE|PATH|DIR|URI|URL|ENDPOINT|EXPIRATION|PROFILE|COMMAND)$")
# Some vendors' names do not show what they hold.
_OF_CDNS = frozenset(
    name for provider in PROVIDERS.values() for one in provider.credentials if one.secret for name in one.variables
)
_URL_USER = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/@'\"<>]*@")
_PASSWORD = re.compile(r"^(?:[a-zA-Z][a-zA-Z0-9+.-]*://)?[^\s/:@]*:([^\s/@]+)@")
_QUERY_FIELD = re.compile(
    r"([?&;](?:x-(?:amz|oss|goog)-(?:signature|credential|security-token)|signature|ossaccesskeyid|awsaccesskeyid"
    r"|security-token|access_token|auth_key|token|key-pair-id|policy|sign)=)[^&\s'\"<>]+",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"((?:proxy-)?authorization|x-(?:amz|oss|acs)-security-token|x-oss-credential|fastly-key)(['\"]?\s*[:=]\s*)(?:b?'[^']*'|b?\"[^\"]*\"|[^\r\n,}]+)",
    re.IGNORECASE,
)
_PEM = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)
_SIGNED_FIELD = re.compile(r"\b((?:signature|credential)=)[0-9a-zA-Z%/+=._-]+", re.IGNORECASE)


class Mask:
    """Takes ``secrets`` and whatever looks signed out of text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._found: set[str] = set()
        self._secrets: re.Pattern[str] | None = None
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Take these out as well, from now on."""
        self._found |= {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}
        # The longest first: a secret that begins another one must not leave its tail behind.
        found = sorted(self._found, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, found))) if found else None

    def text(self, text: str) -> str:
        """Return ``text`` with every secret replaced by stars."""
        if self._secrets is not None:
            text = self._secrets.sub(STARS, text)
        text = _PEM.sub(STARS, text)
        text = _URL_USER.sub(rf"\1{STARS}@", text)
        text = _QUERY_FIELD.sub(rf"\1{STARS}", text)
        text = _HEADER.sub(rf"\1\2{STARS}", text)
        return _SIGNED_FIELD.sub(rf"\1{STARS}", text)

    def value(self, value: Any) -> Any:
        """Return ``value`` (what JSON can hold) with all its text masked; keys are ours and stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value


class MaskingFormatter(logging.Formatter):
    """Formats a log record as another formatter would, then masks it, its traceback included."""

    def __init__(self, mask: Mask, inner: logging.Formatter) -> None:
        super().__init__()
        self._mask = mask
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Format ``record``, without secrets."""
        return self._mask.text(self._inner.format(record))


def secrets_in(environ: Mapping[str, str]) -> list[str]:
    """Find the values of ``environ`` that are secrets by the name of their variable, and the passwords of proxies."""
    named = [value for name, value in environ.items() if name in _OF_CDNS or _is_secret(name.upper())]
    proxies = [_PASSWORD.search(value) for name, value in environ.items() if name.upper().endswith("_PROXY")]
    # A page of such a proxy may repeat it without its URL.
    passwords = [match[1] for match in proxies if match is not None]
    return [*named, *passwords, *map(unquote, passwords)]


def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None and _PLACE_NAME.search(name) is None


def mask_logs(mask: Mask) -> None:
    """Put ``mask`` before every handler of the root logger, such as the one of ``--debug``."""
    for handler in logging.getLogger().handlers:
        inner = handler.formatter or logging.Formatter()
        if not isinstance(inner, MaskingFormatter):
            handler.setFormatter(MaskingFormatter(mask, inner))
