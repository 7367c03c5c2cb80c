"""A web release and its model, carried to a site without a network on media, and opened there in a browser."""

from __future__ import annotations

from hashlib import sha256

from bundles.installing import install_bundle
from pipeline.events import ignore
from sw.models import find_models
from tests.browser.test_models import DIGEST, DOWNLOAD
from tests.browser_world import assets, build, controlled, noise, outcome
from tests.fetch_world import make_tree
from tests.install_world import order_for
from tests.media_world import pack
from tests.site_world import serving

MODEL = noise(3_000_000)


def test_application_and_model_come_from_a_site(page, context, tmp_path):
    tree = make_tree(tmp_path / "tree")
    (tmp_path / "vad").mkdir()
    (tmp_path / "vad" / "model.onnx").write_bytes(MODEL)
    tree.publish("vad-v1.0.0", tmp_path / "vad", profile="web")
    models = find_models({"vad": {"release": "vad-v1.0.0"}}, tree.site.machine("publisher").place().view())
    build(tmp_path / "public", assets(), models=models)
    tree.publish("shop-v1.0.0", tmp_path / "public", kind="web")
    pack(tree, "shop-v1.0.0", "vad-v1.0.0").write(tmp_path / "media")
    order = order_for((tmp_path / "media",), tmp_path / "site", tree.site.fingerprint)
    install_bundle(type(order)(**{**vars(order), "keep_parts": True}), ignore)
    with serving(tmp_path / "site") as server:
        controlled(page, f"{server.url}/web/shop/")
        assert page.evaluate(DOWNLOAD, "vad") == "done"
        context.set_offline(offline=True)
        page.reload()
        outcome(page)
        assert (page.title(), page.evaluate("lazy()")) == ("1.0.0", "lazy 1.0.0")
        assert page.evaluate(DIGEST, "models/vad/model.onnx") == sha256(MODEL).hexdigest()
