"""``model.yaml``: what a model folder says of itself.

Takes the file's bytes, gives a ``ModelYaml`` or one line that says what is wrong. The file is part
of the release like any other. Its JSON Schema is docs/reference/model-yaml.schema.json.

next: ``sources.folder``
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from pipeline.errors import SourceError
from pipeline.manifest import Dependency
from pipeline.meant import suggest
from pipeline.release import RANGE_CHARS, NameRefused, check_model, check_range
from pipeline.yamlfile import read_yaml

FILE_NAME = "model.yaml"
FILE_BYTES = 64 << 10

RangeText = Annotated[
    str, msgspec.Meta(max_length=RANGE_CHARS, description="a SemVer range as npm writes it: ^2.1.0, ~1.8.2, >=1.2 <3")
]
RepoId = Annotated[
    str,
    msgspec.Meta(
        max_length=192,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$",
        description="a repository id as Hugging Face clients spell it: org/name",
    ),
]


class ModelYaml(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of ``model.yaml``; all are optional."""

    display_name: Annotated[str, msgspec.Meta(max_length=200, description="the name people read")] = ""
    dependencies: Annotated[dict[str, RangeText], msgspec.Meta(description="model name to the range of versions that serve")] = {}
    aliases: Annotated[tuple[RepoId, ...], msgspec.Meta(max_length=100, description="other ids that a site answers to")] = ()

    def as_dependencies(self) -> tuple[Dependency, ...]:
        """Dependencies as the manifest lists them: sorted by model."""
        return tuple(Dependency(model=model, version=self.dependencies[model]) for model in sorted(self.dependencies))


def parse_model_yaml(data: bytes, where: str) -> ModelYaml:
    """Parse and check; ``where`` names the file in messages.

    Raises:
        SourceError: not UTF-8 YAML, an unknown key, a malformed name or range.
    """
    if len(data) > FILE_BYTES:
        raise SourceError(
            f"{where} has {len(data)} bytes, at most {FILE_BYTES} are allowed", hint="It holds names and dependencies only."
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{where} is not UTF-8: {error.reason} at byte {error.start}", hint="Save it as UTF-8.") from None
    document = read_yaml(text, what=where, error=SourceError)
    for key, line in document.lines.items():
        if "." not in key:
            _check_key(key, f"{where}, line {line}")
    try:
        parsed = msgspec.convert(document.values, ModelYaml)
    except msgspec.ValidationError as error:
        raise SourceError(
            f"{where}: {error}",
            hint=f"It may hold {', '.join(ModelYaml.__struct_fields__)}, as in dependencies: {{tokenizer: ^1.2}}",
        ) from None
    for model, text in parsed.dependencies.items():
        try:
            check_model(model)
            check_range(text)
        except NameRefused as error:
            raise SourceError(f"{where}: dependency {model}: {error}", hint=error.hint) from None
    return parsed


def _check_key(key: str, where: str) -> None:
    known = list(ModelYaml.__struct_fields__)
    if key not in known:
        raise SourceError(f"{where}: unknown key {key!r}, expected {' or '.join(known)}", hint=suggest(key, known))
