"""What machines at a site are told, so that their programs ask the site: texts to copy.

Takes the folder of a site, the address where it listens and the address by which others reach it; gives texts. Pure.

next: ``tending``
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from bundles.site.terms import read_address
from pipeline.errors import UsageError


class SiteSetup(msgspec.Struct, frozen=True, kw_only=True):
    """Name of a file → its content; ``environment`` holds lines for a shell."""

    url: str
    files: dict[str, str]
    environment: dict[str, str]


def describe_setup(place: Path, url: str, listen: str, program: str, user: str, *, upstream: str = "") -> SiteSetup:
    """The settings of clients that reach the site at ``url``, and a systemd unit whose server listens at ``listen`` as ``user``.

    Raises:
        UsageError: ``url`` is no http or https address without a path, ``listen`` no host:port, or a path or ``upstream`` cannot stand in a unit.
    """
    parts = urlsplit(url)
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or parts.path.strip("/")
        or parts.query
        or set(url) & set(" '\"\\\n")
    ):
        raise UsageError(f"--url {url} is no address of a server", hint="Write it as --url http://models.site:8080")
    read_address(listen)
    base = url.rstrip("/")
    folder = str(place.absolute())
    if set(folder) & set("\n\"'\\%$"):
        raise UsageError(f"{folder} cannot stand in a systemd unit", hint="Name a folder without quotes, backslashes, % and $.")
    if set(upstream) & set(" \n\"'\\%$"):
        raise UsageError(f"--upstream {upstream} cannot stand in a systemd unit", hint="Write it without %, quotes and spaces.")
    plain = parts.scheme == "http"
    files = {
        "modelport-site.service": _unit(folder, listen, program, user, upstream),
        "pip.conf": f"[global]\nindex-url = {base}/simple/\n" + (f"trusted-host = {parts.hostname}\n" if plain else ""),
        # conda has no channel here: it asks nobody, and counts what pip brought.
        ".condarc": "offline: true\npip_interop_enabled: true\n",
        "registries.conf": f'[[registry]]\nlocation = "{parts.netloc}"\ninsecure = {"true" if plain else "false"}\n',
    }
    if plain:
        files["daemon.json"] = f'{{"insecure-registries": ["{parts.netloc}"]}}\n'
    environment = {
        "HF_ENDPOINT": base,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PIP_INDEX_URL": f"{base}/simple/",
        "MODELPORT_SOURCE": base,
    }
    return SiteSetup(url=base, files=files, environment=environment)


def _unit(folder: str, listen: str, program: str, user: str, upstream: str) -> str:
    more = f" --upstream {upstream}" if upstream else ""
    # A caching mirror writes its cache and its trust below its folder, and nothing else.
    access = "ReadWritePaths" if upstream else "ReadOnlyPaths"
    # The state of a site is its owner's alone (0600), and channels are read there.
    return (
        "[Unit]\nDescription=Models of this site\nAfter=network-online.target\nWants=network-online.target\n\n"
        f'[Service]\nExecStart="{program}" site.serve --site "{folder}" --listen {listen}{more} --report plain\n'
        f'Restart=on-failure\nUser={user}\nProtectSystem=strict\nProtectHome=read-only\n{access}="{folder}"\n'
        "NoNewPrivileges=yes\nPrivateTmp=yes\nLimitNOFILE=16384\n\n[Install]\nWantedBy=multi-user.target\n"
    )
