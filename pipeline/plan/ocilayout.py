"""A release as an OCI artifact: which documents describe it to registries and container tools.

Takes a release's files, gives the bytes of its configuration, manifest and index. Pure, and without times: equal
releases have equal digests. A layer is a file as it is, so its digest is the file's sha256, and one that did not change
keeps it from version to version. Media types are those of the CNCF ModelPack specification
(https://github.com/modelpack/model-spec, docs/spec.md), the documents those of the OCI image specification 1.1.

next: ``plan.tuning``
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.digest import Sha256, sha256_of
from pipeline.wire import encode_document

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
LAYOUT_FILE = "oci-layout"
INDEX_FILE = "index.json"
REF_NAME = "org.opencontainers.image.ref.name"
# What registries take for a manifest (distribution specification, "Pushing Manifests").
MANIFEST_BYTES = 4 << 20

_WEIGHTS = frozenset(
    [
        *("safetensors", "gguf", "ggml", "onnx", "bin", "pt", "pth", "ckpt", "h5", "keras", "msgpack", "npy", "npz"),
        *("ot", "params", "pb", "pdparams", "tflite", "caffemodel", "mlmodel", "engine", "data"),
    ]
)
_CODE = frozenset(["c", "cpp", "ipynb", "js", "mjs", "py", "sh", "ts", "wasm", "whl"])
_DOCS = frozenset(["md", "pdf", "rst", "txt", "html"])
_DOC_NAMES = frozenset(["license", "licence", "notice", "readme", "authors", "copying"])


class LayerFile(Protocol):
    """A file of a release, whatever read it."""

    @property
    def path(self) -> str: ...  # noqa: D102 (named by the field)
    @property
    def size(self) -> int: ...  # noqa: D102 (named by the field)
    @property
    def sha256(self) -> str: ...  # noqa: D102 (named by the field)


@dataclass(frozen=True, slots=True)
class Artifact:
    """The documents of one release, and their digests."""

    config: bytes
    manifest: bytes

    @property
    def config_sha256(self) -> Sha256:
        """Digest of the configuration."""
        return sha256_of(self.config)

    @property
    def manifest_sha256(self) -> Sha256:
        """Digest of the OCI manifest: what ``@sha256:…`` names."""
        return sha256_of(self.manifest)


def describe_release(model: str, version: str, kind: str, manifest_sha256: str, files: Iterable[LayerFile]) -> Artifact:
    """The configuration and the manifest of a release."""
    listed = list(files)
    config = encode_document(
        {
            "descriptor": {"name": model, "version": version},
            "config": {},
            "modelfs": {"type": "layers", "diffIds": [f"sha256:{file.sha256}" for file in listed]},
        }
    )
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": descriptor(CONFIG_TYPE, sha256_of(config), len(config)),
        "layers": [
            descriptor(layer_type(file.path), file.sha256, file.size, {"org.cncf.model.filepath": file.path}) for file in listed
        ],
        "annotations": {
            "org.opencontainers.image.title": model,
            "org.opencontainers.image.version": version,
            "modelport.kind": kind,
            "modelport.manifest.sha256": manifest_sha256,
        },
    }
    return Artifact(config, encode_document(document))


def layer_type(path: str) -> str:
    """ModelPack's media type of a file that is a layer as it is."""
    name = path.rpartition("/")[2].lower()
    stem, dot, ending = name.rpartition(".")
    if dot and ending in _WEIGHTS:
        kind = "weight"
    elif dot and ending in _CODE:
        kind = "code"
    elif (dot and ending in _DOCS) or (stem or ending) in _DOC_NAMES:
        kind = "doc"
    else:
        kind = "weight.config"
    return f"application/vnd.cncf.model.{kind}.v1.raw"


def descriptor(media_type: str, sha256: str, size: int, annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What points to a blob."""
    found: dict[str, Any] = {"mediaType": media_type, "digest": f"sha256:{sha256}", "size": size}
    return {**found, "annotations": dict(annotations)} if annotations else found


def layout_index(before: Sequence[Mapping[str, Any]], artifact: Artifact, names: Sequence[str]) -> bytes:
    """The index of a layout: what it named before, but for ``names``, which lead to ``artifact`` now."""
    kept = [dict(row) for row in before if _ref_name(row) not in names]
    rows = [
        {
            **descriptor(MANIFEST_TYPE, artifact.manifest_sha256, len(artifact.manifest), {REF_NAME: name}),
            "artifactType": ARTIFACT_TYPE,
        }
        for name in names
    ]
    return encode_document({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [*kept, *rows]})


def _ref_name(row: Mapping[str, Any]) -> Any:
    # Other programs wrote it: null or no annotations are as good as none.
    annotations = row.get("annotations")
    return annotations.get(REF_NAME) if isinstance(annotations, Mapping) else None


def layout_mark() -> bytes:
    """The content of ``oci-layout``."""
    return encode_document({"imageLayoutVersion": "1.0.0"})
