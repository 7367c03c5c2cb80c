"""What a person reads after the tasks of CDNs.

Takes the results of walks, gives text.

next: ``cdn_tasks``
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.cdn_status import CallsPlanned, CdnStatus, LaneShown
from pipeline.cdn_work import JobWorked, Worked
from pipeline.spelling import spell_count

SHOWN = 10


def work_summary(worked: Worked) -> str:
    """After ``cdn.prefetch``, ``cdn.refresh`` and ``cdn.resume``."""
    lines = [f"{worked.store}: {'nothing is left in the ledger' if not worked.jobs else spell_count(len(worked.jobs), 'job')}"]
    for job in worked.jobs:
        lines += _job(job)
    if not worked.complete:
        lines.append("next: invoke cdn.resume")
    return "\n".join(lines)


def _job(job: JobWorked) -> Iterator[str]:
    yield f"  {job.op} {job.job}: {'done' if job.complete else 'not done'}{f' ({job.note})' if job.note else ''}"
    for share in job.cdns:
        how = (
            f"{spell_count(share.urls, 'object')} read, which warms one location"
            if share.one_location
            else f"{share.calls} call{'' if share.calls == 1 else 's'}"
        )
        yield f"    {share.provider} {share.url}  {spell_count(share.done, 'URL')} done, {how}{f'; {share.why}' if share.why else ''}"
        yield from _failed(share.failed)
        if share.until:
            yield f"      the rest from {share.until} on"
    if job.channel:
        yield f"    {job.channel} {'moved' if job.moved else 'waits'}"


def status_summary(shown: CdnStatus) -> str:
    """After ``cdn.status``."""
    lines = [f"{shown.store}: {spell_count(len(shown.jobs), 'job')} in the ledger"]
    for job in shown.jobs:
        waits = f", {job.channel} waits for it" if job.channel else ""
        lines.append(f"  {job.op} {job.job}, by {job.by} at {job.ordered_at}{' (finished)' if job.finished else ''}{waits}")
        for lane in job.cdns:
            lines += _lane(lane)
    for quota in shown.quotas:
        if quota.limit is None:
            lines.append(f"  quota {quota.provider} {quota.op}: nobody counts")
        else:
            where = "" if quota.told_by == "api" else ", by the settings and the ledger"
            lines.append(
                f"  quota {quota.provider} {quota.op}: {quota.remaining} of {spell_count(quota.limit, 'URL')} left until {quota.resets_at}{where}"
            )
    lines += [f"  {warning}" for warning in shown.warnings]
    if any(not job.finished for job in shown.jobs):
        lines.append("next: invoke cdn.resume")
    return "\n".join(lines)


def _lane(lane: LaneShown) -> Iterator[str]:
    states = ", ".join(f"{count} {state}" for state, count in lane.states.items())
    waits = f"; waits until {lane.waits_until}" if lane.waits_until else ""
    yield f"    {lane.provider} {lane.url}  {lane.percent} %: {states}{waits}"
    for task in lane.tasks[:SHOWN]:
        percent = f" {task.percent} %" if task.percent is not None else ""
        yield f"      task {task.id or '-'}: {task.state}{percent}, {spell_count(task.urls, 'URL')}, since {task.since}"
    if len(lane.tasks) > SHOWN:
        yield f"      … and {len(lane.tasks) - SHOWN} more tasks"
    yield from _failed(lane.failed)


def _failed(failed: dict[str, str]) -> Iterator[str]:
    for url, why in list(failed.items())[:SHOWN]:
        yield f"      failed {url}: {why}"
    if len(failed) > SHOWN:
        yield f"      … and {len(failed) - SHOWN} more"


def plan_summary(planned: CallsPlanned) -> str:
    """After a dry run."""
    lines = [f"{planned.store}: nothing was sent"]
    for one in planned.cdns:
        if one.by_reads:
            lines.append(
                f"  {one.provider} {one.url}  {spell_count(one.urls, 'object')} would be read through the edge: it has no prefetch"
            )
            continue
        rest = f", {one.urls - one.today} more until {one.last_day}" if one.today < one.urls else ""
        quota = f" ({one.remaining} left by the settings)" if one.remaining is not None else ""
        lines.append(
            f"  {one.provider} {one.url}  {one.op}: {spell_count(one.urls, 'URL')} in {spell_count(one.calls, 'call')}; {one.today} today{quota}{rest}"
        )
    return "\n".join(lines)
