"""The installer's judge beside modelport's own: whatever a medium holds, both say the same and remember the same."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner

from bundles.installer import faults
from bundles.installer.folders import Folder
from bundles.installer.judging import Policy, judge
from bundles.installer.sitestate import FOLDER, load_state
from bundles.installer.tufrules import verify_ed25519
from pipeline.digest import sha256_of
from pipeline.errors import ModelportError
from pipeline.layout import TIMESTAMP
from pipeline.release import Channel, ModelName, Release
from pipeline.stores.memory import MemoryStore
from pipeline.trust.changes import MoveChannel, Renew
from pipeline.trust.commit import commit_changes
from pipeline.trust.reading import read_view
from pipeline.trust.rotate import rotate_key, rotate_model_key
from pipeline.trust.state import TrustState
from tests.servers.processes import scratch
from tests.trust_world import World

MODELS = (ModelName("bert"), ModelName("gpt"))
KEPT = ("pins", "root", "seen", "claims", "signed_at")
Medium = dict[str, bytes]


class Twins:
    """Two places that read the same media: one judged by modelport, one by the installer."""

    def __init__(self, folder: Path, world: World) -> None:
        self.world = world
        self.state = TrustState(folder / "ours")
        self.state.pin(world.fingerprint)
        self.site = Folder(str(folder / "site"), make=True)
        self.fingerprint = world.fingerprint

    def read(self, medium: Medium, models=(MODELS[0],), **flags: bool) -> tuple[int, list[str]]:
        """Read in both places: what both said (0, or the exit code), and how many warnings."""
        ours = self._ours(medium, models, flags)
        alone = self._alone(medium, models, flags)
        assert ours[0] == alone[0], (ours, alone)
        assert len(ours[1]) == len(alone[1]), (ours, alone)
        left = json.loads((self.state.folder / "state.json").read_bytes())
        right = json.loads((Path(self.site.path) / FOLDER / "state.json").read_bytes())
        assert {name: left[name] for name in KEPT} == {name: right[name] for name in KEPT}
        for part in ("roots", "metadata"):
            assert _files(self.state.folder / part) == _files(Path(self.site.path) / FOLDER / part)
        return ours

    def _ours(self, medium, models, flags):
        store = MemoryStore("medium")
        for key, data in medium.items():
            store.put(key, data, sha256=sha256_of(data))
        try:
            view = read_view(store, self.state, now=lambda: self.world.at, offline=True, **flags)
            for model in models:
                view.model(model)
        except ModelportError as error:
            return (4 if error.exit_code == 2 else error.exit_code), [str(error)]
        return 0, list(view.warnings)

    def _alone(self, medium, models, flags):
        state = load_state(self.site)
        try:
            state.pin(self.fingerprint)
            judged = judge(medium.get, state, Policy(verify_ed25519, **flags))
            for model in models:
                judged.model(model)
        except faults.ModelportError as error:
            return error.exit_code, [str(error)]
        finally:
            state.save()
        return 0, judged.warnings


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.json")}


def medium_of(world: World) -> Medium:
    """Every signed object of the tree."""
    return {info.key: b"".join(world.store.get(info.key)) for info in world.store.list("") if not info.key.startswith("control/")}


@pytest.fixture
def world():
    with scratch() as folder:
        world = World(folder)
        publisher = world.begin()
        one = Release.parse("bert-v1.0.0")
        commit_changes(publisher, [*world.publish_changes(publisher, str(one)), MoveChannel(Channel("stable"), one, "me")])
        commit_changes(publisher, world.publish_changes(publisher, "gpt-v1.0.0"))
        yield world


@pytest.fixture
def twins(world, tmp_path):
    return Twins(tmp_path, world)


@pytest.fixture(scope="module")
def torn_ground():
    """A tree, and media of it before and after a rotation of its root key."""
    with scratch() as folder:
        world = World(folder)
        publisher = world.begin()
        for name in ("bert-v1.0.0", "gpt-v1.0.0"):
            commit_changes(publisher, world.publish_changes(publisher, name))
        media = [medium_of(world)]
        rotate_key(world.publisher(), "root", [CryptoSigner.generate_ed25519()], settle=lambda: None)
        commit_changes(world.publisher(), [world.release_change("bert-v2.0.0")])
        yield world, [*media, medium_of(world)]


def test_newer_media_are_taken(world, twins):
    assert twins.read(medium_of(world), MODELS) == (0, [])
    commit_changes(world.publisher(), [world.release_change("bert-v2.0.0")])
    assert twins.read(medium_of(world), MODELS) == (0, [])


def test_media_out_of_order_are_taken_and_recorded_unless_a_model_would_go_back(world, twins):
    old = medium_of(world)
    commit_changes(world.publisher(), [world.release_change("gpt-v2.0.0")])
    assert twins.read(medium_of(world), MODELS) == (0, [])
    assert twins.read(old)[0] == 0
    assert twins.read(old, MODELS)[0] == 4
    code, warnings = twins.read(old, MODELS, allow_downgrade=True)
    assert code == 0
    assert any("--allow-downgrade" in warning for warning in warnings)


def test_expired_is_a_warning_and_an_error_where_freshness_is_asked_for(world, twins):
    old = medium_of(world)
    world.pass_time(days=100)
    commit_changes(world.publisher(), [Renew(("targets", "bert"))])
    assert twins.read(medium_of(world)) == (0, [])
    code, warnings = twins.read(old, (MODELS[1],))
    assert code == 0
    assert any("expired" in warning for warning in warnings)
    assert twins.read(old, (MODELS[1],), require_fresh=True)[0] == 4


def test_rotated_keys_are_followed_and_older_media_judged_by_the_roots_of_their_time(world, twins):
    old = medium_of(world)
    assert twins.read(old)[0] == 0
    stamp, root = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
    rotate_key(world.publisher(), "timestamp", [stamp], settle=lambda: None)
    assert twins.read(medium_of(world))[0] == 0
    assert twins.read(old)[0] == 0
    rotate_key(world.publisher(keys=world.keys(timestamp=stamp)), "root", [root], settle=lambda: None)
    assert twins.read(medium_of(world))[0] == 0
    assert twins.read(old)[0] == 0


def test_model_key_that_was_replaced_signs_nothing_any_more(world, twins):
    old = medium_of(world)
    rotate_model_key(world.publisher(), MODELS[0], [CryptoSigner.generate_ed25519()])
    assert twins.read(medium_of(world))[0] == 0
    for allow in (False, True):
        assert twins.read(old, allow_downgrade=allow)[0] == 4


def test_another_tree_is_refused(world, twins):
    assert twins.read(medium_of(world))[0] == 0
    with scratch() as folder:
        other = World(folder)
        publisher = other.begin()
        commit_changes(publisher, other.publish_changes(publisher, "bert-v1.0.0"))
        assert twins.read(medium_of(other))[0] == 4


ROLES = ("1.root", "timestamp", "snapshot", "targets", "bert")
HOWS = ("gone", "bit", "unsigned", "half a signature", "signature twice", "other words", "version", "type", "nonsense")
# Set apart, so that a seed that parted the two once still makes the same media.
MORE_ROLES = (*ROLES, "root")
MORE_HOWS = (*HOWS, "torn", "deep")


def key_of(medium: Medium, role: str) -> str:
    """The newest object of a role."""
    if role in {"timestamp", "1.root"}:
        return f"metadata/{role}.json"
    return max((key for key in medium if key.endswith(f".{role}.json")), key=lambda key: int(key.split("/")[1].split(".")[0]))


def tampered(medium: Medium, role: str, how: str, chance: random.Random) -> Medium:
    """A medium of which one document was altered."""
    key = key_of(medium, role)
    if how == "gone":
        return {name: data for name, data in medium.items() if name != key}
    if how in {"bit", "torn", "deep", "nonsense"}:
        return {**medium, key: spoilt(medium[key], how, chance)}
    document = json.loads(medium[key])
    signed, signatures = document["signed"], document["signatures"]
    if how == "unsigned":
        document["signatures"] = []
    elif how == "half a signature":
        signatures[0]["sig"] = signatures[0]["sig"][:64]
    elif how == "signature twice":
        signatures.append(signatures[0])
    elif how == "other words":
        signed["expires"] = "2099-01-01T00:00:00Z"
    elif how == "version":
        signed["version"] = chance.choice([0, -1, 2**63, "1", 1.5, True, signed["version"] + 1])
    elif how == "type":
        signed["_type"] = chance.choice(["targets" if signed["_type"] == "root" else "root", "snapshot", "mirrors"])
    return {**medium, key: json.dumps(document).encode()}


def spoilt(data: bytes, how: str, chance: random.Random) -> bytes:
    """A document whose bytes are others."""
    if how == "bit":
        found = bytearray(data)
        found[chance.randrange(len(data))] ^= 1 << chance.randrange(7)
        return bytes(found)
    if how == "torn":
        return torn(data, chance)
    if how == "deep":
        # Below the limits of every Python, and at them.
        depth = chance.choice([100, 900, *range(960, 1000), 5_000])
        return data.replace(b'"signed":{', b'"signed":{"x":' + b"[" * depth + b"]" * depth + b",", 1)
    return chance.choice([b"", b"{}", b"[" * 50_000, b'{"signed":1,"signed":2}', b"\xff\xfe", b"null"])


def torn(data: bytes, chance: random.Random) -> bytes:
    """Bytes as a worn medium, a bad cable or a vandal leaves them."""
    found, how = bytearray(data), chance.randrange(5)
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        at, other = chance.randrange(len(data)), chance.randrange(len(data))
        if how == 0:
            del found[at : at + chance.randrange(1, 40)]
        elif how == 1:
            found[at:at] = chance.choice(
                [b'"', b"{", b",", b"0", b"\\", b"\\u0041", b"null", b"\n", b"\xc3\xa9", b"[]", b'"a":1,']
            )
        elif how == 2:
            found[at : at + 1] = bytes([chance.randrange(256)])
        elif how == 3:
            # The same number to a lenient reader of hex digits.
            found[at : at + 8] = found[at : at + 8].swapcase()
        else:
            found[at : at + 8] = data[other : other + 8]
    return bytes(found)


@pytest.mark.parametrize("how", MORE_HOWS)
@pytest.mark.parametrize("role", MORE_ROLES)
def test_altered_document_is_refused_by_both(world, twins, role, how):
    if role == "root":
        # Known by the chain alone, where the first is known by its fingerprint.
        rotate_key(world.publisher(), "root", [CryptoSigner.generate_ed25519()], settle=lambda: None)
    good = medium_of(world)
    code, _ = twins.read(tampered(good, role, how, random.Random(1)))
    # A chain ends where nothing follows.
    assert code in ({0} if (role, how) == ("root", "gone") else {3, 4})
    assert twins.read(good)[0] == 0


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**32),
    role=st.sampled_from(MORE_ROLES),
    how=st.sampled_from(["bit", "torn", "deep"]),
    known=st.booleans(),
)
def test_no_torn_document_parts_the_two(torn_ground, seed, role, how, known):
    world, media = torn_ground
    with scratch() as here:
        twins = Twins(here, world)
        if known:
            assert twins.read(media[0], MODELS)[0] == 0
        chance = random.Random(seed)
        twins.read(tampered(chance.choice(media), role, how, chance), MODELS)


def test_fingerprint_is_looked_at_before_anything_is_read_as_a_root(world, twins):
    good = medium_of(world)
    for data in (b"", b"{}", b"[" * 50_000, b"\xff", good["metadata/1.root.json"] + b" "):
        assert twins.read({**good, "metadata/1.root.json": data})[0] == 4
    assert twins.read(good)[0] == 0


def test_damaged_root_before_the_pinned_one_does_not_hide_it(world, tmp_path):
    key = CryptoSigner.generate_ed25519()
    rotate_key(world.publisher(), "root", [key], settle=lambda: None)
    medium = medium_of(world)
    other = Twins(tmp_path, world)
    other.fingerprint = sha256_of(medium["metadata/2.root.json"])
    other.state.pin(other.fingerprint)
    assert other.read({**medium, "metadata/1.root.json": b"\xff"})[0] == 0


@pytest.mark.parametrize("key", ["metadata/2.root.json", TIMESTAMP])
def test_signature_is_looked_at_before_the_form(world, twins, key):
    rotate_key(world.publisher(), "root", [CryptoSigner.generate_ed25519()], settle=lambda: None)
    good = medium_of(world)
    for field in ("_type", "version", "spec_version", "expires"):
        document = json.loads(good[key])
        document["signed"][field] = "1.x"
        assert twins.read({**good, key: json.dumps(document).encode()})[0] == 4
        del document["signed"][field]
        assert twins.read({**good, key: json.dumps(document).encode()})[0] == 4


@pytest.mark.parametrize(("lists", "code"), [(62, 4), (63, 3), (900, 3), (5_000, 3)])
def test_levels_have_one_limit_on_every_python(world, twins, lists, code):
    good = medium_of(world)
    deep = b'"signed":{"x":' + b"[" * lists + b"]" * lists + b","
    assert twins.read({**good, TIMESTAMP: good[TIMESTAMP].replace(b'"signed":{', deep)})[0] == code
    beside = b'{"x":' + b"[" * lists + b"]" * lists + b","
    # Nobody signs what stands beside the signed part; still it has the limit of the whole.
    assert twins.read({**good, TIMESTAMP: beside + good[TIMESTAMP][1:]})[0] == (0 if lists < 64 else 3)


def test_signature_has_one_spelling(world, twins):
    good = medium_of(world)
    document = json.loads(good[TIMESTAMP])
    for spelling in (str.upper, lambda text: f" {text}", " ".join):
        other = {**document, "signatures": [{**one, "sig": spelling(one["sig"])} for one in document["signatures"]]}
        assert twins.read({**good, TIMESTAMP: json.dumps(other).encode()})[0] == 4


def test_what_was_signed_anew_takes_its_own_place(world, twins):
    good = medium_of(world)
    assert twins.read(good)[0] == 0
    document = json.loads(good[TIMESTAMP])
    document["signatures"].append({"keyid": "0" * 64, "sig": "00"})
    more = json.dumps(document).encode()
    assert twins.read({**good, TIMESTAMP: more})[0] == 0
    assert twins.state.copy("timestamp") == more


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), more=st.booleans())
# A role that was seen, of which a newer one was announced and never read.
@example(seed=191, more=False)
# A first root without the word "threshold", on a medium of a tree that is not trusted.
@example(seed=35227, more=False)
def test_no_sequence_of_media_parts_the_two(seed, more):
    chance, roles, hows = random.Random(seed), MORE_ROLES if more else ROLES, MORE_HOWS if more else HOWS
    with scratch() as here, scratch() as folder:
        world = World(folder)
        publisher = world.begin()
        commit_changes(publisher, world.publish_changes(publisher, "bert-v1.0.0"))
        commit_changes(publisher, world.publish_changes(publisher, "gpt-v1.0.0"))
        twins, media = Twins(here, world), [medium_of(world)]
        for number in range(chance.randrange(2, 7)):
            _move_on(world, chance, number)
            media.append(medium_of(world))
            for _ in range(2):
                medium = chance.choice(media)
                if chance.random() < 0.4:
                    medium = tampered(medium, chance.choice(roles), chance.choice(hows), chance)
                elif chance.random() < 0.3:
                    medium = {**medium, TIMESTAMP: chance.choice(media)[TIMESTAMP]}
                models = chance.choice([MODELS, MODELS[:1], MODELS[1:]])
                flags = {"allow_downgrade": chance.random() < 0.3, "require_fresh": chance.random() < 0.2}
                twins.read(medium, models, **flags)


def _move_on(world: World, chance: random.Random, number: int) -> None:
    what = chance.randrange(5)
    if what == 0:
        commit_changes(world.publisher(), [world.release_change(f"{chance.choice(MODELS)}-v2.{number}.0")])
    elif what == 1:
        world.pass_time(days=chance.randrange(1, 85))
        commit_changes(world.publisher(), [Renew()])
    elif what == 2:
        key = CryptoSigner.generate_ed25519()
        rotate_key(world.publisher(), "release", [key], settle=lambda: None)
        world.release = key
    elif what == 3:
        key = CryptoSigner.generate_ed25519()
        rotate_key(world.publisher(), "root", [key], settle=lambda: None)
        world.root = key
    else:
        world.pass_time(days=chance.randrange(200, 400))
        commit_changes(world.publisher(), [Renew()])
