"""Bundles for those who have something already: a base, a site's inventory; only what they lack travels."""

import pytest

from bundles.inventory import Installed, Inventory
from pipeline.digest import Sha256
from pipeline.errors import (
    UsageError,
)
from pipeline.release import Release
from tests.bundle_world import (
    begin_tree,
    builder_of,
    keys_in,
    part_keys,
    volume,
    volumes_in,
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return begin_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture
def builder(tree):
    return builder_of(tree)


# --- differential --------------------------------------------------------------------------------


def test_only_parts_that_the_base_cannot_give_are_packed(builder, tree, tmp_path):
    built = builder.build(tmp_path / "delta", "bert-v2.0.0", bases=["bert-v1.0.0"])
    whole = builder.plan("bert-v2.0.0").document
    carried = {key for key in keys_in(tmp_path / "delta") if key.startswith("parts/")}
    left_out = part_keys(tree, "bert-v2.0.0", "tok-v1.0.0") - carried
    assert left_out
    assert left_out <= part_keys(tree, "bert-v1.0.0")
    assert built.bases == ["bert-v1.0.0"]
    assert built.left_out + built.bytes > whole.bytes - 20_000
    plan = volume(volumes_in(tmp_path / "delta")[0]).bundle.plan
    assert plan.name == "bert-v2.0.0-delta"
    # The site has the base, and so its manifest.
    assert not any("targets/bert/1.0.0/" in document.key for document in plan.documents)
    assert any("targets/bert/2.0.0/" in document.key for document in plan.documents)


def test_a_base_that_helps_nothing_is_not_demanded(builder, tmp_path):
    built = builder.build(tmp_path / "out", "bert-v2.0.0", bases=["plain-v1.0.0"])
    assert built.bases == []
    assert any("plain-v1.0.0" in warning for warning in built.warnings)


def test_a_part_that_another_release_of_the_bundle_needs_is_packed(builder, tree, tmp_path):
    builder.build(tmp_path / "out", "bert-v1.0.0", "bert-v2.0.0", bases=["bert-v1.0.0"])
    # The site has all of 1.0.0, so nothing of it travels, and 2.0.0 stands on it.
    assert not part_keys(tree, "bert-v1.0.0") & keys_in(tmp_path / "out")


def inventory(tree, *releases, **changes):
    found = []
    for name in releases:
        release = Release.parse(name)
        path = next((tree.store / "targets" / release.model / release.version).glob("*.manifest.json"))
        found.append(Installed(release=name, manifest_sha256=Sha256(path.name.partition(".")[0])))
    fields = {
        "format": "modelport-inventory",
        "format_version": 1,
        "root_fingerprint": tree.site.fingerprint,
        "snapshot": 1,
        "made_at": "2026-11-22T10:00:00Z",
        "releases": tuple(found),
    }
    return Inventory(**{**fields, **changes})


def test_an_inventory_makes_the_same_bundle_as_naming_its_releases(builder, tree, tmp_path):
    have = inventory(tree, "bert-v1.0.0", "plain-v1.0.0")
    one = builder.plan("bert-v2.0.0", have=have).document
    assert one.bases == ["bert-v1.0.0"]
    assert one.bundle == builder.plan("bert-v2.0.0", bases=["bert-v1.0.0"]).document.bundle


def test_a_site_that_has_everything_needs_no_part(builder, tree, tmp_path):
    built = builder.build(tmp_path / "out", "bert-v2.0.0", have=inventory(tree, "bert-v2.0.0", "tok-v1.0.0"))
    assert not [key for key in keys_in(tmp_path / "out") if key.startswith("parts/")]
    assert built.bases == ["bert-v2.0.0", "tok-v1.0.0"]
    assert any("has bert-v2.0.0, tok-v1.0.0 already: nothing is carried but what proves it" in told for told in built.warnings)


def test_a_release_that_the_site_has_takes_no_older_one_to_stand_on(builder, tree):
    """An inventory names the older one first; asking for it at the site would be asking for nothing."""
    planned = builder.plan("bert-v2.0.0", have=inventory(tree, "bert-v1.0.0", "bert-v2.0.0", "tok-v1.0.0")).document
    assert planned.bases == ["bert-v2.0.0", "tok-v1.0.0"]


def test_of_two_releases_only_the_one_that_the_site_lacks_travels(builder, tree, tmp_path):
    built = builder.build(tmp_path / "out", "bert-v1.0.0", "bert-v2.0.0", have=inventory(tree, "bert-v1.0.0"))
    assert built.bases == ["bert-v1.0.0"]
    assert any("has bert-v1.0.0 already: of that is carried only what proves it" in told for told in built.warnings)


def test_the_same_order_again_is_not_said_to_go_on_with_another_bundle(builder, tmp_path):
    builder.build(tmp_path / "one", "bert-v1.0.0")
    again = builder.build(tmp_path / "other", "bert-v1.0.0", only=(1,))
    assert not any("goes on with bundle" in told for told in again.warnings)


def test_an_inventory_of_another_tree_is_refused(builder, tree):
    with pytest.raises(UsageError, match="is none of"):
        builder.plan("bert-v2.0.0", have=inventory(tree, "bert-v1.0.0", root_fingerprint=Sha256("00" * 32)))


def test_what_the_site_has_under_another_manifest_or_a_retired_name_serves_nothing(builder, tree):
    have = inventory(
        tree,
        releases=(
            Installed(release="bert-v1.0.0", manifest_sha256=Sha256("00" * 32)),
            Installed(release="bert-v0.0.1", manifest_sha256=Sha256("00" * 32)),
        ),
    )
    assert builder.plan("bert-v2.0.0", have=have).document.bases == []
