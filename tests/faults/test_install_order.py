"""Media that come late, out of order, or were made before something was withdrawn: judged by what is signed, and recorded."""

import json
from pathlib import Path

import pytest

from pipeline.release import Release
from pipeline.trust.rotate import rotate_key
from pipeline.withdraw import retire_release, yank_release
from tests.fetch_world import contents, copy_of, make_tree
from tests.install_world import COLUMNS, Column
from tests.media_world import pack


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    tree = make_tree(tmp_path_factory.mktemp("ground") / "tree")
    tree.lay_out("bert-v1.0.0", seed=1)
    tree.lay_out("gpt-v1.0.0", seed=2)
    return tree


@pytest.fixture
def tree(ground, tmp_path):
    return copy_of(ground, tmp_path / "tree")


@pytest.fixture(params=COLUMNS)
def column(request, tmp_path):
    return Column(request.param, tmp_path)


def withdraw(tree, how, release: str) -> None:
    machine = tree.site.machine("publisher")
    how(Release.parse(release), machine.place(), machine.events.append, reason="broken tokenizer")


def warnings_of(done) -> list[str]:
    assert done.code == 0, done.said
    told = json.loads(Path(done.done["receipt"]).read_bytes())["warnings"]
    assert told == done.done["warnings"]
    return told


def test_older_medium_of_another_model_is_installed_and_recorded(tree, column, tmp_path):
    site = tmp_path / "site"
    old = pack(tree, "gpt-v1.0.0").write(tmp_path / "old")
    tree.lay_out("bert-v1.1.0", seed=3)
    assert warnings_of(column.install(pack(tree, "bert-v1.1.0").write(tmp_path / "new"), site, tree.site.fingerprint)) == []
    warnings = warnings_of(column.install(old, site))
    assert any("an older tree is read" in warning for warning in warnings)
    assert contents(site / "models" / "gpt-v1.0.0") == contents(tree.sources["gpt-v1.0.0"])
    assert (site / "current" / "bert").resolve().name == "bert-v1.1.0"


def test_older_medium_of_the_same_model_is_refused_unless_allowed(tree, column, tmp_path):
    site = tmp_path / "site"
    old = pack(tree, "bert-v1.0.0").write(tmp_path / "old")
    tree.lay_out("bert-v1.1.0", seed=3)
    assert column.install(pack(tree, "bert-v1.1.0").write(tmp_path / "new"), site, tree.site.fingerprint).code == 0
    state = (site / "state" / "trust" / "state.json").read_bytes()
    refused = column.install(old, site)
    assert (refused.code, "--allow-downgrade" in refused.hint) == (4, True), refused.said
    assert (site / "state" / "trust" / "state.json").read_bytes() == state
    assert (site / "current" / "bert").resolve().name == "bert-v1.1.0"
    warnings = warnings_of(column.install(old, site, allow_downgrade=True))
    assert any("--allow-downgrade" in warning for warning in warnings)
    assert (site / "current" / "bert").resolve().name == "bert-v1.0.0"
    seen = json.loads((site / "state" / "trust" / "state.json").read_bytes())
    assert seen["seen"] == json.loads(state)["seen"]
    assert any("--allow-downgrade" in note["what"] for note in seen["notes"])


def test_yanked_release_is_refused_unless_allowed_and_a_retired_one_always(tree, column, tmp_path):
    site = tmp_path / "site"
    withdraw(tree, yank_release, "bert-v1.0.0")
    media = pack(tree, "bert-v1.0.0").write(tmp_path / "yanked")
    refused = column.install(media, site, tree.site.fingerprint)
    assert (refused.code, "broken tokenizer" in refused.error) == (2, True), refused.said
    assert not site.exists()
    assert any(
        "yanked" in warning for warning in warnings_of(column.install(media, site, tree.site.fingerprint, allow_yanked=True))
    )


def test_retired_release_is_refused(tree, column, tmp_path):
    packed = pack(tree, "gpt-v1.0.0")
    withdraw(tree, retire_release, "gpt-v1.0.0")
    newer = pack(tree, "bert-v1.0.0")
    documents = [entry for entry in newer.plan["documents"] if "bert" not in entry[0]]
    documents += [entry for entry in packed.plan["documents"] if "manifest" in entry[0]]
    role = next(path for path in (tree.store / "metadata").glob("*.gpt.json") if path.name.startswith("2."))
    objects = {**packed.objects, **newer.objects, f"metadata/{role.name}": role.read_bytes()}
    from tests.media_world import sha256

    documents.append([f"metadata/{role.name}", role.stat().st_size, sha256(role.read_bytes())])
    plan = {**packed.plan, "documents": sorted(documents), "snapshot": newer.plan["snapshot"]}
    media = type(packed)("gpt-v1.0.0", plan, objects).write(tmp_path / "media")
    refused = column.install(media, tmp_path / "site", tree.site.fingerprint, allow_yanked=True)
    assert (refused.code, "was retired" in refused.error) == (2, True), refused.said


def test_rotated_keys_come_with_the_medium_and_older_media_are_still_judged(tree, column, tmp_path):
    site = tmp_path / "site"
    old = pack(tree, "gpt-v1.0.0").write(tmp_path / "old")
    fingerprint = tree.site.fingerprint
    machine = tree.site.machine("publisher")
    place = machine.place()
    from securesystemslib.signer import CryptoSigner

    from pipeline.custody import signing

    rotate_key(signing(place, machine.events.append), "root", [CryptoSigner.generate_ed25519()], settle=lambda: None)
    media = pack(tree, "bert-v1.0.0").write(tmp_path / "new")
    assert column.install(media, site, fingerprint).code == 0
    assert sorted(path.name for path in (site / "state" / "trust" / "roots").iterdir()) == ["1.root.json", "2.root.json"]
    assert column.install(old, site).code == 0
    # A pin to any root of the chain is good.
    assert column.install(media, tmp_path / "other", pack(tree, "bert-v1.0.0").plan["root_fingerprint"]).code == 0
