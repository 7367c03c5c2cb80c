"""Write the golden manifests anew: ``python -m tests.golden.manifest_make``. Only a new format_version may need it."""

from pathlib import Path

from pipeline.wire import encode_manifest
from tests.makers.manifests import manifest, raw_manifest

FOLDER = Path(__file__).parent / "vectors"
GOLDEN = {
    "manifest-1-default.json": manifest(),
    "manifest-1-raw.json": raw_manifest(),
    "manifest-1-web.json": raw_manifest("web", kind="web", model="viewer"),
    "manifest-1-empty.json": manifest(kind="wheels", files=manifest().files[3:], parts=(), bases=(), dependencies=()),
}


def main():
    for name, whole in GOLDEN.items():
        (FOLDER / name).write_bytes(encode_manifest(whole))


if __name__ == "__main__":
    main()
