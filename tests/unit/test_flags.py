"""The same flag means the same wherever it is typed: one meaning, one type, one default; every exception has its reason."""

import re
from collections import Counter, defaultdict

import pytest

from pipeline.cli.commands import SETTING_HELP, command
from pipeline.cli.namespace import build_namespace, walk_order

# Flag → tasks in which it is another than in most, and why.
DIFFER = {
    "all": {
        "mirror": "all releases in place of some; in verify all parts in place of a sample",
        "cdn.status": "all jobs in place of those under way",
    },
    "apply": {"mirror": "what it removes is named by --delete; as in gc nothing goes without it"},
    "base": {
        "bundle.plan": "what is packed against is at a site, of which nothing is known unless it is said",
        "bundle.build": "as bundle.plan",
    },
    "channel": {
        "promote": "is there to move a channel; publish moves none unless one is named",
        "rollback": "as promote",
        "retire": "removes the channel, and none unless one is named",
    },
    "folder": {"bundle.repair": "a folder of volumes, where verify has a folder of files"},
    "key": {
        "trust.stage": "says which role the key is for, too",
        "bundle.inventory": "one signature, and none without it",
    },
    "listen": {"site.setup": "the unit serves other machines, at the port that they were told"},
    "model": {
        "cdn.prefetch": "--path can stand in its place; in verify what a folder holds is known",
        "show": "shows one release, or all of a model",
        "mirror": "as show",
        "rollback": "a channel belongs to a model; the release before is looked up",
        "trust.delegate": "a role belongs to a model",
        "web.sync": "a web application is no model",
        "fetch": "who reads may name a channel or a range; who writes names the release",
        "export": "as fetch",
        "bench": "as fetch; several sizes make one table",
        "bundle.plan": "as fetch; one bundle holds several",
        "bundle.build": "as bundle.plan",
        "keep": "several are pinned in one commit",
    },
    "name": {"web.build": "the name of an application, where bundle.build names files"},
    "only": {"dev.bench": "benchmarks by name, where a bundle's volumes have numbers"},
    "path": {"cdn.refresh": "one object of the tree changes, and only that need be forgotten"},
    "repair": {"verify": "of a folder; a store is put right by publish or mirror"},
    "root_fingerprint": {"bundle.verify": "nothing is trusted before: it prints the fingerprint that it saw"},
    "source": {
        "plan": "as publish",
        "publish": "a publisher's source is the folder of the model; everybody else's is a tree",
    },
    "store": {"publish": "several may be given: a release is copied into each"},
    "threshold": {"trust.stage": "says which role the number is for, too"},
    "to": {
        "report": "a file",
        "trust.stage": "a file",
        "bundle.inventory": "a file",
        "mirror": "a store",
        "export": "a folder",
        "bundle.build": "a folder",
        "fetch": "a folder, and it has a usual place",
        "rollback": "a release: rollback writes no file",
    },
    "url": {"site.setup": "a site has one address; a tree may have mirrors"},
}


def all_flags():
    found = defaultdict(dict)
    namespace = build_namespace()
    for name in walk_order():
        for argument in namespace[name].get_arguments():
            found[argument.name][name] = argument
    return found


FLAGS = all_flags()


def sentences(argument):
    """What it means (its first sentence), and its default, which a task that needs the flag does not have."""
    meaning = re.split(r"(?<=[a-z0-9)%])[.;] |\.$| Default", re.sub(r"^With --[a-z-]+: ", "", argument.help))[0]
    default = re.search(r"\bDefault:? (.*?)(?:\.$|\. )", argument.help)
    return meaning, argument.kind, default[1] if default else None


def odd_ones(tasks):
    """The tasks in which a flag is another than in most of them."""
    seen = {name: sentences(argument) for name, argument in tasks.items()}
    usual = Counter(one[:2] for one in seen.values()).most_common(1)[0][0]
    defaults = Counter(one[2] for one in seen.values() if one[2] and one[:2] == usual).most_common(1)
    return {name for name, one in seen.items() if one[:2] != usual or one[2] not in {None, defaults[0][0] if defaults else None}}


@pytest.mark.parametrize("flag", sorted(FLAGS))
def test_flag_is_the_same_in_every_task_that_has_it(flag):
    assert odd_ones(FLAGS[flag]) == set(DIFFER.get(flag, {}))


def test_no_exception_is_of_a_flag_that_is_gone():
    assert set(DIFFER) <= set(FLAGS)


def test_setting_that_is_a_flag_has_the_words_of_the_setting():
    own = {("source", "plan"), ("source", "publish")}
    said = {(flag, name): one.help for flag in SETTING_HELP for name, one in FLAGS[flag].items() if (flag, name) not in own}
    assert {(flag, name): text for (flag, name), text in said.items() if text != SETTING_HELP[flag]} == {}


@pytest.mark.parametrize(
    "other",
    [
        "Seconds that it waits. Default 5.",
        "Bytes that it keeps. Default 3.",
    ],
)
def test_flag_of_another_unit_or_default_is_found(other):
    def made(text):
        def act(run, *, wait=""):
            raise AssertionError

        return command(help={"wait": text}, group=f"test-{len(text)}")(act).get_arguments()[0]

    said = "Seconds that it waits. Default 3."
    assert odd_ones({"a": made(said), "b": made(said), "c": made(other)}) == {"c"}
