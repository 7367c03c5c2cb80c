"""Settings: four places, one precedence, and errors that name the place and the nearest word."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from pipeline.cli.reference import settings_schema
from pipeline.errors import SettingsError
from pipeline.outward import authorities_of
from pipeline.setting_checks import parse_size
from pipeline.setting_keys import KEYS
from pipeline.settings import load_settings


@pytest.fixture
def written(tmp_path):
    def write(text: str) -> Path:
        (tmp_path / "modelport.yaml").write_text(text, encoding="utf-8")
        return tmp_path

    return write


def load(folder, *, flags=None, environ=None):
    return load_settings(flags or {}, {"HOME": "/home/u", **(environ or {})}, folder)


def test_defaults_need_no_file(tmp_path):
    settings = load(tmp_path)
    assert settings.store == str(tmp_path / ".modelport/store")
    assert settings.models_dir == tmp_path / "models"
    assert settings.part_size is None
    assert settings.web == {"channel": "stable"}
    assert set(settings.origins.values()) == {"default"}


def test_flags_beat_variables_beat_file_beats_default(written):
    folder = written("store: from-file\nregion: from-file\nconnections: 3\n")
    settings = load(folder, flags={"store": "s3://flag/p"}, environ={"MODELPORT_STORE": "s3://env/p", "MODELPORT_REGION": "env"})
    assert (settings.store, settings.region, settings.connections) == ("s3://flag/p", "env", 3)
    assert settings.origins["store"] == "--store"
    assert settings.origins["region"] == "MODELPORT_REGION"
    assert settings.origins["connections"] == f"{folder}/modelport.yaml:3"


def test_file_is_found_upwards_and_its_relative_paths_start_there(written):
    folder = written("models_dir: release-folders\n")
    below = folder / "a" / "b"
    below.mkdir(parents=True)
    settings = load(below, environ={"MODELPORT_STORE": "here"})
    assert settings.models_dir == folder / "release-folders"
    assert settings.store == str(below / "here")
    assert settings.folder == folder


def test_nested_variable_adds_to_the_mapping_of_the_file(written):
    folder = written("keys:\n  root: file2:/k/root\n  roles:\n    bert: file2:/k/bert\n")
    keys = load(folder, environ={"MODELPORT_KEYS__TARGETS": "awskms:1", "MODELPORT_KEYS__ROLES__LLAMA": "gcpkms:2"}).keys
    assert keys == {"root": ("file2:/k/root",), "targets": ("awskms:1",), "bert": ("file2:/k/bert",), "llama": ("gcpkms:2",)}


def test_several_keys_of_one_role_are_a_list(written):
    assert load(written("keys: {root: [file2:/a, file2:/b]}\n")).keys == {"root": ("file2:/a", "file2:/b")}


@pytest.mark.parametrize(
    "text, said",
    [
        ("stoer: x\n", ":1: 'stoer' is not a setting; did you mean 'store'?"),
        ("web:\n  chanel: beta\n", ":1: 'chanel' is unknown here; did you mean 'channel'?"),
        ("store: a\nregion: b\nstore: c\n", "line 3: the key 'store' stands twice"),
        ("store: &x a\nregion: *x\n", "an alias"),
        ("store: [\n", "it is not YAML"),
        ("- store\n", "is not a mapping"),
        ("1: a\n", "a key that is not text"),
        ("store: !!python/object:os.system {}\n", "line 1: the tag"),
        ("store: !!python/name:os.system\n", "it is not YAML"),
        ("connections: 0\n", ":1: 0 is not a whole number from 1 to 64"),
        ("connections: true\n", "not a whole number"),
        ("part_size: 300MiB\n", "not auto, or a size from 4MiB to 256MiB"),
        ("cache_limit: much\n", "not a size such as 64MiB"),
        ("store: 3\n", "3 is not text"),
        ("store: ''\n", "not a path or URL"),
        ("store: s3://key:secretsecret@bucket/p\n", "must not hold a user name or password"),
        ("web: {channel: Stable}\n", "channel 'Stable' is refused"),
        ("source: [{channel: stable}]\n", "that have a url"),
        ("cdn: {prefetch_per_day: lots}\n", "not a whole number"),
        ("keys: root\n", "not a mapping"),
        ("web: {isolate: !!bool maybe}\n", "line 1: it is not YAML: 'maybe' is no bool; put it in quotes"),
        ("connections: !!int ''\n", "line 1: it is not YAML: '' is no int"),
        ("region: a\nconnections: !!timestamp soon\n", "line 2: it is not YAML: 'soon' is no timestamp"),
        ("!!bool maybe: 1\n", "line 1: it is not YAML: 'maybe' is no bool"),
        ('store: "a\\0b"\n', "is not text"),
        ('models_dir: "\\ud800"\n', "is not text"),
        ("models_dir: ~nobody-of-that-name/x\n", ":1: '~nobody-of-that-name/x' is not a path here"),
        ("store: ~nobody-of-that-name/x\n", ":1: '~nobody-of-that-name/x' is not a path here"),
        ("endpoint: http://localhost:port\n", ":1: 'http://localhost:port' is not a URL"),
        ("source: https://h:99999\n", ":1: url: 'https://h:99999' is not a URL"),
        ("endpoint: https://key:secretsecret]@h\n", "must not hold a user name or password"),
        ("endpoint: https://key:secretsecret@h:port\n", "must not hold a user name or password"),
        ("web: {navigate: {ignore: }}\n", "ignore: None is not a list"),
        ("web: {navigate: {ignore: {a: b}}}\n", "is not a list, or text with spaces or commas between"),
        ("web: {navigate: {allow: 'a{99999999999999}'}}\n", "is not a regular expression"),
        ("cdn: {provider: [aliyun]}\n", "the provider ['aliyun'] is unknown"),
    ],
)
def test_wrong_file_is_named_with_place_and_remedy(written, text, said):
    folder = written(text)
    with pytest.raises(SettingsError) as caught:
        load(folder)
    assert said in str(caught.value)
    assert str(folder / "modelport.yaml") in str(caught.value)
    assert caught.value.hint
    assert "secretsecret" not in str(caught.value)


def test_unknown_variable_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(SettingsError, match=r"MODELPORT_MODEL_DIR: 'model_dir' is not a setting; did you mean 'models_dir'\?"):
        load(tmp_path, environ={"MODELPORT_MODEL_DIR": "x"})


def test_one_setting_given_whole_and_in_pieces_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="MODELPORT_SOURCE__URL"):
        load(tmp_path, environ={"MODELPORT_SOURCE": "https://a", "MODELPORT_SOURCE__URL": "https://b"})


def test_unreadable_file_is_an_error_and_not_passed_over(tmp_path):
    (tmp_path / "modelport.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path)


def test_source_is_a_url_a_list_or_mappings(written):
    assert load(written("source: https://a\n")).source == ({"url": "https://a"},)
    two = load(written("source:\n - https://a\n - {url: https://b, channel: beta}\n")).source
    assert two == ({"url": "https://a"}, {"url": "https://b", "channel": "beta"})
    assert [one["url"] for one in load(written(""), environ={"MODELPORT_SOURCE": "https://a https://b"}).source] == [
        "https://a",
        "https://b",
    ]


@pytest.mark.parametrize("text, size", [("0", 0), ("64MiB", 64 << 20), ("64 MiB", 64 << 20), ("20GB", 20 * 10**9), (7, 7)])
def test_sizes_are_bytes_with_or_without_unit(text, size):
    assert parse_size(text, "here") == size


@pytest.mark.parametrize("text", ["", "-1", "1.5GiB", "1 mib", "MiB", "1e6", True, None, [1]])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(SettingsError, match="here"):
        parse_size(text, "here")


def test_places_follow_xdg_and_ignore_relative_ones(tmp_path):
    places = load(tmp_path, environ={"XDG_CACHE_HOME": "/c", "XDG_STATE_HOME": "relative"}).places
    assert places.cache == Path("/c/modelport")
    assert places.state == Path("/home/u/.local/state/modelport")
    assert places.data == Path("/home/u/.local/share/modelport")


def test_network_takes_either_spelling(tmp_path):
    network = load(tmp_path, environ={"https_proxy": "http://low", "HTTP_PROXY": "http://up", "SSL_CERT_FILE": "/ca.pem"}).network
    assert (network.https_proxy, network.http_proxy, network.no_proxy, network.ca_file) == (
        "http://low",
        "http://up",
        "",
        "/ca.pem",
    )


def test_credentials_never_show_in_the_settings(tmp_path):
    settings = load(tmp_path, environ={"OSS_ACCESS_KEY_ID": "canary-id", "OSS_ACCESS_KEY_SECRET": "canary-secret"})
    assert settings.oss.access_key_secret == "canary-secret"
    assert "canary" not in repr(settings)


@pytest.mark.parametrize(
    "text",
    [
        "store: s3://b/p\npart_size: 64MiB\nconnections: 4\ncache_limit: 10GiB\nweb: {channel: beta}\n",
        "source: [https://a, {url: https://b, channel: stable}]\nkeys: {root: 'file2:/r', roles: {bert: 'file2:/b'}}\n",
        "cdn: {provider: aliyun, base_url: https://cdn.example.org, prefetch_per_day: 1000}\nmodels_dir: m\nregion: r\nendpoint: https://e\n",
    ],
)
def test_schema_takes_what_the_reader_takes(written, text):
    load(written(text))
    jsonschema.validate(yaml.safe_load(text), settings_schema())


@pytest.mark.parametrize(
    "text", ["stoer: x", "web: {chanel: x}", "connections: 0", "part_size: lots", "source: [{channel: stable}]"]
)
def test_schema_refuses_what_the_reader_refuses(written, text):
    with pytest.raises(SettingsError):
        load(written(text))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), settings_schema())


def test_every_default_is_what_its_own_check_takes(tmp_path):
    settings = load(tmp_path)
    for key in KEYS:
        assert hasattr(settings, key)


def test_ca_bundle_stands_in_for_the_variable(written, tmp_path):
    environ = {"SSL_CERT_FILE": "/etc/all.pem"}
    assert load(written(""), environ=environ).network.ca_file == "/etc/all.pem"
    found = load(written("ca_bundle: own.pem\n"), environ=environ)
    assert (found.ca_bundle, found.network.ca_file) == (found.folder / "own.pem", str(found.folder / "own.pem"))


def test_store_may_be_a_list_of_which_the_first_decides(written, tmp_path):
    folder = written("store: [here, {url: 's3://b/p', endpoint: 'http://x', region: r}, 's3://c/p']\n")
    settings = load(folder)
    assert settings.store == str(folder / "here")
    assert settings.copies == ({"url": "s3://b/p", "endpoint": "http://x", "region": "r"}, {"url": "s3://c/p"})
    flags = load(folder, flags={"store": "s3://one/p"})
    assert (flags.store, flags.copies) == ("s3://one/p", ())
    lines = load(folder, environ={"MODELPORT_STORE": "a b\ns3://two/p"})
    assert (lines.store, lines.copies) == (str(folder / "a b"), ({"url": "s3://two/p"},))


@pytest.mark.parametrize(
    "text", ["[]", "[{url: a, endpoint: b}]", "[a, {urk: b}]", "[a, {}]", "[a, 3]", "[a, '']", "[a, 's3://u:p@b/c']"]
)
def test_list_of_stores_that_cannot_be_is_refused(written, text):
    with pytest.raises(SettingsError):
        load(written(f"store: {text}\n"))


def test_a_folder_above_that_may_not_be_looked_into_holds_no_settings(tmp_path, monkeypatch):
    inner = tmp_path / "theirs" / "ours"
    inner.mkdir(parents=True)
    real = Path.is_file

    def refuse(path):
        if path.parent == tmp_path / "theirs":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "is_file", refuse)
    assert load_settings({}, {"HOME": str(tmp_path)}, inner).origins["store"] == "default"


def test_a_user_without_a_home_is_told_what_to_set(tmp_path, monkeypatch):
    def refuse():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", refuse)
    with pytest.raises(SettingsError, match="HOME is not set") as caught:
        load_settings({}, {}, tmp_path)
    assert "XDG_CACHE_HOME" in caught.value.hint
    own = {name: str(tmp_path / name) for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME")}
    assert load_settings({}, own, tmp_path).places.state == tmp_path / "XDG_STATE_HOME/modelport"


def test_only_variables_that_credentials_name_are_read(written):
    auth = "{kind: alibaba-a, key: CDN_KEY, uid: '7'}"
    folder = written(f"source: [{{url: https://a, auth: {auth}}}, {{url: https://b, auth: {{kind: bearer, token: TOKEN}}}}]\n")
    environ = {"CDN_KEY": "secret-key", "TOKEN": "secret-token", "bearer": "none of ours", "7": "none of ours"}
    settings = load(folder, environ=environ)
    assert settings.auth_variables == {"CDN_KEY": "secret-key", "TOKEN": "secret-token"}


def test_authorities_that_may_not_be_looked_at_are_told(written, tmp_path, monkeypatch):
    folder = written("ca_bundle: theirs/own.pem\n")
    real = Path.is_file

    def refuse(path):
        if path.name == "own.pem":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(SettingsError, match=r"modelport\.yaml:1: there is no file"):
        authorities_of(load(folder))
