"""Dependencies: what is fetched along, and how a conflict is explained."""

from dataclasses import replace

import msgspec
import pytest

from pipeline.errors import InvalidDocument, UsageError
from pipeline.manifest import Dependency
from pipeline.release import Release
from pipeline.resolve import resolve_dependencies
from pipeline.withdraw import yank_release
from tests.fetch_world import contents, copy_of, make_tree


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """app needs enc ^1 and tok ^1; enc 1.1.0 needs tok ^2, enc 1.0.0 tok ^1; top needs both ends of a conflict."""
    tree = make_tree(tmp_path_factory.mktemp("resolve") / "tree")
    for version in ("1.0.0", "1.2.0", "2.0.0", "2.1.0-rc.1"):
        tree.lay_out(f"tok-v{version}", tensor_bytes=1 << 10, other=len(version))
    tree.lay_out("enc-v1.0.0", tensor_bytes=1 << 10, needs={"tok": "^1"})
    tree.lay_out("enc-v1.1.0", tensor_bytes=1 << 10, needs={"tok": "^2"})
    tree.lay_out("app-v1.0.0", tensor_bytes=1 << 10, needs={"enc": "^1", "tok": "^1"})
    tree.lay_out("app-v1.1.0", tensor_bytes=1 << 10, needs={"enc": "~1.1.0", "tok": "^1"})
    tree.lay_out("app-v1.2.0", tensor_bytes=1 << 10, needs={"enc": "~1.1.0", "tok": "*"})
    tree.lay_out("app-v1.3.0", tensor_bytes=1 << 10, needs={"gone": "^1"})
    tree.lay_out("loop-v1.0.0", tensor_bytes=1 << 10, needs={"pool": "^1"})
    tree.lay_out("pool-v1.0.0", tensor_bytes=1 << 10, needs={"loop": "^1"})
    return tree


def brought(done):
    return [one.release for one in done.dependencies]


def test_the_newest_that_everybody_takes_is_found_by_going_back(published):
    fetcher = published.fetcher()
    done = fetcher.fetch("app-v1.0.0")
    assert brought(done) == ["enc-v1.0.0", "tok-v1.2.0"]
    for release in ("app-v1.0.0", *brought(done)):
        assert contents(fetcher.models / release) == contents(published.sources[release])


def test_a_dependency_of_a_dependency_comes_too(published):
    assert brought(published.fetcher().fetch("app-v1.2.0")) == ["enc-v1.1.0", "tok-v2.0.0"]


def test_dependencies_stand_beside_a_named_folder(published, tmp_path):
    done = published.fetcher().fetch("enc-v1.0.0", to=tmp_path / "x" / "mine")
    assert [one.folder for one in done.dependencies] == [str(tmp_path / "x" / "tok-v1.2.0")]
    assert done.folder == str(tmp_path / "x" / "mine")


def test_dependencies_can_be_left(published):
    fetcher = published.fetcher()
    assert brought(fetcher.fetch("app-v1.1.0", dependencies=False)) == []
    assert [path.name for path in fetcher.models.iterdir()] == ["app-v1.1.0"]


def test_a_conflict_is_explained_with_the_chain_of_each_demand(published):
    fetcher = published.fetcher()
    with pytest.raises(UsageError) as caught:
        fetcher.fetch("app-v1.1.0")
    said = str(caught.value)
    assert "app-v1.1.0 needs tok ^1" in said
    assert "app-v1.1.0 → enc-v1.1.0 needs tok ^2" in said
    assert "tok has 1.0.0, 1.2.0, 2.0.0" in said
    assert not fetcher.models.exists()


def test_a_model_that_is_not_there_is_named(published):
    with pytest.raises(UsageError, match=r"app-v1\.3\.0 needs gone \^1; gone has no release"):
        published.fetcher().fetch("app-v1.3.0")


def test_models_that_need_each_other_come_together(published):
    assert brought(published.fetcher().fetch("loop-v1.0.0")) == ["pool-v1.0.0"]


def test_a_yanked_release_is_nobodys_dependency(published, tmp_path):
    tree = copy_of(published, tmp_path / "tree")
    machine = tree.site.machine("publisher")
    yank_release(Release.parse("tok-v1.2.0"), machine.place(), machine.events.append, reason="broken")
    assert brought(tree.fetcher().fetch("enc-v1.0.0")) == ["tok-v1.0.0"]


def test_no_manifest_is_read_to_resolve(published):
    fetcher = published.fetcher()
    with pytest.raises(UsageError):
        fetcher.fetch("app-v1.1.0")
    assert [key for key, _, _ in fetcher.readers[0].asked if key.endswith("manifest.json")] == []


@pytest.mark.parametrize("versions", ["latest", "1.0 - <2"])
def test_a_signed_range_that_cannot_be_read_is_named_with_its_release(published, versions, monkeypatch):
    def look(view):
        app = view.release(Release.parse("app-v1.0.0"))
        needs = (Dependency(model="tok", version=versions),)
        changed = replace(app, facts=msgspec.structs.replace(app.facts, dependencies=needs))
        of_view = view.releases
        monkeypatch.setattr(type(view), "releases", lambda _, model: [changed] if model == "app" else of_view(model))
        return resolve_dependencies(view, changed)

    with pytest.raises(InvalidDocument, match=f"what app-v1.0.0 needs cannot be read: '{versions}'"):
        published.fetcher().supply().read(look, lambda _: None)
