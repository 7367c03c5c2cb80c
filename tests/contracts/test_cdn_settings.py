"""From ``modelport.yaml`` and the vendor's variables alone to a call that the vendor takes, for every provider."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import yaml

from pipeline.connect_cdns import open_cdns
from pipeline.errors import AccessDenied, ModelportError, SettingsError
from pipeline.ports import Op
from pipeline.providers import PROVIDERS
from pipeline.settings import load_settings
from tests.our_cdns import ACCOUNTS, BASE_URL
from tests.servers.control_planes.door import run_plane


@pytest.fixture(params=ACCOUNTS)
def name(request):
    return request.param


@pytest.fixture
def plane(name, server_tls):
    # The settings hold no clock: everybody signs with the real one.
    with run_plane(ACCOUNTS[name].plane(now=datetime.now(UTC)), server_tls) as running:
        yield running


@pytest.fixture
def settled(name, plane, ca_file, tmp_path):
    """Settings of this provider; ``row`` changes what stands in the file, ``environ`` the environment."""
    account = ACCOUNTS[name]
    variables = {one.name: one.variables[0] for one in PROVIDERS[name].credentials}

    def make(row=(), environ=()):
        written = {
            "provider": name,
            "base_url": BASE_URL,
            "endpoint": plane.https,
            **{key: list(value) if isinstance(value, tuple) else value for key, value in account.options.items()},
            **dict(row),
        }
        (tmp_path / "modelport.yaml").write_text(yaml.safe_dump({"cdn": {k: v for k, v in written.items() if v is not None}}))
        given = {variables[key]: value for key, value in account.credentials.items()}
        return load_settings({}, {"HOME": str(tmp_path), "SSL_CERT_FILE": str(ca_file), **given, **dict(environ)}, tmp_path)

    return make


def test_settings_and_variables_are_enough(name, plane, settled):
    settings = settled()
    (cdn,) = open_cdns(settings)
    op = next(iter(cdn.limits))
    assert cdn.submit(op, [f"{BASE_URL}/parts/aa/bb"], key="k")
    assert plane.jobs
    assert (Op.PREFETCH in cdn.limits) == PROVIDERS[name].prefetches
    for canary in ACCOUNTS[name].canaries:
        assert canary not in f"{settings!r} {cdn!r}"
        assert canary in settings.secrets or not PROVIDERS[name].credentials


def test_key_that_the_provider_does_not_have_names_the_nearest(settled):
    with pytest.raises(SettingsError, match="'endpiont' is unknown"):
        settled(row={"endpiont": "x"})


def test_what_a_provider_must_have_is_asked_for_by_name(name, settled):
    for key, option in PROVIDERS[name].options.items():
        if option.needed:
            with pytest.raises(ModelportError, match=key):
                open_cdns(settled(row={key: None}))


def test_variable_that_is_not_set_is_named(name, settled):
    for credential in PROVIDERS[name].credentials:
        if credential.needed:
            with pytest.raises(AccessDenied) as caught:
                open_cdns(settled(environ=dict.fromkeys(credential.variables, "")))[0].quota()
            assert credential.variables[0] in caught.value.hint


def test_default_endpoint_is_the_vendors_own_over_tls(name, settled):
    row = PROVIDERS[name]
    if row.endpoint:
        assert row.endpoint.startswith("https://")
        settings = settled(row={"endpoint": None})
        assert settings.cdn[0]["endpoint"] == row.endpoint
        assert len(open_cdns(settings)) == 1
    elif not row.own_endpoint:
        with pytest.raises(SettingsError, match="endpoint"):
            open_cdns(settled(row={"endpoint": None}))
