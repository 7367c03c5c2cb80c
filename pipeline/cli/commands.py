"""``@command``: what every task shares, so that a task is settings, a walk and its answer.

Takes a function ``(run, *, flags) -> Answer``, gives an invoke task with these flags, ``--report`` and
the settings it asks for. It refuses values that begin with ``-``, turns every ``ModelportError`` into
its exit code and one clear message, Ctrl-C and SIGTERM into 130, and leaves everything else
to be shown as the bug that it is.

next: ``release_tasks``
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property, partial, update_wrapper
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit
from invoke.tasks import Task, task

from pipeline.cli.answer import Answer, summary_of_dry_run
from pipeline.cli.misspelt import meant_instead
from pipeline.cli.typable import make_typable
from pipeline.errors import Interrupted, ModelportError, UsageError
from pipeline.store_kinds import SPELLED

if TYPE_CHECKING:
    from invoke.context import Context

    from pipeline.cli.masking import Mask
    from pipeline.cli.report import Reporter
    from pipeline.connect import Opened
    from pipeline.events import Listener
    from pipeline.place import Place
    from pipeline.ports import ObjectStore
    from pipeline.settings import Settings
    from pipeline.supply import Supply

# The flags of a task that opens a store.
STORE = ("store", "endpoint", "region")

SETTING_HELP = {
    "store": f"Where the tree lies: {SPELLED}. Default ./.modelport/store.",
    "endpoint": "URL of an S3-compatible or OSS endpoint. Default: the vendor's own.",
    "region": "Region of the bucket. Default: the vendor's own chain.",
    "models_dir": "Folder that holds one folder per release. Default models.",
    "source": f"Where to fetch from: http://… or https://…, {SPELLED}; repeat it for mirrors. Default: the store.",
    "ca_bundle": "File of certificate authorities to trust. Default: SSL_CERT_FILE, else the system's.",
    "cache_limit": "Most bytes that the fetch cache keeps, such as 20GiB; 0 keeps nothing. Default 20GiB.",
    "connections": "Transfers at the same time, 1 to 64. Default 8; a fetch without it finds out what the line takes.",
    "part_size": "Largest part, such as 64MiB. Default: 64, 128 or 256 MiB by the release's size and the prefetch quota.",
}
# The settings whose flags are repeated.
REPEATED = ("source",)
# What stands between several values, where it is no space: paths of stores may hold one.
LISTED = {"store": "\n"}
_REPORT_HELP = "How to report: auto (bars on a terminal, else plain), plain, json (one document on stdout). Default auto."


class Run:
    """One run of a task: what it was given beside its own flags."""

    def __init__(self, reporter: Reporter, setting_flags: Mapping[str, str], *, dry: bool, mask: Mask | None = None) -> None:
        self.dry = dry
        self._mask = mask
        self._reporter = reporter
        self._setting_flags = setting_flags
        self._closing = ExitStack()

    @cached_property
    def settings(self) -> Settings:
        """The settings, this task's flags first; read at first use."""
        from pipeline.settings import load_settings, refuse_memory

        found = load_settings(self._setting_flags, os.environ, Path.cwd())
        refuse_memory(found)
        if self._mask is not None:
            # Settings may name variables of any name for credentials.
            self._mask.learn(found.secrets)
        return found

    @property
    def listen(self) -> Listener:
        """The listener for walks."""
        return self._reporter.listen

    @cached_property
    def opened(self) -> Opened:
        """The store of the settings, with retries and a count of bytes; under ``--dry`` one that makes no change."""
        from pipeline.connect import open_store

        return open_store(self.settings, dry=self.dry, listen=self.listen)

    @cached_property
    def place(self) -> Place:
        """The store with what is trusted there and whose keys sign; asks for passphrases at a terminal."""
        from pipeline.connect import open_place

        ask = ask_passphrase if sys.stdin.isatty() and sys.stderr.isatty() else None
        return open_place(self.settings, dry=self.dry, listen=self.listen, passphrase=ask)

    @cached_property
    def shown_place(self) -> Place:
        """What is to be looked at: the store, or what ``--source`` names in its place."""
        from pipeline.connect import open_source_place

        if self.settings.origins["source"] == "--source":
            return open_source_place(self.settings, listen=self.listen)
        return self.place

    def supply(self, *, offline: bool = False) -> Supply:
        """The sources with what is trusted there, the cache and what is installed; ``offline`` asks nobody."""
        from pipeline.connect import open_supply

        supply = open_supply(self.settings, offline=offline, listen=self.listen)
        self._closing.callback(supply.close)
        return supply

    def close(self) -> None:
        """Let go of what was opened for this run."""
        self._closing.close()

    @property
    def store(self) -> ObjectStore:
        """The store of ``opened``."""
        return self.opened.store


class _Settled(Task[Any]):
    """A task that invoke need not copy: it copies all tasks with all they hold when it loads ``tasks.py``, to list them."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Settled:
        # Every namespace has tasks of its own already.
        return self


Body = Callable[..., Answer]
# The settings that each task takes as flags, by the task's full name.
TAKES: dict[str, Sequence[str]] = {}


def command(
    *,
    help: Mapping[str, str],  # noqa: A002 (invoke's own word)
    settings: Sequence[str] = (),
    group: str = "",
    shared: type | None = None,
    repeated: Sequence[str] = REPEATED,
) -> Callable[[Body], Task[Any]]:
    """Make an invoke task of a function ``(run, *, flags) -> Answer``.

    A flag is text (default ``""``, or without default: required), a switch (default ``False``) or a list
    (default ``()``: the flag is repeated). Numbers arrive as text, because invoke answers a malformed
    one with a traceback. ``settings`` names the settings that are flags of this task, ``repeated`` those of them that may
    be given more than once, ``group`` the namespace that it stands in. ``shared`` is a named tuple whose fields are flags, too,
    for tasks that have many in common: the function is ``(run, shared, *, flags)``.
    """

    def decorate(body: Body) -> Task[Any]:
        if shared is not None:
            body = _with_shared(body, shared)
        flags = list(signature(body).parameters.values())[1:]
        if {flag.name for flag in flags} != set(help):
            raise TypeError(f"{body.__name__}: help and flags differ: {sorted({flag.name for flag in flags} ^ set(help))}")
        if any(flag.default not in (Parameter.empty, "", False, ()) for flag in flags):
            raise TypeError(f"{body.__name__}: a flag is text, a switch or a list")
        required = [flag.name for flag in flags if flag.default is Parameter.empty]
        name = f"{group}.{body.__name__}" if group else body.__name__
        TAKES[name] = settings

        def call(context: Context, **given: Any) -> None:
            run_command(body, given, name=name, required=required, settings=settings, dry=bool(context.config.run.dry))

        call.__name__ = body.__name__
        call.__doc__ = body.__doc__
        call.__module__ = body.__module__
        call.__signature__ = Signature(  # type: ignore[attr-defined]  # invoke reads the flags from here
            [
                Parameter("context", Parameter.POSITIONAL_OR_KEYWORD),
                *(_keyword(flag.name, None if flag.default in (Parameter.empty, ()) else flag.default) for flag in flags),
                *(_keyword(key, None if key in repeated else "") for key in settings),
                _keyword("report", "auto"),
            ]
        )
        made: Task[Any] = task(
            name=body.__name__,
            klass=_Settled,
            positional=[],
            iterable=[*(flag.name for flag in flags if flag.default == ()), *(key for key in settings if key in repeated)],
            # Short flags are dealt out in order of the signature and would move when it grows.
            auto_shortflags=False,
            help={**help, **{key: SETTING_HELP[key] for key in settings}, "report": _REPORT_HELP},
        )(call)
        return made

    return decorate


def _with_shared(body: Body, shared: type) -> Body:
    fields = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in signature(shared).parameters.values()]
    run, _, *own = signature(body).parameters.values()

    def whole(run: Run, **given: Any) -> Answer:
        return body(run, shared(**{one.name: given.pop(one.name) for one in fields}), **given)

    update_wrapper(whole, body)
    whole.__signature__ = Signature([run, *fields, *own])  # type: ignore[attr-defined]  # ``command`` reads the flags from here
    return whole


def _keyword(name: str, default: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default)


def run_command(
    body: Body, given: dict[str, Any], *, name: str, required: Sequence[str], settings: Sequence[str], dry: bool
) -> None:
    """Run ``body`` and report it.

    Raises:
        Exit: it did not end with 0; the reason has been reported.
    """
    from pipeline.cli.masking import Mask, mask_logs, secrets_in
    from pipeline.cli.report import open_report, report_bug

    mask = Mask(secrets_in(os.environ))
    mask_logs(mask)
    reporter = open_report("plain", mask)
    places = {key: given[key] for key in settings if given[key]}
    if isinstance(stores := places.get("store"), list):
        # What is typed next is about the first one, which decides.
        places["store"] = stores[0]
    typed = dict(given)
    spell = partial(make_typable, program=program_name(), takes=TAKES, given=places)
    code = 0
    try:
        reporter = open_report(given.pop("report"), mask)
        sys.excepthook = partial(report_bug, reporter, mask)
        refuse_flags_as_values(given)
        missing = [flag for flag in required if not given[flag]]
        if missing:
            raise UsageError(f"{flag_name(missing[0])} is needed", hint=f"invoke --help {name} shows an example.")
        setting_flags = {key: _one_text(given.pop(key), apart=LISTED.get(key, " ")) for key in settings}
        run = Run(reporter, {key: text for key, text in setting_flags.items() if text}, dry=dry, mask=mask)
        with stop_on_sigterm(), closing(run):
            answer = body(run, **given)
        reporter.close()
        said = summary_of_dry_run(answer.summary) if dry else answer.summary
        reporter.answer(Answer(answer.document, spell(said)))
        if answer.left is not None:
            raise answer.left
    except ModelportError as error:
        code = error.exit_code
        reporter.close()
        reporter.failed(code, str(error), spell(meant_instead(str(error), typed) or error.hint))
    except KeyboardInterrupt:
        code = Interrupted.exit_code
        reporter.close()
        reporter.failed(code, "interrupted", "Run it again: it goes on with what is missing.")
        end_at_once(code)
    if code:
        raise Exit(code=code)


def _one_text(value: str | Sequence[str], *, apart: str) -> str:
    """A setting flag as its variable would be written: values of a repeated one with ``apart`` between."""
    return value if isinstance(value, str) else apart.join(value)


def program_name() -> str:
    """The program that a person types here: without a checkout there is no ``invoke`` for our tasks."""
    return "modelport" if Path(sys.argv[0]).stem == "modelport" else "invoke"


def end_at_once(code: int) -> None:
    """End this process here if threads are still at work: at the usual end Python would wait for their transfers."""
    if any(not thread.daemon and thread is not threading.main_thread() for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def flag_name(name: str) -> str:
    """A parameter's flag as it is typed; ``from_`` is ``--from``, which Python keeps for itself."""
    return "--" + name.strip("_").replace("_", "-")


def refuse_flags_as_values(given: Mapping[str, Any]) -> None:
    """Refuse a value that begins with ``-``.

    invoke takes a core flag that follows a flag without its value as that value (its issues 982 and
    1084): ``publish --model --help`` would publish ``--help``.

    Raises:
        UsageError: naming the flag and the value.
    """
    for name, value in given.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and text.startswith("-"):
                flag = flag_name(name)
                raise UsageError(
                    f"{flag} has the value {text!r}, which reads as a flag",
                    hint=f"Give {flag} its value; a path that begins with '-' is spelled ./{text}.",
                )


def ask_passphrase(what: str) -> str:
    """Ask a person for a passphrase, without an echo."""
    from getpass import getpass

    return getpass(f"{what} of the signing key: ", stream=sys.stderr)


@contextmanager
def stop_on_sigterm() -> Iterator[None]:
    """End on SIGTERM as on Ctrl-C, so that a cancelled CI job gives its lease back."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
