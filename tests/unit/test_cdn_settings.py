"""The setting ``cdn``: each provider's keys, several CDNs, credentials by name, and how an adapter's limits are overruled."""

import jsonschema
import pytest
import yaml

from pipeline.cdns.configured import ConfiguredCdn
from pipeline.cdns.memory import MemoryCdn
from pipeline.cli.masking import Mask, secrets_in
from pipeline.cli.reference import settings_schema
from pipeline.connect_cdns import open_cdns, open_fronts
from pipeline.errors import AccessDenied, SettingsError
from pipeline.ports import Op
from pipeline.providers import PROVIDERS, Credentials
from pipeline.settings import load_settings

BASE = "https://cdn.example.org/tree"


@pytest.fixture
def load(tmp_path):
    def read(cdn, **environ):
        (tmp_path / "modelport.yaml").write_text(yaml.safe_dump({"cdn": cdn}))
        return load_settings({}, {"HOME": str(tmp_path), **environ}, tmp_path)

    return read


def needed(name):
    provider = PROVIDERS[name]
    found = {key: "x" for key, option in provider.options.items() if option.needed}
    if not provider.endpoint and not provider.own_endpoint:
        found["endpoint"] = "https://api.example.org"
    return {"provider": name, "base_url": BASE, **found}


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_provider_is_read_with_its_endpoint_and_defaults(load, name):
    written = needed(name)
    (cdn,) = load(written).cdn
    assert cdn["base_url"] == BASE
    assert cdn["endpoint"] == written.get("endpoint", PROVIDERS[name].endpoint)
    for key, option in PROVIDERS[name].options.items():
        if option.default is not None:
            assert cdn[key] == option.default
    jsonschema.validate({"cdn": written}, settings_schema())


def test_one_cdn_or_a_list_is_read(load):
    one, two = needed("aliyun") | {"prefetch_per_day": 800}, needed("fastly") | {"base_url": "https://two.example.org"}
    assert [cdn["provider"] for cdn in load(one).cdn] == ["aliyun"]
    settings = load([one, two | {"prefetch_per_day": 300}])
    assert [cdn["provider"] for cdn in settings.cdn] == ["aliyun", "fastly"]
    assert settings.prefetch_per_day == 300
    assert [cdn.base_url for cdn in open_cdns(settings)] == [BASE, "https://two.example.org"]
    assert [front.edge.url for front in open_fronts(settings)] == [BASE, "https://two.example.org"]
    assert load([]).prefetch_per_day is None


def test_edge_of_an_unknown_kind_of_credentials_is_refused(load):
    with pytest.raises(SettingsError, match="kind 'baerer' is unknown"):
        open_fronts(load(needed("aliyun") | {"auth": {"kind": "baerer", "token": "EDGE"}}))


def test_token_of_an_edge_is_no_part_of_what_is_shown(load):
    settings = load(needed("aliyun") | {"auth": {"kind": "bearer", "token": "EDGE"}}, EDGE="edge-canary")
    assert "edge-canary" in settings.secrets
    assert "edge-canary" not in repr(settings)
    assert "edge-canary" not in repr(open_fronts(settings))


def test_quota_alone_decides_the_part_size_before_there_is_a_cdn(load):
    settings = load({"prefetch_per_day": 500})
    assert settings.prefetch_per_day == 500
    assert open_cdns(settings) == ()


def test_variables_add_to_what_is_written(load):
    settings = load(needed("webhook"), MODELPORT_CDN__PREFETCH_PER_DAY="7", MODELPORT_CDN__OPERATIONS="prefetch, refresh")
    assert settings.prefetch_per_day == 7
    assert settings.cdn[0]["operations"] == ("prefetch", "refresh")


def test_base_url_has_one_spelling(load):
    assert load(needed("aliyun") | {"base_url": "https://CDN.Example.org/tree/"}).cdn[0]["base_url"] == BASE


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"provider": "aliyum"}, "the provider 'aliyum' is unknown; did you mean 'aliyun'?"),
        ({"provider": 3}, "the provider 3 is unknown"),
        ({"base_url": None}, "is not text"),
        ({"base_url": ""}, "not an http or https URL"),
        ({"base_url": "ftp://h/x"}, "the address 'ftp://h/x' has the unknown scheme 'ftp'"),
        ({"base_url": "htps://h/x"}, "unknown scheme 'htps'; did you mean 'https'?"),
        ({"base_url": "h/x"}, "not an http or https URL"),
        ({"base_url": "https://h/x?y"}, "not an http or https URL without query"),
        ({"base_url": "https://user:pass@h/x"}, "must not hold a user name"),
        ({"area": "mars"}, "'mars' is none of domestic, overseas"),
        ({"l2_preload": "maybe"}, "not true or false"),
        ({"zone": "x"}, "'zone' is unknown here"),
        ({"prefetch_per_day": 0}, "not a whole number"),
        ({"credentials": {"access_key": "X"}}, "did you mean 'access_key_id'?"),
        ({"access_key_secret": "hunter2"}, "is unknown here"),
    ],
)
def test_wrong_settings_are_named_with_place_and_remedy(load, changes, said):
    with pytest.raises(SettingsError) as caught:
        load(needed("aliyun") | changes)
    assert said in str(caught.value)
    assert "modelport.yaml:1" in str(caught.value)
    assert caught.value.hint
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    "name, key", [("cloudfront", "distribution"), ("cloudflare", "zone"), ("webhook", "endpoint"), ("dragonfly", "endpoint")]
)
def test_what_a_provider_needs_is_named(load, name, key):
    written = {name: value for name, value in needed(name).items() if name != key}
    with pytest.raises(SettingsError, match=f"{name} needs {key}"):
        load(written)


def test_two_cdns_with_one_address_are_refused(load):
    with pytest.raises(SettingsError, match="two CDNs have the base_url"):
        load([needed("aliyun"), needed("tencent")])


def test_what_is_neither_a_mapping_nor_a_list_is_refused(load):
    for wrong in ("aliyun", ["aliyun"], 3):
        with pytest.raises(SettingsError, match="not a mapping such as"):
            load(wrong)


def test_credentials_come_from_the_vendors_variables_and_never_show(load):
    settings = load(needed("huawei"), HUAWEICLOUD_SDK_AK="canary-ak", HUAWEICLOUD_SDK_SK="canary-sk")
    (credentials,) = settings.cdn_credentials
    assert (credentials.need("ak"), credentials.need("sk")) == ("canary-ak", "canary-sk")
    assert credentials.get("security_token") == ""
    assert "canary" not in f"{settings!r} {credentials!r}"
    assert set(settings.secrets) == {"canary-ak", "canary-sk"}


def test_second_account_has_variables_of_its_own(load):
    written = needed("aliyun") | {"credentials": {"access_key_secret": "STAGING"}}
    (credentials,) = load(written, STAGING="other-canary", ALIBABA_CLOUD_ACCESS_KEY_SECRET="canary").cdn_credentials
    assert credentials.get("access_key_secret") == "other-canary"
    with pytest.raises(AccessDenied) as caught:
        credentials.need("access_key_id")
    assert "ALIBABA_CLOUD_ACCESS_KEY_ID" in caught.value.hint


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_secret_variable_of_a_provider_is_masked(name):
    secret = [variable for one in PROVIDERS[name].credentials if one.secret for variable in one.variables]
    environ = {variable: f"canary-{variable}" for variable in secret}
    mask = Mask(secrets_in(environ))
    for value in environ.values():
        assert value not in mask.text(f"it was {value}, said the vendor")


def test_mask_learns_later():
    mask = Mask(["first-secret"])
    mask.learn(["second-secret", "no"])
    assert mask.text("first-secret second-secret no") == "*** *** no"


def test_adapter_is_opened_when_it_is_first_asked(load):
    (cdn,) = open_cdns(load(needed("cloudflare")))
    assert (cdn.name, cdn.base_url) == ("cloudflare", BASE)
    with pytest.raises(AccessDenied, match="api_token"):
        _ = cdn.limits


def test_limits_of_the_settings_overrule_the_adapters():
    inner = MemoryCdn(BASE)
    cdn = ConfiguredCdn("memory", BASE, lambda: inner, prefetch_per_day=7, urls_per_call=3, per_second=2)
    assert (cdn.limits[Op.PREFETCH].per_day, cdn.limits[Op.PREFETCH].urls, cdn.limits[Op.PREFETCH].per_second) == (7, 3, 2)
    assert cdn.limits[Op.REFRESH].per_day == inner.limits[Op.REFRESH].per_day
    assert cdn.quota()[Op.PREFETCH].limit == 1000
    assert cdn.inner is inner


def test_credentials_tell_which_variable_is_missing():
    credentials = Credentials({}, {"token": ("ONE", "TWO")})
    with pytest.raises(AccessDenied) as caught:
        credentials.need("token")
    assert "ONE or TWO" in caught.value.hint
