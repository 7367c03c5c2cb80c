"""The reference pages: what the code says of itself, written down.

Takes the tasks, settings, events, errors and types, gives docs/reference/ and the index of docs/adr/. A test fails while a page is
stale; ``invoke dev.docs`` writes them anew.

next: ``dev_tasks``
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from inspect import cleandoc, getdoc, isclass, isfunction, signature
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from bundles.index import Index
from bundles.inventory import Envelope
from pipeline import errors
from pipeline.cli.report import EVENT_NAMES
from pipeline.errors import ModelportError
from pipeline.manifest import Manifest
from pipeline.providers import PROVIDERS
from pipeline.setting_keys import KEYS
from pipeline.settings import PREFIX
from pipeline.sources.model_yaml import ModelYaml
from sw.manifest import Pointer, WebManifest

WRITTEN = "<!-- Written by `invoke dev.docs`; change the code, then run it. -->"
SCHEMA = "https://json-schema.org/draft/2020-12/schema"


def write_reference(checkout: Path, *, dry: bool) -> list[str]:
    """Write each page that differs; ``dry`` only finds them.

    Returns:
        The paths of the pages that differed, from the checkout's root.
    """
    changed = []
    for name, text in reference_pages(checkout).items():
        page = checkout / name
        if page.is_file() and page.read_text(encoding="utf-8") == text:
            continue
        changed.append(name)
        if not dry:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text, encoding="utf-8")
    return changed


def reference_pages(checkout: Path) -> dict[str, str]:
    """Every page by its path from the checkout's root."""
    return {
        "docs/reference/commands.md": _page(commands_page()),
        "docs/reference/settings.md": _page(settings_page()),
        "docs/reference/events.md": _page(events_page()),
        "docs/reference/exit-codes.md": _page(exit_codes_page()),
        "docs/reference/python.md": _page(python_page()),
        "docs/reference/manifest.schema.json": _schema(manifest_schema()),
        "docs/reference/bundle-index.schema.json": _schema(bundle_index_schema()),
        "docs/reference/inventory.schema.json": _schema(inventory_schema()),
        "docs/reference/model-yaml.schema.json": _schema(model_yaml_schema()),
        "docs/reference/cdns.md": _page(cdns_page()),
        "docs/reference/settings.schema.json": _schema(settings_schema()),
        "docs/reference/web-manifest.schema.json": _schema(web_manifest_schema()),
        "docs/reference/web-release.schema.json": _schema(web_release_schema()),
        "docs/adr/README.md": _page(decisions_page(checkout)),
    }


def python_page() -> Iterator[str]:
    """Every name of ``pipeline.api`` with its signature and its words."""
    from pipeline import api

    yield "# Python\n"
    yield WRITTEN + "\n"
    yield "```text"
    yield cleandoc(api.__doc__ or "")
    yield "```\n"
    yield "Events that a listener is given stand in [events.md](events.md), errors in [exit-codes.md](exit-codes.md).\n"
    for name in api.__all__:
        found = getattr(api, name)
        yield f"## {name}\n"
        # Walks and orders are what a program calls; the values they give are read.
        if isfunction(found) or name.endswith("Order"):
            yield "```text"
            yield f"{name}{_spell_signature(found)}"
            yield "```\n"
        yield (cleandoc(found.__doc__ or "") if isfunction(found) or isclass(found) else _ALIASES[name]) + "\n"


def _spell_signature(found: Any) -> str:
    """A signature as it is written: annotations without quotes, functions by their names."""
    text = re.sub(r"(: |-> )'([^']+)'", r"\1\2", str(signature(found)))
    return re.sub(r"<function (\w+) at 0x[0-9a-f]+>", r"\1", text)


_ALIASES = {
    "Channel": "The name of a channel: text that `pipeline.release.check_channel` let pass.",
    "ModelName": "The name of a model: text that `pipeline.release.check_model` let pass.",
    "Listener": "What is told of events: any callable that takes one.",
}


def decisions_page(checkout: Path) -> Iterator[str]:
    """The index of the decision records, by their own titles."""
    yield "# Decisions\n"
    yield WRITTEN + "\n"
    yield "One page each, after [template.md](template.md).\n"
    yield "| number | decision |"
    yield "| --- | --- |"
    for record in sorted((checkout / "docs" / "adr").glob("[0-9]*.md")):
        title = record.read_text(encoding="utf-8").splitlines()[0]
        number, words = title[2:6], title[6:].lstrip(": ")
        yield f"| [{number}]({record.name}) | {words[:1].upper()}{words[1:].rstrip('.')} |"


def commands_page() -> Iterator[str]:
    """Every task with its words and flags."""
    from pipeline.cli.namespace import GROUPS

    yield "# Commands\n"
    yield WRITTEN + "\n"
    yield "`invoke TASK …` in a checkout and `modelport TASK …` everywhere else are the same tasks."
    yield "A flag in capitals takes that value; a list flag is repeated; nothing is positional."
    yield "`invoke --dry TASK …` reads and says what it would do, and writes nothing."
    yield "Exit codes are explained in [exit-codes.md](exit-codes.md), settings in [settings.md](settings.md).\n"
    for group, tasks in GROUPS.items():
        for task in tasks:
            name = f"{group}.{task.name}" if group else task.name
            yield f"## {name}\n"
            yield "```text"
            yield cleandoc(task.__doc__ or "")
            yield "```\n"
            yield "| flag | meaning |"
            yield "| --- | --- |"
            # A copy of the help: invoke takes entries out of the one that it is given.
            for argument in _arguments(task):
                spelled = f"--{argument.names[0]}" + (
                    "" if argument.kind is bool else f" {argument.names[0].upper().replace('-', '_')}"
                )
                yield f"| `{spelled}`{' (repeatable)' if argument.kind is list else ''} | {argument.help} |"
            yield ""


def _arguments(task: Any) -> list[Any]:
    kept = dict(task.help)
    try:
        arguments: list[Any] = task.get_arguments()
    finally:
        task.help = kept
    return arguments


def settings_page() -> Iterator[str]:
    """Every setting, and the variables that are read beside them."""
    yield "# Settings\n"
    yield WRITTEN + "\n"
    yield f"Flags > `{PREFIX}*` > `modelport.yaml`, found upwards from the working folder > defaults."
    yield "A nested key is a mapping in the file and is joined with `__` in a variable: `web: {channel: beta}` is "
    yield f"`{PREFIX}WEB__CHANNEL=beta`. An unknown key is an error. A relative path in the file starts at the file's folder, "
    yield "elsewhere at the working folder. Sizes are bytes, or text with a unit: `64MiB`, `20GB`."
    yield "[settings.schema.json](settings.schema.json) lets an editor check the file.\n"
    yield "| key | variable | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, key in KEYS.items():
        default = (
            f"`{json.dumps(key.default) if not isinstance(key.default, str) else key.default}`"
            if key.default not in ("", [], {})
            else "–"
        )
        yield f"| `{name}` | `{PREFIX}{name.upper()}` | {default} | {key.meaning} |"
    yield "\n## Places\n"
    yield "| what | where |"
    yield "| --- | --- |"
    yield "| cache | `$XDG_CACHE_HOME/modelport`, else `~/.cache/modelport` |"
    yield "| trusted roots, versions seen | `$XDG_STATE_HOME/modelport`, else `~/.local/state/modelport` |"
    yield "| keys made on first use | `$XDG_DATA_HOME/modelport/keys`, else `~/.local/share/modelport/keys` |"
    yield "\n## Credentials and network\n"
    yield "Credentials are never settings, and a URL that holds a password is refused. Every message, event and log line is masked.\n"
    yield "| for | variables |"
    yield "| --- | --- |"
    yield "| S3 | boto3's own chain: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_PROFILE`, instance roles … |"
    yield "| Aliyun OSS | `OSS_ACCESS_KEY_ID`, `OSS_ACCESS_KEY_SECRET`, `OSS_SESSION_TOKEN`, `OSS_ENDPOINT`, `OSS_REGION` |"
    yield "| CDNs | each vendor's own: [cdns.md](cdns.md) |"
    yield "| proxies | `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, in either spelling |"
    yield "| certificate authorities | `SSL_CERT_FILE` |"


def cdns_page() -> Iterator[str]:
    """Every CDN provider: credentials, endpoint, settings keys, what one call and one day hold."""
    yield "# CDN providers\n"
    yield WRITTEN + "\n"
    yield "`cdn: {provider: …, base_url: …}` or a list of such mappings ([guide](../guides/cdn.md), [what to set up](../guides/cdn-setup.md))."
    yield "Every provider also takes `endpoint`, `prefetch_per_day`, `urls_per_call`, `calls_per_second`, and `credentials`, which names other "
    yield "variables, as in `{access_key_id: STAGING_ID}`, for a second account.\n"
    yield "| provider | vendor | credentials | default endpoint | prefetch |"
    yield "| --- | --- | --- | --- | --- |"
    for name, provider in PROVIDERS.items():
        credentials = ", ".join(
            " or ".join(f"`{variable}`" for variable in one.variables) + ("" if one.needed else " (optional)")
            for one in provider.credentials
        )
        endpoint = f"`{provider.endpoint}`" if provider.endpoint else "its own" if provider.own_endpoint else "must be set"
        prefetch = "yes" if provider.prefetches else "by reads, which warms one location"
        yield f"| `{name}` | {provider.title} | {credentials or '–'} | {endpoint} | {prefetch} |"
    yield "\n## Settings keys\n"
    yield "| provider | key | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, provider in PROVIDERS.items():
        for key, option in provider.options.items():
            default = "**needed**" if option.needed else f"`{option.default}`" if option.default not in {None, ""} else "–"
            choices = f" ({', '.join(f'`{one}`' for one in option.one_of)})" if option.one_of else ""
            yield f"| `{name}` | `{key}` | {default} | {option.meaning}{choices} |"


def events_page() -> Iterator[str]:
    """Every event of ``--report json``."""
    yield "# Events\n"
    yield WRITTEN + "\n"
    yield "Under `--report json` stderr holds one JSON object a line; `event` names its kind. stdout holds the answer, one JSON document, "
    yield "at the end, and stays empty on failure. Fields are only ever added; ignore events and fields that you do not know.\n"
    for kind, name in EVENT_NAMES.items():
        yield f"## {name}\n"
        yield (getdoc(kind) or "") + "\n"
        yield "| field | type |"
        yield "| --- | --- |"
        hints = get_type_hints(kind)
        for field in fields(kind):
            yield f"| `{field.name}` | {_spell_type(hints[field.name])} |"
        yield ""
    yield "## failed\n"
    yield "The last line of a run that has no answer, or whose exit code is not 0.\n"
    yield "| field | type |"
    yield "| --- | --- |"
    yield "| `code` | integer: the exit code |"
    yield "| `error` | text: what failed, expected and found |"
    yield "| `hint` | text: what to do next; may be empty |"


def _spell_type(hint: Any) -> str:
    if get_args(hint):
        return "one of " + ", ".join(f"`{value}`" for value in get_args(hint))
    return {"int": "integer", "float": "number", "str": "text"}[hint.__name__]


FAMILIES = {
    1: "A bug: its traceback stands on stderr. Also a flag of `invoke` itself that lacks its value, as in `invoke --list-depth`: it is read before this project's tasks are.",
    2: "Usage: the command, a setting, the source, or the store cannot be used as given.",
    3: "Integrity: bytes are not what they must be, or a check found something.",
    4: "Trust: a signature, a key, or a trust decision failed.",
    5: "Unavailable: network, store or CDN.",
    6: "Disk: full, read-only or failing.",
    7: "Done, but work is left for another run.",
    8: "Conflict: somebody else's write stands in the way.",
    130: "Interrupted, by Ctrl-C or SIGTERM. Run it again: it goes on with what is missing.",
}


def error_classes() -> dict[int, list[type[ModelportError]]]:
    """The error classes by exit code, in the order in which errors.py defines them."""
    found: dict[int, list[type[ModelportError]]] = {}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, ModelportError):
            found.setdefault(kind.exit_code, []).append(kind)
    return found


def exit_codes_page() -> Iterator[str]:
    """The exit codes, one family per error class."""
    yield "# Exit codes\n"
    yield WRITTEN + "\n"
    yield "They are a contract. Read a code that you do not know as a failure.\n"
    yield "| code | means | errors |"
    yield "| --- | --- | --- |"
    yield "| 0 | Done. | |"
    by_code = error_classes()
    for code, words in FAMILIES.items():
        kinds = "" if code == 1 else ", ".join(f"`{kind.__name__}`" for kind in by_code[code])
        yield f"| {code} | {words} | {kinds} |"
    yield "\n## The errors\n"
    for code in FAMILIES:
        for kind in by_code[code] if code != 1 else []:
            again = " It is tried again before it is reported." if kind.retryable else ""
            yield f"- `{kind.__name__}` ({code}): {' '.join((getdoc(kind) or '').split())}{again}"


def manifest_schema() -> dict[str, Any]:
    """JSON Schema of the manifest; docs/format.md has the rules that a schema cannot say."""
    return {"$schema": SCHEMA, "title": "modelport manifest, format 1"} | msgspec.json.schema(Manifest)


def bundle_index_schema() -> dict[str, Any]:
    """JSON Schema of a volume's ``index.json``; docs/format.md has the rules that a schema cannot say."""
    return {"$schema": SCHEMA, "title": "modelport bundle index, format 1"} | msgspec.json.schema(Index)


def inventory_schema() -> dict[str, Any]:
    """JSON Schema of ``inventory.json``."""
    return {"$schema": SCHEMA, "title": "modelport inventory, format 1"} | msgspec.json.schema(Envelope)


def model_yaml_schema() -> dict[str, Any]:
    """JSON Schema of ``model.yaml``."""
    return {"$schema": SCHEMA, "title": "model.yaml"} | msgspec.json.schema(ModelYaml)


def settings_schema() -> dict[str, Any]:
    """JSON Schema of ``modelport.yaml``."""
    properties = {name: {"description": key.meaning, **key.schema} for name, key in KEYS.items()}
    return {
        "$schema": SCHEMA,
        "title": "modelport.yaml",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def web_manifest_schema() -> dict[str, Any]:
    """JSON Schema of the manifest of a web release; docs/web-format.md has the rules that a schema cannot say."""
    return {"$schema": SCHEMA, "title": "manifest of a web release, format 1"} | msgspec.json.schema(WebManifest)


def web_release_schema() -> dict[str, Any]:
    """JSON Schema of ``release.json``."""
    return {"$schema": SCHEMA, "title": "release.json of a web release"} | msgspec.json.schema(Pointer)


def _schema(schema: Mapping[str, Any]) -> str:
    return json.dumps(_dedented(schema), indent=2, ensure_ascii=False) + "\n"


def _dedented(value: Any) -> Any:
    """The same with docstrings as Python 3.13 and newer keep them: without the indentation of the source."""
    if isinstance(value, Mapping):
        return {
            name: cleandoc(one) if name == "description" and isinstance(one, str) else _dedented(one)
            for name, one in value.items()
        }
    return [_dedented(one) for one in value] if isinstance(value, list | tuple) else value


def _page(lines: Iterator[str]) -> str:
    return "\n".join(lines).rstrip("\n") + "\n"
