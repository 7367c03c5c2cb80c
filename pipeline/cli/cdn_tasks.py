"""The tasks of CDNs: warm, refresh, look, and go on with what is left.

Takes flags, gives the answers of ``pipeline.cdn_work`` and ``pipeline.cdn_status``, which are imported inside the tasks.

next: ``trust_tasks``
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pipeline.cli.answer import Answer
from pipeline.cli.commands import STORE, Run, command
from pipeline.cli.flags import ALLOW_UNSAFE_STORE, QUOTA_OK, RELEASE

if TYPE_CHECKING:
    from pipeline.cdn_work import Worked
    from pipeline.errors import ModelportError
    from pipeline.ports import Cdn

cdn_command = partial(command, group="cdn")
_PATH = "Path in the tree, as in metadata/timestamp.json, or a URL below a CDN's base_url; repeat it for more."


@cdn_command(
    settings=STORE,
    help={
        "model": f"{RELEASE} Its manifest goes first, then its parts in order. Default: only what --path names.",
        "path": f"{_PATH} Default: none.",
        "quota_ok": QUOTA_OK,
    },
)
def prefetch(run: Run, *, model: str = "", path: tuple[str, ...] = (), quota_ok: bool = False) -> Answer:
    """Let every CDN fetch a release, or single objects, as far as today's quota goes; the rest stands in the ledger.

    Where a CDN has no prefetch, the objects are read through its edge, which warms one location. Under --dry it says
    which calls it would make, and asks nobody.

    Example: invoke cdn.prefetch --model bert-v2.1.0
    Exit codes: 0 done, 2 unknown release or no CDN set, 3 the origin lacks some of it, 5 a CDN or the store failed, 7 URLs are left, 8 another run is at it.
    """
    from pipeline.cdn_status import plan_calls
    from pipeline.cdn_work import keys_of, prefetch_paths
    from pipeline.cli.cdn_summaries import plan_summary
    from pipeline.errors import UsageError
    from pipeline.ports import Op
    from pipeline.release import Release

    if not model and not path:
        raise UsageError("--model or --path is needed", hint="As in: invoke cdn.prefetch --model bert-v2.1.0")
    cdns, release = _cdns(run), Release.parse(model) if model else None
    keys = keys_of(run.place, cdns, release=release, paths=path)
    if run.dry:
        planned = plan_calls(run.store, cdns, keys, Op.PREFETCH)
        return Answer(planned, plan_summary(planned))
    return _worked(prefetch_paths(run.place, keys, release=release, listen=run.listen), quota_ok=quota_ok)


@cdn_command(
    settings=STORE,
    help={
        "path": f"{_PATH} Default: metadata/timestamp.json, the one object that changes.",
        "prefix": "Forget everything below these paths, where the CDN can. Default: off.",
    },
)
def refresh(run: Run, *, path: tuple[str, ...] = (), prefix: bool = False) -> Answer:
    """Let every CDN forget what it has of an object, and wait until it says that it has.

    All objects but metadata/timestamp.json never change under their names, so nothing else needs this as a rule.

    Example: invoke cdn.refresh
    Exit codes: 0 done, 2 no CDN set, 5 a CDN or the store failed, 7 it has not ended yet.
    """
    from pipeline.cdn_status import plan_calls
    from pipeline.cdn_work import keys_of, refresh_paths
    from pipeline.cli.cdn_summaries import plan_summary
    from pipeline.layout import TIMESTAMP
    from pipeline.ports import Op

    cdns = _cdns(run)
    keys = keys_of(run.place, cdns, release=None, paths=path or (TIMESTAMP,))
    if run.dry:
        planned = plan_calls(run.store, cdns, keys, Op.REFRESH_PREFIX if prefix else Op.REFRESH)
        return Answer(planned, plan_summary(planned))
    return _worked(refresh_paths(run.place, keys, prefix=prefix, listen=run.listen))


@cdn_command(settings=STORE, help={"all": "Jobs that are finished, too. Default: off."})
def status(run: Run, *, all: bool = False) -> Answer:  # noqa: A002 (the flag's name)
    """Show what stands in the ledger: jobs, tasks with their percent, failures by URL; and what is left of each quota.

    Under --dry the CDNs are not asked: the ledger and the settings alone are shown.

    Example: invoke cdn.status
    Exit codes: 0 shown, 3 a record of the ledger is damaged, 5 the store cannot be reached.
    """
    from pipeline.cdn_status import read_status
    from pipeline.cli.cdn_summaries import status_summary
    from pipeline.connect_cdns import open_cdns
    from pipeline.errors import InvalidDocument
    from pipeline.plan.records import DAMAGED

    shown = read_status(run.store, open_cdns(run.settings), all_jobs=all, ask=not run.dry)
    left = InvalidDocument("; ".join(shown.damaged), hint=DAMAGED) if shown.damaged else None
    return Answer(shown, status_summary(shown), left=left)


@cdn_command(settings=STORE, help={"quota_ok": QUOTA_OK, "allow_unsafe_store": ALLOW_UNSAFE_STORE})
def resume(run: Run, *, quota_ok: bool = False, allow_unsafe_store: bool = False) -> Answer:
    """Go on with all that the ledger holds, from any machine: send, ask, prove the edge, and move the channels that waited.

    What a CDN accepted is not sent again. What fails at one job does not stop the others: all that failed is told, and the
    exit code is that of the gravest. Under --dry it shows the ledger.

    Example: invoke cdn.resume
    Exit codes: 0 nothing is left, 2 no CDN set, 3 origin or edge proof failed, 4 keys, 5 a CDN or the store failed, 7 URLs are left,
    8 a channel was moved meanwhile.
    """
    from pipeline.cdn_status import read_status
    from pipeline.cdn_work import failures_error, resume_work
    from pipeline.cli.cdn_summaries import status_summary, work_summary

    cdns = _cdns(run)
    if run.dry:
        shown = read_status(run.store, cdns, ask=False)
        return Answer(shown, status_summary(shown))
    failed: list[ModelportError] = []
    worked = resume_work(run.place, run.listen, allow_unsafe=allow_unsafe_store, failed=failed)
    return Answer(worked, work_summary(worked), left=failures_error(failed)) if failed else _worked(worked, quota_ok=quota_ok)


def _cdns(run: Run) -> tuple[Cdn, ...]:
    from pipeline.connect_cdns import open_cdns
    from pipeline.errors import UsageError

    cdns = open_cdns(run.settings)
    if not cdns:
        raise UsageError("no CDN is set", hint="Name one in modelport.yaml: cdn: {provider: aliyun, base_url: https://…}.")
    return cdns


def _worked(worked: Worked, *, quota_ok: bool = False) -> Answer:
    from pipeline.cdn_work import left_error
    from pipeline.cli.cdn_summaries import work_summary
    from pipeline.errors import LeftInLedger

    left = left_error(worked)
    return Answer(worked, work_summary(worked), left=None if quota_ok and isinstance(left, LeftInLedger) else left)


WALK = (prefetch, refresh, status, resume)
