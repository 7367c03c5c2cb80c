"""How a guide is read, and what counts as the output that it shows."""

import re

import pytest

from tests.guides import GUIDES, Block, Machine, Mark, Reader, looks_like, read_guide

PAGE = """# A guide

<!-- at: laptop -->
```sh
true
```

Prose, and `code`.

```yaml
key: value
```

<!-- exits 3 -->
```sh
false
```

```text
no
```

<!-- stays -->
```sh
serve
```

```text
here
```

<!-- Ctrl-C -->
<!-- happens: the next day -->
```sh
last
```
"""


def test_page_is_read_in_its_order():
    assert list(read_guide(PAGE)) == [
        Mark(3, "at", "laptop"),
        Block(4, "true\n"),
        Block(15, "false\n", exits=3, shows="no\n"),
        Block(24, "serve\n", stays=True, shows="here\n"),
        Mark(32, "Ctrl-C"),
        Mark(33, "happens", "the next day"),
        Block(34, "last\n"),
    ]


@pytest.mark.parametrize("page", ["<!-- exist 3 -->\n", "```text\nout of nowhere\n```\n"])
def test_page_that_cannot_be_followed_is_refused(page):
    with pytest.raises(ValueError, match="line 1"):
        list(read_guide(page))


@pytest.mark.parametrize(
    "shown, found",
    [
        ("a\n", "a\n"),
        ("sent … MiB\n", "sent 71.5 MiB\n"),
        ("…\nlast\n", "first\nsecond\nlast\n"),
        ("first\n…\n", "first\n"),
        ("done in 0.7 s\n", "done in 12.3 s\n"),
        (f"root {'a' * 64}\n", f"root {'b' * 64}\n"),
        (f"root {'a' * 64}\n", f"root 20261122{'b' * 56}\n"),
        ("2026-11-22T18:37:28Z  you@laptop: moved\n", "2031-01-01T00:00:00Z  root@build-7: moved\n"),
    ],
)
def test_output_is_the_one_that_is_shown(shown, found):
    assert looks_like(shown, found)


@pytest.mark.parametrize(
    "shown, found",
    [
        ("a\n", "b\n"),
        ("a\n", "a\nb\n"),
        ("", "anything\n"),
        ("…\nlast\n", "last\nbut one\n"),
        ("sent … MiB\n", "sent 71.5 KiB\n"),
        ("bert@stable points to bert-v2.1.0\n", "bert@beta points to bert-v2.1.0\n"),
        ("12 hits, 0 misses\n", "11 hits, 1 misses\n"),
    ],
)
def test_other_output_is_not(shown, found):
    assert not looks_like(shown, found)


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """Somebody who reads a page of ours in a shell of their own."""
    monkeypatch.setattr("tests.guides.GUIDES", tmp_path)
    made = Reader({"laptop": Machine(tmp_path / "home", tmp_path / "home/work", "/usr/bin:/bin")})
    made.read = lambda text: ((tmp_path / "page.md").write_text(text), made.follow("page.md"))
    return made


def test_variables_and_folder_go_on_from_block_to_block(reader):
    reader.read(
        "```sh\nmkdir here\ncd here\nexport WORD=kept\n```\n```sh\necho $WORD; basename $PWD\n```\n```text\nkept\nhere\n```\n"
    )


@pytest.mark.parametrize(
    "page, why",
    [
        ("```sh\nfalse\ntrue\n```\n", "exit code 1, expected 0"),
        ("<!-- exits 7 -->\n```sh\ntrue\n```\n", "exit code 0, expected 7"),
        ("```sh\necho this\n```\n```text\nthat\n```\n", "the page shows\nthat"),
    ],
)
def test_page_that_does_not_say_what_happens_fails(reader, page, why):
    with pytest.raises(AssertionError, match=why):
        reader.read(page)


def test_every_page_can_be_read():
    for page in GUIDES.glob("*.md"):
        list(read_guide(page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", sorted(page.name for page in GUIDES.glob("*.md")))
def test_page_shows_one_fingerprint_for_each_tree(page):
    """Outputs are compared by their form, so a page could be patched together from several runs."""
    text = (GUIDES / page).read_text(encoding="utf-8")
    shown = set(re.findall(r"(?:fingerprint|root|pinned here:) ([0-9a-f]{64})\b", re.sub(r" +", " ", text)))
    assert len(shown) <= max(1, len(set(re.findall(r"^  tree +(\S+)$", text, re.MULTILINE))))
