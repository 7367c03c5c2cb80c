"""The bytes of a volume never change: another program wrote this digest down once."""

from pathlib import Path

from bundles.index import Carried, Member, Plan, bundle_of
from bundles.verifying import damages
from pipeline.digest import Sha256, blake3_of, sha256_of
from tests.bundle_forge import write_volume
from tests.bundle_world import volume

DOCUMENTS = {
    "metadata/1.root.json": b'{"signed":"root"}',
    "metadata/timestamp.json": b'{"signed":"timestamp"}',
    f"targets/{'m' * 64}/{'1.0.0-' + 'a' * 58}/{'ab' * 32}.manifest.json": b"{}" * 300,
}
PARTS = [b"first part" * 60, b"2"]
GOLDEN = {
    "bundle": "dffaf68d88a8592c543fdc8efbaa039c10cdd61a2fa18341ac3df523a40ea557",
    "first": "4450d1c31dce1e307d9334a6c7818af60057610b43949a6551feb5e3a89fc2b4",
    "second": "9a24e4be667d32cd50b40710eaa6e693e57f9292dd6eda8693d3183780a90e27",
}


def plan():
    members = [Member(f"parts/{blake3_of(body)[:2]}/{blake3_of(body)}", len(body), sha256_of(body)) for body in PARTS]
    return Plan(
        name="bert-v2.1.0",
        root_fingerprint=sha256_of(DOCUMENTS["metadata/1.root.json"]),
        snapshot=7,
        releases=(
            Carried(
                release="bert-v2.1.0",
                kind="model",
                manifest_sha256=Sha256("ab" * 32),
                files=2,
                plain=900,
                stored=601,
                chosen=True,
            ),
        ),
        bases=(),
        documents=tuple(Member(key, len(body), sha256_of(body)) for key, body in DOCUMENTS.items()),
        volumes=tuple((member,) for member in members),
    )


def write(folder: Path, number: int) -> Path:
    bodies = DOCUMENTS | {f"parts/{blake3_of(body)[:2]}/{blake3_of(body)}": body for body in PARTS}
    path = folder / f"{number}.tar"
    write_volume(path, plan(), bodies, number=number)
    return path


def test_a_bundle_has_the_id_it_always_had():
    assert bundle_of(plan()).id == GOLDEN["bundle"]


def test_volumes_have_the_bytes_they_always_had(tmp_path):
    for number, name in ((1, "first"), (2, "second")):
        path = write(tmp_path, number)
        assert list(damages([volume(path)])) == []
        assert sha256_of(path.read_bytes()) == GOLDEN[name], name
