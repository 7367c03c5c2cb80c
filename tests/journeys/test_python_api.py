"""modelport as a library: every name that is promised, used as a program would use it."""

import ast
from pathlib import Path

import pytest

from pipeline import api
from pipeline.api import (
    Channel,
    FetchOrder,
    ModelName,
    PublishOrder,
    Release,
    UsageError,
    describe_release,
    fetch_release,
    ignore,
    load_settings,
    open_place,
    open_supply,
    promote_release,
    prove_folder,
    publish_release,
    read_want,
    rollback_channel,
    show_tree,
    verify_release,
)
from tests.fetch_world import contents
from tests.publish_world import lay_out

FIRST, SECOND = Release.parse("bert-v1.0.0"), Release.parse("bert-v1.1.0")


@pytest.fixture
def here(tmp_path, monkeypatch):
    for kind in ("STATE", "CACHE", "DATA"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / "home" / kind))
    for number, release in enumerate((FIRST, SECOND)):
        lay_out(tmp_path / "models" / str(release), other=number)
    return tmp_path


@pytest.fixture
def place(here):
    """A store with the first release on stable, opened as a program would."""
    place: api.Place = open_place(load_settings({}, {}, here))
    published: api.Published = publish_release(
        PublishOrder(FIRST, here / "models" / str(FIRST), channel=Channel("stable")), place, ignore
    )
    assert published.release == str(FIRST)
    return place


def test_release_is_published_promoted_shown_and_rolled_back(here, place):
    heard = []
    listen: api.Listener = heard.append
    publish_release(PublishOrder(SECOND, here / "models" / str(SECOND)), place, listen)
    assert heard
    moved: api.Moved = promote_release(SECOND, Channel("stable"), place, ignore)
    assert (moved.origin, moved.to) == (str(FIRST), str(SECOND))
    assert rollback_channel(ModelName("bert"), Channel("stable"), place, ignore).to == str(FIRST)
    shown: api.Shown = show_tree(place)
    assert [one.release for one in shown.models[0].releases] == [str(FIRST), str(SECOND)]
    overview: api.Overview = describe_release(place, SECOND)
    assert [base.base for base in overview.bases] == [str(FIRST)]
    verified: api.Verified = verify_release(SECOND, place, ignore, sample_percent=100)
    assert verified.read == verified.objects


def test_release_is_fetched_and_its_folder_proved(here, place):
    settings: api.Settings = load_settings({}, {}, here)
    supply: api.Supply = open_supply(settings)
    want: api.Want = read_want("bert@stable")
    fetched: api.Fetched = fetch_release(FetchOrder(want, here / "fetched"), supply, ignore)
    folder = here / "fetched" / fetched.release
    assert contents(folder) == contents(here / "models" / str(FIRST))
    proof: api.FolderVerified = prove_folder(folder, supply, ignore)
    assert proof.release == str(FIRST)
    supply.close()


@pytest.mark.parametrize(
    "family, code",
    [
        (api.UsageError, 2),
        (api.IntegrityError, 3),
        (api.TrustError, 4),
        (api.UnavailableError, 5),
        (api.DiskError, 6),
        (api.LeftInLedger, 7),
        (api.ConflictError, 8),
    ],
)
def test_errors_are_the_exit_codes(family, code):
    assert issubclass(family, api.ModelportError)
    assert family.exit_code == code


def test_error_has_a_hint_of_what_to_do(place):
    with pytest.raises(UsageError) as caught:
        verify_release(Release.parse("bert-v1.0.1"), place, ignore)
    assert caught.value.hint == "Did you mean bert-v1.0.0?"


def test_every_promised_name_is_used_here():
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert set(api.__all__) <= names
    assert api.__all__ == sorted(api.__all__)
