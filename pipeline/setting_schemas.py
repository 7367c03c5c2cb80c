"""The JSON Schemas of settings, for editors that check ``modelport.yaml``.

Takes the options of the providers, gives one schema for each kind of value.

next: ``setting_checks``
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.providers import PROVIDERS, OptionKind
from pipeline.release import CHANNEL

SIZE = r"([0-9]+)\s*(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)?"
URL_SCHEMA = {"type": "string", "minLength": 1}
SIZE_SCHEMA = {"type": ["string", "integer"], "pattern": f"^(?:{SIZE})$", "minimum": 0}
CHANNEL_SCHEMA = {"type": "string", "pattern": f"^{CHANNEL.pattern}$"}


def mapping_schema(**properties: Any) -> dict[str, Any]:
    """Make the schema of a mapping that has these keys and no others."""
    return {"type": "object", "properties": properties, "additionalProperties": False}


STORE_SCHEMA = {
    "oneOf": [
        URL_SCHEMA,
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "oneOf": [
                    URL_SCHEMA,
                    mapping_schema(url=URL_SCHEMA, endpoint={"type": "string"}, region={"type": "string"})
                    | {"required": ["url"]},
                ]
            },
        },
    ]
}
TEXTS_SCHEMA = {"type": ["array", "string"], "items": {"type": "string"}}
SWITCH_SCHEMA = {"type": ["boolean", "string"]}
WEB_SCHEMA = mapping_schema(
    channel=CHANNEL_SCHEMA,
    keep=TEXTS_SCHEMA,
    optional=TEXTS_SCHEMA,
    mirrors=TEXTS_SCHEMA,
    isolate=SWITCH_SCHEMA,
    packs=SWITCH_SCHEMA,
    navigate=mapping_schema(
        fallback={"type": "string"}, allow=TEXTS_SCHEMA, deny=TEXTS_SCHEMA, clean_urls=SWITCH_SCHEMA, ignore=TEXTS_SCHEMA
    ),
    models={
        "type": "object",
        "additionalProperties": {
            "oneOf": [
                {"type": "string"},
                mapping_schema(release={"type": "string"}, tree={"type": "string"}) | {"required": ["release"]},
            ]
        },
    },
)
AUTH_SCHEMA = {"type": "object", "additionalProperties": {"type": "string"}, "required": ["kind"]}
SOURCE_SCHEMA = {
    "oneOf": [URL_SCHEMA, mapping_schema(url=URL_SCHEMA, channel=CHANNEL_SCHEMA, auth=AUTH_SCHEMA) | {"required": ["url"]}]
}
COUNT_SCHEMA = {"type": ["integer", "string"], "pattern": "^[0-9]{1,9}$", "minimum": 1}
OPTION_SCHEMAS: Mapping[OptionKind, Mapping[str, Any]] = {
    "text": {"type": "string"},
    "count": COUNT_SCHEMA,
    "switch": {"type": ["boolean", "string"]},
    "list": {"type": ["array", "string"]},
    "numbers": {"type": ["array", "string", "integer"]},
    "url": URL_SCHEMA,
}
# A key that two providers have means the same kind of thing to both.
CDN_SCHEMA = mapping_schema(
    **{key: OPTION_SCHEMAS[option.kind] for one in PROVIDERS.values() for key, option in one.options.items()},
    provider={"enum": list(PROVIDERS)},
    base_url=URL_SCHEMA,
    endpoint=URL_SCHEMA,
    prefetch_per_day=COUNT_SCHEMA,
    urls_per_call=COUNT_SCHEMA,
    calls_per_second=COUNT_SCHEMA,
    credentials={"type": "object", "additionalProperties": {"type": "string"}},
    auth=AUTH_SCHEMA,
)
KEY_SCHEMA = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
