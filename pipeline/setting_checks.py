"""What a value of a setting may be: text, URL, path, count, size, switch, list or mapping of these.

Takes a value as a person wrote it, where it stands, and the folder that relative paths start from; gives the checked one.

next: ``setting_keys``
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import SettingsError
from pipeline.meant import ask, nearest
from pipeline.release import NameRefused, check_channel
from pipeline.setting_schemas import SIZE
from pipeline.store_kinds import KINDS, SPELLED, WEB, scheme_of, with_plain_scheme

Value = Any
# (value, where it stands, folder that relative paths start from) → the checked value
Check = Callable[[Value, str, Path], Any]

_SIZE = re.compile(SIZE)
_USER = re.compile(r"(?:[^/?#]+:)?//[^/?#]*@")
_UNITS = {
    "": 1,
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}


def parse_size(value: Value, where: str) -> int:
    """Read bytes: a whole number, or text with a unit such as 64MiB.

    Raises:
        SettingsError: it is neither.
    """
    match = _SIZE.fullmatch(str(value).strip()) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if match is None:
        raise wrong(where, value, "a size such as 64MiB or 67108864")
    return int(match[1]) * _UNITS[match[2] or ""]


def wrong(where: str, value: Value, expected: str) -> SettingsError:
    """Make the error of a value that is not what was expected."""
    return SettingsError(f"{where}: {value!r} is not {expected}", hint="Correct it, or leave it out.")


def check_text(value: Value, where: str, folder: Path) -> str:
    """Take text."""
    del folder
    if not isinstance(value, str) or "\0" in value or not _is_spelled(value):
        raise wrong(where, value, "text")
    return value


def _is_spelled(text: str) -> bool:
    # Half a character, which YAML can escape, is none; a byte of a variable that is no UTF-8 may be part of a path.
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def check_url(value: Value, where: str, folder: Path) -> str:
    """Take a URL, or a path, that holds no credentials."""
    text = check_text(value, where, folder)
    # Before it is parsed: what cannot be parsed is shown.
    if _USER.match(text):
        raise SettingsError(
            f"{where}: a URL must not hold a user name or password",
            hint="Credentials are never settings: give them by the vendor's own variables, such as AWS_ACCESS_KEY_ID.",
        )
    try:
        urlsplit(text).port  # noqa: B018 (it is parsed only when it is asked for)
    except ValueError:
        raise wrong(where, text, "a URL") from None
    return text


def check_place(value: Value, where: str, folder: Path) -> str:
    """Take a URL, or a path, which is made absolute."""
    text = check_url(value, where, folder)
    if not text:
        raise wrong(where, text, "a path or URL")
    return with_plain_scheme(text) if scheme_of(text) else str(check_path(text, where, folder))


STORES = tuple(filter(None, KINDS))
SOURCES = (*WEB, *STORES)
"""The schemes of sources: the web, and every store."""


def check_scheme(url: str, where: str, what: str, known: Collection[str]) -> None:
    """Refuse a URL whose scheme is not among ``known``; ``what`` it is: the store, the source. A path has none.

    Raises:
        SettingsError: naming the nearest.
    """
    scheme = scheme_of(url)
    if scheme and scheme not in known:
        spelled = SPELLED if "http" not in known else "http://… or https://…" + (f", {SPELLED}" if "file" in known else "")
        # A web server may be meant where none can be: whoever is told of stores alone looks for the mistake there.
        web = nearest(scheme, (*WEB, *known)) in WEB and "http" not in known
        raise SettingsError(
            f"{where}: {what} {url!r} has the unknown scheme {scheme!r}; {ask(scheme, WEB if web else known)}",
            hint=f"A web server is read, nothing can be written to it: use {spelled}." if web else f"Use {spelled}.",
        )


def check_path(value: Value, where: str, folder: Path) -> Path:
    """Take a path of this machine, made absolute."""
    text = check_text(value, where, folder)
    if not text:
        raise wrong(where, text, "a path")
    try:
        return folder / Path(text).expanduser()
    except RuntimeError:
        raise wrong(where, text, "a path here: there is no such home folder") from None


def check_file_or_none(value: Value, where: str, folder: Path) -> Path | None:
    """Take a path; None for ""."""
    return check_path(value, where, folder) if value != "" else None


def count_between(low: int, high: int) -> Check:
    """Make the check of a whole number from ``low`` to ``high``."""

    def check(value: Value, where: str, folder: Path) -> int:
        del folder
        if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,9}", str(value)) or not low <= int(value) <= high:
            raise wrong(where, value, f"a whole number from {low} to {high}")
        return int(value)

    return check


def check_size(value: Value, where: str, folder: Path) -> int:
    """Take a size in bytes, or with a unit."""
    del folder
    return parse_size(value, where)


def fields_of(checks: Mapping[str, Check], *, others: Check | None = None) -> Check:
    """Make the check of a mapping: each key by its own check, others by ``others`` or not at all."""

    def check(value: Value, where: str, folder: Path) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise wrong(where, value, "a mapping")
        found = {}
        for key, item in value.items():
            one = checks.get(key, others)
            if one is None:
                raise SettingsError(f"{where}: {key!r} is unknown here; {ask(key, checks)}", hint="Correct it, or take it out.")
            found[key] = one(item, f"{where}: {key}", folder)
        return found

    return check


def check_channel_name(value: Value, where: str, folder: Path) -> str:
    """Take the name of a channel."""
    try:
        return check_channel(check_text(value, where, folder))
    except NameRefused as error:
        raise SettingsError(f"{where}: {error}", hint=error.hint) from error


def check_switch(value: Value, where: str, folder: Path) -> bool:
    """Take true or false."""
    del folder
    found = {"true": True, "false": False}.get(str(value).lower())
    if found is None:
        raise wrong(where, value, "true or false")
    return found


def check_words(value: Value, where: str, folder: Path) -> tuple[str, ...]:
    """Take words: a list, or a text with spaces or commas between."""
    return tuple(check_text(item, where, folder) for item in _items(value, where))


def check_patterns(value: Value, where: str, folder: Path) -> tuple[str, ...]:
    """Take texts that may hold spaces and commas: a list, or one."""
    return tuple(check_text(item, where, folder) for item in (value if isinstance(value, list) else [value]))


def check_regexps(value: Value, where: str, folder: Path) -> tuple[str, ...]:
    """Take regular expressions: a list, or one."""
    found = check_patterns(value, where, folder)
    for one in found:
        try:
            re.compile(one)
        except (re.error, OverflowError, RecursionError) as error:
            raise wrong(where, one, f"a regular expression ({error})") from None
    return found


def check_numbers(value: Value, where: str, folder: Path) -> tuple[int, ...]:
    """Take whole numbers: a list, or a text with spaces or commas between."""
    check = count_between(0, 10**9 - 1)
    return tuple(check(item, where, folder) for item in _items(value, where))


def _items(value: Value, where: str) -> list[Any]:
    if isinstance(value, list):
        return value
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise wrong(where, value, "a list, or text with spaces or commas between")
    return str(value).replace(",", " ").split()


def check_web_url(value: Value, where: str, folder: Path) -> str:
    """Take a web address without a query; gives it without a slash at its end."""
    text = check_url(value, where, folder)
    parts = urlsplit(text)
    if "://" in text:
        check_scheme(text, where, "the address", WEB)
    if parts.scheme not in WEB or not parts.hostname or parts.query or parts.fragment:
        raise wrong(where, text, "an http or https URL without query")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"
