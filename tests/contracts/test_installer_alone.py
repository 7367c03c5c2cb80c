"""install.pyz on whatever Python a site has: bare, without a network, on every version from 3.9 on."""

import ast
import hashlib
import importlib.util
import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import bundles.installer
from bundles import zipped
from bundles.installer import zstds
from bundles.installer.faults import UsageError
from bundles.installer.wheel_pins import PINS
from tests.fetch_world import contents
from tests.install_world import Column, make_bundle_tree, pythons
from tests.media_world import pack
from tests.no_network import WITHOUT_NETWORK
from tests.python_zstd import zstd

SOURCES = sorted(Path(bundles.installer.__file__).parent.glob("*.py"))
# What could open a connection, and what reads code that was not verified.
FORBIDDEN = {
    "_socket", "asyncio", "email", "ftplib", "http", "imaplib", "multiprocessing", "pickle", "poplib", "smtplib", "socket",
    "socketserver", "ssl", "tarfile", "telnetlib", "urllib.request", "xmlrpc", "ctypes", "webbrowser",
}  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_bundle_tree(tmp_path_factory.mktemp("tree") / "tree")


@pytest.fixture(scope="module")
def media(tree, tmp_path_factory):
    return pack(tree, "bert-v1.0.0", "raw-v1.0.0", volumes=2).write(tmp_path_factory.mktemp("media"))


def check_installed(tree, site):
    for release in ("bert-v1.0.0", "raw-v1.0.0"):
        assert contents(site / "models" / release) == contents(tree.sources[release])


@pytest.mark.parametrize("python", pythons())
def test_every_python_on_this_machine_installs_with_nothing_else(python, tree, media, tmp_path):
    column = Column("install.pyz", tmp_path, python)
    done = column.install(media, tmp_path / "site", tree.site.fingerprint, zstd="program")
    assert done.code == 0, done.said
    check_installed(tree, tmp_path / "site")


def test_site_goes_on_with_its_own_copy_of_the_installer(tree, media, tmp_path):
    column = Column("install.pyz", tmp_path)
    assert column.install(media, tmp_path / "site", tree.site.fingerprint).code == 0
    kept = tmp_path / "site" / "bin" / "install.pyz"
    assert kept.stat().st_mode & 0o111
    ran = subprocess.run(
        [sys.executable, "-I", "-S", kept, "--from", media, "--site", tmp_path / "site"],
        env={"PATH": "/usr/bin"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


def test_no_socket_is_needed_in_a_namespace_without_a_network(tree, media, tmp_path):
    column = Column("install.pyz", tmp_path)
    words = ["--from", str(media), "--site", str(tmp_path / "site"), "--root-fingerprint", tree.site.fingerprint]
    ran = column.run(*words, before=WITHOUT_NETWORK)
    assert ran.returncode == 0, ran.stderr
    check_installed(tree, tmp_path / "site")


GUARD = """
import sys
opened = []
def guard(event, args):
    if event.startswith("socket."):
        opened.append(event)
        raise RuntimeError(event)
sys.addaudithook(guard)
sys.path.insert(0, sys.argv[1])
from bundles.installer.program import main
code = main(sys.argv[2:], own_path=sys.argv[1])
print("OPENED", opened)
print("LOADED", *sorted(sys.modules))
sys.exit(code)
"""


def test_no_socket_is_opened_and_no_module_that_could_is_loaded(tree, media, tmp_path):
    column = Column("install.pyz", tmp_path)
    column.run("--help")
    words = ["--from", media, "--site", tmp_path / "site", "--root-fingerprint", tree.site.fingerprint]
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", GUARD, tmp_path / "install.pyz", *words],
        env={"PATH": "/usr/bin"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "OPENED []" in ran.stdout
    loaded = set(next(line for line in ran.stdout.splitlines() if line.startswith("LOADED")).split()[1:])
    assert "bundles.installer.walk" in loaded
    assert loaded & FORBIDDEN == set()


OURS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from bundles.installer.preflight import Order
from bundles.installing import install_bundle
opened = []
sys.addaudithook(lambda event, args: opened.append(event) if event.startswith("socket.") else None)
install_bundle(Order((sys.argv[2],), sys.argv[3], sys.argv[4]), lambda event: None)
print("OPENED", opened)
"""


def test_bundle_install_opens_no_socket_either(tree, media, tmp_path):
    checkout = Path(bundles.installer.__file__).parents[2]
    ran = subprocess.run(
        [*WITHOUT_NETWORK, sys.executable, "-c", OURS, checkout, media, tmp_path / "site", tree.site.fingerprint],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "OPENED []" in ran.stdout
    check_installed(tree, tmp_path / "site")


# --- decoders ---------------------------------------------------------------------------------------


def own_wheel(folder: Path) -> tuple[str, bytes]:
    """The zstandard that is installed here, as the wheel of this Python."""
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    name = next(name for name in PINS if f"-{tag}-" in name and os.uname().machine in name)
    package = Path(importlib.util.find_spec("zstandard").origin).parent
    path = folder / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as wheel:
        for file in [package / "__init__.py", *package.glob("backend_c.*.so")]:
            wheel.write(file, f"zstandard/{file.name}")
    return name, path.read_bytes()


@pytest.fixture
def wheel_column(tmp_path, monkeypatch):
    """An installer that pins the wheel of the zstandard that is installed here, and that wheel."""
    name, data = own_wheel(tmp_path)
    real = zipped.installer_bytes()
    pins = next(text for text in [Path(bundles.installer.__file__).with_name("wheel_pins.py").read_text()])
    digest = hashlib.sha256(data).hexdigest()
    assert len(digest) == len(PINS[name])
    (tmp_path / "install.pyz").write_bytes(real)
    with zipfile.ZipFile(tmp_path / "install.pyz") as archive:
        members = {entry: archive.read(entry) for entry in archive.namelist()}
    members["bundles/installer/wheel_pins.py"] = pins.replace(PINS[name], digest).encode()
    with zipfile.ZipFile(tmp_path / "install.pyz", "w") as archive:
        for entry, content in members.items():
            archive.writestr(entry, content)
    return Column("install.pyz", tmp_path), name, data


def test_carried_wheel_decodes_and_is_kept_for_media_without_one(tree, wheel_column, tmp_path):
    column, name, data = wheel_column
    packed, site = pack(tree, "bert-v1.0.0", volumes=2), tmp_path / "site"
    first = packed.write(tmp_path / "first", only=[1])
    (first / "wheels").mkdir()
    (first / "wheels" / name).write_bytes(data)
    done = column.install(first, site, tree.site.fingerprint, zstd="wheel")
    assert (done.code, done.done["decoder"].startswith("zstandard ")) == (7, True), done.said
    done = column.install(packed.write(tmp_path / "second", only=[2]), site, zstd="wheel")
    assert done.code == 0, done.said
    assert contents(site / "models" / "bert-v1.0.0") == contents(tree.sources["bert-v1.0.0"])
    assert list((site / "state").glob("**/wheel-*")) == []


def test_wheel_of_another_digest_is_never_imported(tree, wheel_column, tmp_path):
    column, name, _ = wheel_column
    media = pack(tree, "bert-v1.0.0").write(tmp_path / "media")
    (media / "wheels").mkdir()
    with zipfile.ZipFile(media / "wheels" / name, "w") as wheel:
        wheel.writestr("zstandard/__init__.py", f"open({str(tmp_path / 'pwned')!r}, 'w')")
    refused = column.install(media, tmp_path / "site", tree.site.fingerprint, zstd="wheel")
    assert (refused.code, "is not the wheel it must be" in refused.error) == (2, True)
    assert not (tmp_path / "pwned").exists()
    assert not (tmp_path / "site").exists()


def test_pipe_in_the_place_of_a_wheel_is_not_waited_for(tree, wheel_column, tmp_path):
    column, name, _ = wheel_column
    media = pack(tree, "bert-v1.0.0").write(tmp_path / "media")
    (media / "wheels").mkdir()
    os.mkfifo(media / "wheels" / name)
    refused = column.install(media, tmp_path / "site", tree.site.fingerprint, zstd="wheel")
    assert (refused.code, "is not the wheel it must be" in refused.error) == (2, True), refused.said


def test_without_any_decoder_the_three_remedies_are_named_and_raw_releases_install(tree, tmp_path):
    column = Column("install.pyz", tmp_path)
    empty = {"PATH": str(tmp_path / "no-programs")}
    site = tmp_path / "site"
    # A Python that decodes by itself is told to leave that to a program.
    other = ["--zstd", "program"] if sys.version_info >= (3, 14) else []
    words = [*other, "--site", str(site), "--root-fingerprint", tree.site.fingerprint, "--from"]
    ran = column.run(*words, str(pack(tree, "bert-v1.0.0").write(tmp_path / "media")), env=empty)
    assert ran.returncode == 2
    for remedy in ("Python 3.14", "wheels/", "zstd program"):
        assert remedy in ran.stderr
    assert not site.exists()
    ran = column.run(*words, str(pack(tree, "raw-v1.0.0").write(tmp_path / "raw")), env=empty)
    assert ran.returncode == 0, ran.stderr
    assert contents(site / "models" / "raw-v1.0.0") == contents(tree.sources["raw-v1.0.0"])


def test_module_of_python_3_14_decodes(tree, media, tmp_path, monkeypatch):
    from bundles.installer import zstds
    from bundles.installer.preflight import Order
    from bundles.installer.tools import Tools
    from bundles.installer.walk import install

    monkeypatch.setitem(sys.modules, "compression.zstd", zstd)
    done = install(Order((str(media),), str(tmp_path / "site"), tree.site.fingerprint, zstd="python"), Tools())
    assert done.decoder.startswith("Python ")
    check_installed(tree, tmp_path / "site")
    with pytest.raises(zstds.IntegrityError, match="damaged"):
        list(zstds.find_decoder([], "python", None).decode([(memoryview(zstd.compress(b"x" * 100))[:-3], 100)]))


# --- what the file is --------------------------------------------------------------------------------


def test_same_bytes_everywhere_and_nothing_but_the_installer():
    code = "from bundles.zipped import installer_sha256; print(installer_sha256())"
    checkout = Path(bundles.installer.__file__).parents[2]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONPATH": str(checkout)}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd="/", env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.strip() == zipped.installer_sha256()


def test_archive_can_be_read_with_any_program_and_holds_the_sources_as_they_are(tmp_path):
    (tmp_path / "install.pyz").write_bytes(zipped.installer_bytes())
    with zipfile.ZipFile(tmp_path / "install.pyz") as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    ours = {f"bundles/installer/{file.name}": file.read_bytes() for file in SOURCES}
    assert {name: data for name, data in held.items() if name in ours} == ours
    assert set(held) - set(ours) == {"__main__.py", "bundles/__init__.py"}


def test_an_older_python_is_told_so_as_any_wrong_use_is():
    with zipfile.ZipFile(io.BytesIO(zipped.installer_bytes())) as archive:
        door = archive.read("__main__.py").decode()
    # Every Python from 2.7 on reads it as far as this.
    code = f"import sys\nsys.version_info = (3, 8, 18)\nexec({door!r})"
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("error: install.pyz needs Python 3.9 or newer, this is ")


@pytest.mark.parametrize("stopped", ["raise KeyboardInterrupt", "import os; os.kill(os.getpid(), 15)"])
def test_interrupted_while_it_is_loaded_it_says_so_in_two_lines(stopped):
    with zipfile.ZipFile(io.BytesIO(zipped.installer_bytes())) as archive:
        door = archive.read("__main__.py").decode()
    # Loading takes a good part of a second on a slow machine.
    finder = f"class Finder:\n    def find_spec(self, name, *_):\n        if name == 'bundles': {stopped}\n"
    code = f"import sys\n{finder}sys.meta_path.insert(0, Finder())\nexec({door!r})"
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (130, "")
    assert ran.stderr.splitlines()[0] == "error: interrupted"
    assert len(ran.stderr.splitlines()) == 2


def test_no_syntax_or_module_is_newer_than_python_3_9():
    program = Path(sys.executable).with_name("vermin")
    ran = subprocess.run(
        [program, "--target=3.9-", "--no-tips", "--violations", *SOURCES],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    for file in SOURCES:
        ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_check_for_3_9_can_fail(tmp_path):
    (tmp_path / "newer.py").write_text("import tomllib\n\n\ndef f(x):\n    match x:\n        case 1:\n            return 2\n")
    program = Path(sys.executable).with_name("vermin")
    ran = subprocess.run(
        [program, "--target=3.9-", "--no-tips", tmp_path / "newer.py"], capture_output=True, timeout=60, check=False
    )
    assert ran.returncode != 0


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
def test_only_the_standard_library_and_nothing_of_a_network_is_imported(file):
    imported = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    tops = {name.partition(".")[0] for name in imported}
    assert tops - set(sys.stdlib_module_names) <= {"bundles"}
    assert all(name.startswith("bundles.installer") for name in imported if name.startswith("bundles"))
    assert imported & FORBIDDEN == set()


# What decides whether anything is believed; the rest moves bytes that were verified, within the site.
JUDGES = {"canonical", "ed25519", "index", "judging", "manifest", "names", "sitestate", "strictjson", "tufrules", "volumes"}


def code_lines(file: Path) -> int:
    """Lines that are neither blank nor comment nor docstring."""
    text = file.read_text(encoding="utf-8")
    words: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            words |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(1 for number, line in lines if number not in words and line.strip() and not line.strip().startswith("#"))


def test_what_decides_can_be_read_in_an_hour():
    sizes = {file.stem: code_lines(file) for file in SOURCES}
    # Twenty lines a minute; the rest stays small enough to be looked through.
    assert sum(sizes[name] for name in JUDGES) <= 60 * 20
    assert sum(sizes.values()) <= 3300


def test_it_can_be_read_from_its_first_module_to_its_last():
    """``next:`` leads through all of it, as the tour says; nothing is used that was not read before."""
    texts = {file.stem: file.read_text(encoding="utf-8") for file in SOURCES}
    tour = re.findall(r"``(\w+)``", "".join(line for line in texts.pop("__init__").splitlines() if line.startswith("* ")))
    read: list[str] = []
    at = tour[0]
    while at:
        imported = re.findall(r"^from bundles\.installer(?:\.(\w+) import|\s+import (.+))", texts[at], re.MULTILINE)
        used = {name for one, several in imported for name in (one or several).split(", ")}
        assert used <= set(read), f"{at} uses {used - set(read)} before they were read"
        read.append(at)
        follows = re.search(r"^next: ``(\w+)``$", texts[at], re.MULTILINE)
        at = follows[1] if follows else ""
    assert read == tour
    assert set(read) == set(texts)


def test_older_python_is_told_what_is_needed():
    door = zipped.installer_bytes()
    with zipfile.ZipFile(__import__("io").BytesIO(door)) as archive:
        main = archive.read("__main__.py").decode()
    # Every Python 3 must be able to read the door.
    ast.parse(main, feature_version=(3, 4))
    assert re.search(r"version_info < \(3, 9\)", main)


def test_where_no_folder_can_be_made_for_a_wheel_the_program_decodes(tmp_path, monkeypatch):
    def no_folder(**_):
        raise FileNotFoundError(2, "No usable temporary directory found")

    (tmp_path / "wheels").mkdir()
    name, data = own_wheel(tmp_path / "wheels")
    monkeypatch.setitem(zstds.PINS, name, hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(zstds.tempfile, "mkdtemp", no_folder)
    # Python 3.14 has a decoder of its own, which comes before the program.
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    assert zstds.find_decoder([str(tmp_path)], "auto", None).name.endswith("/zstd")
    with pytest.raises(UsageError, match=r"cannot be loaded .*No usable temporary directory"):
        zstds.find_decoder([str(tmp_path)], "wheel", None)
