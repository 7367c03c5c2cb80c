"""What the benchmarks make of what they measured: verdicts, tables, pictures, and the page that is kept."""

import importlib
import math
import re
import sys
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli.checkout import benchmarks, root

BENCHMARKS = root() / "benchmarks"
with pytest.MonkeyPatch.context() as patch:
    # They are scripts, which find each other beside themselves.
    patch.setattr(sys, "path", [*sys.path, str(BENCHMARKS)])
    figures, peers, plots, results = (importlib.import_module(name) for name in ("figures", "peers", "plots", "results"))

SECONDS = st.floats(0.001, 10_000)
TURNS = st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=5)


def job(**changed):
    return figures.Job(**({"name": "walk", "title": "Walking", "setting": "uphill."} | changed))


def bars(svg):
    return [one for one in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}rect") if "bar" in one.get("class")]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of figures and notes of its own."""
    (tmp_path / "notes").mkdir()
    for module in (figures, results):
        monkeypatch.setattr(module, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(results, "HERE", tmp_path)
    return tmp_path


def write_results(monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["results.py", *flags])
    return results.main()


def test_kept_page_and_pictures_say_what_the_kept_figures_say():
    pages = results.pages()
    assert [name for name, text in pages.items() if (BENCHMARKS / name).read_text(encoding="utf-8") != text] == []
    assert {f"plots/{path.name}" for path in (BENCHMARKS / "plots").iterdir()} == set(pages) - {"RESULTS.md"}


def test_picture_of_a_job_that_was_not_measured_is_removed(place, monkeypatch):
    (place / "plots").mkdir(exist_ok=True)
    left = place / "plots" / "gone.svg"
    left.write_text("<svg/>")
    assert write_results(monkeypatch, "--check") == 1
    assert left.exists()
    assert write_results(monkeypatch) == 0
    assert not left.exists()


def test_every_benchmark_has_its_figures_and_a_picture_and_a_place_in_the_order():
    known = set(benchmarks(root(), []))
    assert {path.stem for path in (BENCHMARKS / "figures").iterdir()} == known
    assert {path.stem for path in (BENCHMARKS / "plots").iterdir()} == known
    assert set(results.ORDER) == known


def test_every_note_belongs_to_a_benchmark_or_has_a_heading_of_its_own():
    notes = [path for path in (BENCHMARKS / "notes").iterdir() if path.stem not in results.ORDER]
    assert [path.name for path in notes if not path.read_text(encoding="utf-8").startswith("## ")] == []


def test_links_of_the_page_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", (BENCHMARKS / "RESULTS.md").read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (BENCHMARKS / link).is_file()] == []


def test_page_is_stale_until_it_is_written_again(place, monkeypatch):
    first = job()
    first.compare("hill", "a mule", [1.0], [2.0])
    first.finish()
    assert write_results(monkeypatch, "--check") == 1
    assert not (place / "RESULTS.md").exists()
    assert write_results(monkeypatch) == 0
    assert write_results(monkeypatch, "--check") == 0
    (place / "notes" / "walk.md").write_text("The mule rests.")
    assert write_results(monkeypatch, "--check") == 1
    assert write_results(monkeypatch) == 0
    page = (place / "RESULTS.md").read_text()
    assert page.index("## Walking") < page.index("plots/walk.svg") < page.index("a mule") < page.index("The mule rests.")


def test_kept_job_is_read_back_as_it_was(place):
    first = job(command="benchmarks/walk.py --far")
    first.compare("hill", "a mule", [1.0, 2.0], [2.0, 3.0], least=1.5)
    first.amount("steps", 900, "", most=1000)
    first.show("| a | b |")
    first.versions["mule"] = "2.1"
    first.lacks("a horse", "it is not installed here")
    first.finish()
    again, day, machine = figures.read_job(place / "figures" / "walk.json")
    assert again == first
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", day)
    assert re.search(r"cores .* Python .* load \d", machine)


def test_command_of_a_job_is_the_one_that_was_typed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/anywhere/walk.py", "--gib", "2"])
    assert job().command == "benchmarks/walk.py --gib 2"


@pytest.mark.parametrize(
    ("wish", "found", "verdict"),
    [
        ({"least": 2}, 2, "reached"),
        ({"least": 2}, 1.999, "missed"),
        ({"most": 2}, 2, "reached"),
        ({"most": 2}, 2.001, "missed"),
        ({"least": 0}, -1, "missed"),
        ({"most": 0}, 1, "missed"),
        ({}, 1, "free"),
    ],
)
def test_target_is_reached_at_its_value(place, wish, found, verdict):
    one = job()
    one.amount("steps", found, "", **wish)
    assert [figures.verdict(row) for row in one.rows] == [verdict]
    assert one.missed() == (["steps"] if verdict == "missed" else [])
    assert one.finish() == (verdict == "missed")
    said = "\n".join(figures.table(one))
    assert ("MISSED" in said, "reached" in said) == (verdict == "missed", verdict == "reached")


def test_ratio_is_of_each_turn_and_not_of_medians():
    one = job()
    # A machine that slowed down tenfold after the first turn: medians apart would say 10.
    one.compare("hill", "a mule", [1, 10, 10], [2, 20, 20])
    one.compare("dale", "a mule", [1, 1, 10], [2, 20, 20])
    assert [row.found for row in one.rows] == [2, 2]
    assert "2 (2 to 20)" in "\n".join(figures.table(one))


def test_turns_without_a_peer_are_not_compared():
    one = job()
    one.compare("hill", "a mule", [1, 2], [2])
    with pytest.raises(ValueError, match="zip"):
        _ = one.rows[0].found


@given(TURNS)
def test_ratio_lies_within_its_spread(turns):
    one = job()
    one.compare("hill", "a mule", *zip(*turns, strict=True))
    assert min(one.rows[0].ratios) <= one.rows[0].found <= max(one.rows[0].ratios)


def test_bars_of_a_table_are_kept_apart_from_its_words():
    one = job()
    one.compare("hill | dale", "tar | zstd", [1], [2])
    one.amount("a | b", 1, "s")
    rows = [line for line in figures.table(one) if line.startswith("|") and "---" not in line]
    assert [len(re.split(r"(?<!\\)\|", row)) for row in rows] == [9, 9, 6, 6]


def test_peer_that_is_not_there_is_named_as_not_measured(place, monkeypatch):
    monkeypatch.setattr(peers, "HOME", place / "peers")
    monkeypatch.setenv("PATH", str(place))
    one = job()
    found = {name: peers.look_for(name, one) for name in ("casync", "workbox")}
    assert found == {"casync": "", "workbox": ""}
    said = "\n".join(figures.table(one))
    assert "Not measured: casync: it is not installed here: apt-get install casync." in said
    assert "Not measured: workbox: it is not installed here: apt-get install npm." in said


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("v2.3.0-991c9fb", "2.3.0"),
        ("aws-cli/1.45.11 Python/3.11.7", "1.45.11"),
        ("casync 2\n+features", "2"),
        ("CLI (64-bit) v1.5.4", "1.5.4"),
        ("", "of a version"),
    ],
)
def test_version_of_a_peer_is_kept_and_shown(place, monkeypatch, said, version):
    monkeypatch.setenv("PATH", f"{place}:/bin")
    (place / "casync").write_text(f"#!/bin/sh\necho '{said}' >&2\n")
    (place / "casync").chmod(0o755)
    one = job()
    peers.look_for("casync", one)
    one.finish()
    assert f"; beside casync {version}" in results.pages()["RESULTS.md"]


def test_peer_that_was_installed_is_not_installed_again(place, monkeypatch):
    monkeypatch.setattr(peers, "HOME", place)
    for path in ("s5cmd/bin/s5cmd", "workbox/node_modules/workbox-build"):
        (place / path).mkdir(parents=True)
        assert peers.find_peer(path.partition("/")[0]) == str(place / path)


def test_peer_that_cannot_be_installed_leaves_nothing(place, monkeypatch):
    npm = place / "npm"
    npm.write_text("#!/bin/sh\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setattr(peers, "HOME", place / "peers")
    monkeypatch.setenv("PATH", f"{place}:/bin")
    with pytest.raises(peers.Lacking, match="npm could not install workbox-build@7"):
        peers.find_peer("workbox")
    assert not (place / "peers" / "workbox").exists()


@given(st.lists(st.tuples(TURNS, st.none() | st.floats(0.01, 100)), min_size=1, max_size=6))
def test_every_comparison_has_a_bar_between_the_words(rows):
    one = job()
    for number, (turns, least) in enumerate(rows):
        one.compare(f"<hill> {number}", 'a "mule" & a cart', *zip(*turns, strict=True), least=least)
    one.amount("steps", 900, "")
    svg = plots.plot(one)
    drawn = bars(svg)
    assert len(drawn) == len(rows)
    assert [bar.get("class").split()[1] for bar in drawn] == [figures.verdict(row) for row in one.rows[:-1]]
    for bar in drawn:
        left, wide = float(bar.get("x")), float(bar.get("width"))
        assert plots.LEFT - 1 <= left <= left + wide <= plots.WIDTH - plots.RIGHT + 1
    assert [text.text for text in ET.fromstring(svg).iter() if text.text and text.text.startswith("<hill>")]


@given(st.floats(1.01, 1000))
def test_bar_points_away_from_the_peer_on_both_sides(times):
    widths = []
    for ours, theirs in ((1, times), (times, 1)):
        one = job()
        # The same axis for both.
        one.compare("hill", "a mule", [ours], [theirs])
        one.compare("there", "a mule", [1], [times])
        one.compare("back", "a mule", [times], [1])
        widths.append(float(bars(plots.plot(one))[0].get("width")))
    assert math.isclose(*widths, abs_tol=0.2)


@given(st.lists(st.tuples(st.floats(0, 10_000), st.sampled_from(["s", "MiB", ""])), min_size=1, max_size=8))
def test_job_without_a_peer_shows_its_amounts_a_unit_on_a_scale(amounts):
    one = job()
    for found, unit in amounts:
        one.amount("steps", found, unit, most=5000)
    drawn = bars(plots.plot(one))
    assert len(drawn) == len(amounts)
    assert all(float(bar.get("width")) <= plots.WIDTH - plots.LEFT - plots.RIGHT + 0.1 for bar in drawn)


def test_words_of_the_kept_pictures_fit_beside_their_bars():
    jobs = [figures.read_job(path)[0] for path in (BENCHMARKS / "figures").iterdir()]
    rows = [row for one in jobs for row in one.rows if isinstance(row, figures.Ratio) or f">{row.what}<" in plots.plot(one)]
    assert [row.what for row in rows if len(row.what) > plots.WHAT_CHARS] == []
    assert [row.peer for row in rows if isinstance(row, figures.Ratio) and len(row.peer) > plots.PEER_CHARS] == []


def test_job_of_words_alone_has_no_picture():
    one = job()
    one.show("| a |")
    assert plots.plot(one) == ""
    assert figures.table(one) == ["| a |"]
