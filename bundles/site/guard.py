"""Who may ask: everybody, or those who bring a token of the site's token file.

Takes the file, gives a ``Guard`` that judges an Authorization header. Hugging Face clients bring a token as Bearer
(HF_TOKEN), pip and container tools as the password of Basic.

next: ``sending``
"""

from __future__ import annotations

import base64
import binascii
import hmac
import stat
from pathlib import Path

from pipeline.errors import UsageError

TOKEN_FILE_BYTES = 64 << 10
_LEAST = 16


class Guard:
    """Tokens, any of which opens the site; none: it is open."""

    def __init__(self, tokens: tuple[str, ...] = ()) -> None:
        self._tokens = tuple(token.encode() for token in tokens)

    @property
    def is_open(self) -> bool:
        """Whether everybody may ask."""
        return not self._tokens

    def admits(self, authorization: str) -> bool:
        """Whether this header opens the site. All tokens are compared, each in constant time."""
        given = _token_of(authorization)
        matches = [hmac.compare_digest(given, token) for token in self._tokens]
        return self.is_open or any(matches)


def read_guard(path: Path | None) -> Guard:
    """The guard that a token file describes; none admits everybody.

    Raises:
        UsageError: as ``read_tokens``.
    """
    return Guard(read_tokens(path))


def read_tokens(path: Path | None) -> tuple[str, ...]:
    """Read a token file: one token a line, ``#`` begins a remark.

    Raises:
        UsageError: it cannot be read, others may read it, or it holds no token of at least 16 characters.
    """
    if path is None:
        return ()
    try:
        mode = path.stat().st_mode
        text = path.read_bytes()[: TOKEN_FILE_BYTES + 1].decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"the token file {path} cannot be read: {why}", hint="Name a file of lines of plain ASCII.") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(f"others may read the token file {path}", hint=f"chmod 600 {path}")
    tokens = tuple(line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#"))
    if not tokens or min(map(len, tokens)) < _LEAST:
        raise UsageError(
            f"the token file {path} holds {'a token of fewer than 16 characters' if tokens else 'no token'}",
            hint="Make one: head -c 24 /dev/urandom | base64",
        )
    return tokens


def _token_of(authorization: str) -> bytes:
    scheme, _, rest = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip().encode("utf-8", "surrogateescape")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(rest.strip(), validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""
