"""Credentials of a private source or edge: what is added to a request so that it is let pass.

Takes what the settings say of one place and the variables they name; gives an ``Auth`` that signs requests to that
source's origin, and nobody else's. Secrets stand in no repr, no URL that is shown, and no cache key.

next: ``sources.proxies``
"""

from __future__ import annotations

import base64
import hashlib
import netrc
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipeline.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Signed:
    """What goes along with one request: ``query`` is added to its URL, ``fields`` to its head."""

    query: str = field(default="", repr=False)
    fields: tuple[tuple[str, str], ...] = field(default=(), repr=False)


class Auth(Protocol):
    """A way to sign requests. ``kind`` names it for people; "" when nothing is sent."""

    @property
    def kind(self) -> str:
        """Its name in ``source.auth``."""
        ...

    def sign(self, path: str) -> Signed:
        """Sign a request for the absolute, percent-encoded ``path``."""
        ...


@dataclass(frozen=True, slots=True)
class NoAuth:
    """Nothing is sent."""

    kind: str = ""

    def sign(self, path: str) -> Signed:
        """Sign nothing."""
        del path
        return Signed()


@dataclass(frozen=True, slots=True)
class FieldAuth:
    """The same field with every request: bearer, basic, netrc, and CloudFront's signed cookies."""

    kind: str
    name: str
    value: str = field(repr=False)

    def sign(self, path: str) -> Signed:
        """Give the field, whatever the path."""
        del path
        return Signed(fields=((self.name, self.value),))


@dataclass(frozen=True, slots=True)
class AlibabaTypeA:
    """Alibaba Cloud CDN URL signing, type A: ``auth_key=timestamp-rand-uid-md5hash``.

    The edge adds its own validity to the timestamp and takes the query off before it looks into its cache
    (https://www.alibabacloud.com/help/en/cdn/user-guide/type-a-signing).
    """

    key: str = field(repr=False)
    uid: str = "0"
    now: Callable[[], float] = time.time
    rand: Callable[[], str] = lambda: uuid.uuid4().hex
    kind: str = "alibaba-a"

    def sign(self, path: str) -> Signed:
        """Sign ``path`` for this second."""
        text = f"{int(self.now())}-{self.rand()}-{self.uid}"
        # MD5 is the vendor's choice; a key that leaks costs bandwidth, not integrity.
        digest = hashlib.md5(f"{path}-{text}-{self.key}".encode(), usedforsecurity=False).hexdigest()
        return Signed(query=f"auth_key={text}-{digest}")


@dataclass
class LateAuth:
    """Another ``Auth``, opened when a first request is signed: till then no credential need be there."""

    kind: str
    opens: Callable[[], Auth] = field(repr=False)
    _opened: Auth | None = field(default=None, repr=False)

    def sign(self, path: str) -> Signed:
        """Sign as the other one does; raises what opening it raises."""
        if self._opened is None:
            self._opened = self.opens()
        return self._opened.sign(path)


# kind → its fields; a field's value is the *name* of an environment variable, but for those in _PLAIN.
AUTH_KINDS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "bearer": ("token",),
    "basic": ("user", "password"),
    "netrc": ("file",),
    "alibaba-a": ("key", "uid"),
    "cloudfront": ("policy", "expires", "signature", "key_pair_id"),
}
_OPTIONAL = frozenset({"file", "uid", "policy", "expires"})
_PLAIN = frozenset({"file", "uid"})


def auth_variables(given: Mapping[str, str]) -> frozenset[str]:
    """Names of the environment variables that an ``auth`` setting reads."""
    return frozenset(value for name, value in given.items() if name != "kind" and name not in _PLAIN)


def check_auth(given: Mapping[str, str], where: str) -> None:
    """Check an ``auth`` setting: ``{kind: bearer, token: NAME_OF_A_VARIABLE}``.

    Raises:
        SettingsError: an unknown kind or field, or one that is missing.
    """
    kind = given.get("kind", "none")
    if kind not in AUTH_KINDS:
        raise SettingsError(f"{where}: kind {kind!r} is unknown, expected one of {', '.join(AUTH_KINDS)}", hint=_HINT)
    names = AUTH_KINDS[kind]
    unknown = sorted(set(given) - {"kind", *names})
    missing = [name for name in names if name not in given and name not in _OPTIONAL]
    if unknown or missing or (kind == "cloudfront" and ("policy" in given) == ("expires" in given)):
        takes = ", ".join(f"[{name}]" if name in _OPTIONAL else name for name in names) or "nothing else"
        raise SettingsError(f"{where}: {kind} takes {takes}; found {', '.join(sorted(given))}", hint=_HINT)


def open_auth(given: Mapping[str, str], variables: Mapping[str, str], host: str, *, where: str, home: Path | None = None) -> Auth:
    """Read the credentials that an ``auth`` setting names.

    ``home`` is where ``.netrc`` lies unless ``file`` says otherwise.

    Raises:
        SettingsError: as ``check_auth``; a variable is not set; netrc has no entry for ``host``.
    """
    check_auth(given, where)
    kind = given.get("kind", "none")

    def secret(name: str) -> str:
        value = variables.get(given[name], "")
        if not value or not value.isprintable():
            raise SettingsError(f"{where}: {given[name]} is not set, or no text of one line", hint=f"Export {given[name]}.")
        return value

    match kind:
        case "none":
            return NoAuth()
        case "bearer":
            return FieldAuth(kind, "Authorization", f"Bearer {_ascii(secret('token'), where)}")
        case "basic":
            return FieldAuth(kind, "Authorization", basic(secret("user"), secret("password")))
        case "netrc":
            return _from_netrc(
                Path(given["file"]).expanduser() if "file" in given else (home or Path.home()) / ".netrc", host, where
            )
        case "alibaba-a":
            return AlibabaTypeA(secret("key"), uid=given.get("uid", "0"))
    # The cookies of a custom policy, or of a canned one, which has Expires instead
    # (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-signed-cookies.html).
    first = ("CloudFront-Policy", "policy") if "policy" in given else ("CloudFront-Expires", "expires")
    cookies = (first, ("CloudFront-Signature", "signature"), ("CloudFront-Key-Pair-Id", "key_pair_id"))
    return FieldAuth(kind, "Cookie", "; ".join(f"{cookie}={_ascii(secret(name), where)}" for cookie, name in cookies))


def basic(user: str, password: str) -> str:
    """The value of an Authorization or Proxy-Authorization field (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def _from_netrc(file: Path, host: str, where: str) -> Auth:
    try:
        found = netrc.netrc(str(file)).authenticators(host)
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError) as error:
        # The parser's own words may quote the line with the password.
        line = f", line {error.lineno}" if isinstance(error, netrc.NetrcParseError) else ""
        reason = error.strerror if isinstance(error, OSError) else "it cannot be parsed"
        raise SettingsError(f"{where}: {file}{line}: {reason}", hint="Check the file, and that only you can read it.") from None
    if found is None or found[2] is None:
        raise SettingsError(f"{where}: {file} has no entry for {host}", hint=f"Add: machine {host} login … password …")
    return FieldAuth("netrc", "Authorization", basic(found[0], found[2]))


def _ascii(value: str, where: str) -> str:
    if not value.isascii() or any(character in value for character in ' ;,"'):
        raise SettingsError(
            f"{where}: a token or cookie holds characters that no token has", hint="Check how the variable is set."
        )
    return value


_HINT = "For example: auth: {kind: bearer, token: NAME_OF_A_VARIABLE}"
