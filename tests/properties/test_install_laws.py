"""Laws of an installation: whatever was done to the media, a site ends whole or untouched, and a refusal is one of ours."""

from __future__ import annotations

import random
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundles.installer import faults
from bundles.installer.preflight import Order
from bundles.installer.tools import Tools
from bundles.installer.walk import install
from bundles.installing import install_bundle
from pipeline.errors import ModelportError
from pipeline.events import ignore
from tests.fetch_world import contents, make_tree
from tests.install_world import COLUMNS, lay_out_weights
from tests.media_world import pack


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    tree = make_tree(folder / "tree")
    tree.publish("bert-v1.0.0", lay_out_weights(folder / "one", tensor_bytes=96 << 10))
    tree.lay_out("raw-v1.0.0", seed=9, profile="raw")
    return folder, tree, pack(tree, "bert-v1.0.0", "raw-v1.0.0", volumes=2)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """A volume to which something happened."""
    what = chance.randrange(7)
    at = chance.randrange(len(data))
    if what == 0:
        return data[:at]
    if what == 1:
        return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
    if what == 2:
        size = chance.choice([1, 512, 4096])
        return data[:at] + chance.randbytes(size) + data[at + size :]
    if what == 3:
        return data[:at] + chance.randbytes(chance.choice([1, 512])) + data[at:]
    if what == 4:
        block, other = at - at % 512, chance.randrange(len(data)) // 512 * 512
        return data[:block] + data[other : other + 512] + data[block + 512 :]
    if what == 5:
        return data + bytes(chance.choice([1, 512, 10240]))
    return b"\0" * chance.choice([0, 511, 512, 1024]) + data[: chance.choice([0, len(data)])]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**40), column=st.sampled_from(COLUMNS))
def test_no_damage_ends_in_a_wrong_file_or_an_error_that_is_not_ours(world, seed, column):
    folder, tree, packed = world
    chance = random.Random(seed)
    media, site = folder / "media", folder / "site"
    shutil.rmtree(media, ignore_errors=True)
    shutil.rmtree(site, ignore_errors=True)
    hit = chance.choice([1, 2, 3])
    packed.write(media, spoil=lambda number, data: damaged(data, chance) if number & hit else data)
    order = Order((str(media),), str(site), tree.site.fingerprint)
    done = refused = None
    try:
        done = install_bundle(order, ignore) if column == "bundle.install" else install(order, Tools())
    except (ModelportError, faults.ModelportError) as error:
        refused = error
    assert refused is None or (refused.exit_code in {2, 3, 4, 6} and "\n" not in str(refused))
    if done is not None and not done.missing:
        for release in ("bert-v1.0.0", "raw-v1.0.0"):
            assert contents(site / "models" / release) == contents(tree.sources[release])
    else:
        assert not (site / "current").exists()
        assert not (site / "models").exists() or list((site / "models").iterdir()) == []
    packed.write(media)
    assert install(order, Tools()).missing == []
    assert contents(site / "models" / "bert-v1.0.0") == contents(tree.sources["bert-v1.0.0"])


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**40))
def test_any_order_of_volumes_by_any_installer_ends_in_the_same_release(world, seed):
    folder, tree, _ = world
    chance = random.Random(seed)
    count = chance.randrange(1, 5)
    packed, site = pack(tree, "bert-v1.0.0", "raw-v1.0.0", volumes=count, state=folder / "packer"), folder / "ordered"
    shutil.rmtree(site, ignore_errors=True)
    numbers = list(range(1, count + 1))
    chance.shuffle(numbers)
    for number in numbers:
        media = folder / "one-medium"
        shutil.rmtree(media, ignore_errors=True)
        packed.write(media, only=[number])
        order = Order((str(media),), str(site), tree.site.fingerprint)
        done = install_bundle(order, ignore) if chance.random() < 0.5 else install(order, Tools())
    assert done.missing == []
    for release in ("bert-v1.0.0", "raw-v1.0.0"):
        assert contents(site / "models" / release) == contents(tree.sources[release])
