"""The look back: every revision of the device, who made it, and what it changed by how many decibels.

What the history says is checked against what the script asked for, and its differences, put together, must lead from
the first revision to what is in the aids. Read ``history`` first.
"""

from collections.abc import Sequence

from msgspec import UNSET

from clients.demo.checks import Checks
from clients.demo.delivering import DemoFailed
from clients.demo.past import line
from clients.demo.stage import DEVICE, Asked, Stage
from fitting.diff import differences
from protocol.contract.base import Failure
from protocol.contract.history import RevisionAnswer, RevisionView

__all__ = ["check_asked", "check_chain", "history"]

_PAGE = 8
_MOST = 100


async def history(stage: Stage) -> None:
    """Show it, oldest first, and check it."""
    views = await _all(stage)
    stage.printer.tell(
        "history",
        "\n".join(["the history, by whom and what:", *(f"  {line(view)}" for view in views)]),
        revisions=[
            {
                "revision": view.revision,
                "author": view.author,
                "origin": view.origin,
                "reason": view.reason,
                "changes": len(view.changes),
            }
            for view in views
        ],
    )
    check_chain(stage.checks, views)
    check_asked(stage.checks, stage.asked, views)
    await _check_whole_way(stage, views)


async def _all(stage: Stage) -> list[RevisionView]:
    """All pages, oldest revision first."""
    views: list[RevisionView] = []
    before: str | None = None
    while len(views) < _MOST:
        page = await stage.fitter.history(DEVICE, before=before, limit=_PAGE)
        if isinstance(page, Failure):
            raise DemoFailed(f"no history: {page.error.message}")
        views += page.revisions
        if page.next is UNSET:
            break
        before = page.next
    return views[::-1]


def check_chain(checks: Checks, views: list[RevisionView]) -> None:
    """The revisions, oldest first, hang together."""
    checks.expect("the history begins with what was read back", not views[0].parent, views[0].origin)
    known = {view.revision for view in views}
    checks.expect("no revision is listed twice", len(known) == len(views))
    checks.expect("every revision has its parent in the history", all(v.parent in known for v in views[1:]))


def check_asked(checks: Checks, asked: Sequence[Asked], views: list[RevisionView]) -> None:
    """Each change that was accepted is there once, in order, with its author, its reason, and what it changed."""
    by_revision = {view.revision: view for view in views}
    found = [by_revision[one.revision].reason for one in asked if one.revision in by_revision]
    wanted = [one.name for one in asked]
    checks.expect("every accepted change is in the history", found == wanted, str(found))
    made = [view for view in views if view.revision in {one.revision for one in asked}]
    checks.expect("in the order in which they were asked for", [view.reason for view in made] == wanted)
    authors = [view.author for view in made]
    checks.expect("each names its author", authors == [one.author for one in asked], str(authors))
    checks.expect("each names what it has changed", all(view.changes or view.origin == "save" for view in made))


async def _check_whole_way(stage: Stage, views: list[RevisionView]) -> None:
    first, last = [await _content(stage, view.revision) for view in (views[0], views[-1])]
    compared = await stage.fitter.compare(DEVICE, views[0].revision, views[-1].revision, aid=True)
    if isinstance(compared, Failure):
        raise DemoFailed(f"nothing to compare: {compared.error.message}")
    changes = differences(first.content, last.content)
    stage.checks.expect("first and last compare as they differ", compared.changes == changes, f"{len(changes)} leaves")
    in_aids = [] if compared.three_way is UNSET else [leaf for leaf in compared.three_way if leaf.aid != leaf.wanted]
    stage.checks.expect("the aids hold the newest revision", compared.three_way is not UNSET and not in_aids)


async def _content(stage: Stage, revision: str) -> RevisionAnswer:
    answer = await stage.fitter.revision(DEVICE, revision)
    if isinstance(answer, Failure):
        raise DemoFailed(f"no revision: {answer.error.message}")
    return answer
