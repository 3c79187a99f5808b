"""Makes the checks of a catalogue, one after the other, each within its time; nothing that goes wrong ends the others.

Read ``probed`` first.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Sequence

from clients.probe.catalogue import CATALOGUE, Check
from clients.probe.target import Target
from clients.probe.verdicts import Finding, Trouble, Verdict, fail, skip

__all__ = ["probed"]


async def probed(
    target: Target, only: Collection[str] = (), catalogue: Sequence[Check] = CATALOGUE
) -> AsyncIterator[Finding]:
    """What each check finds, as soon as it is known. ``only``: their names, empty for all."""
    blocked: set[str] = set()
    for check in catalogue:
        if only and check.name not in only:
            continue
        missing = [name for name in check.after if name in blocked]
        if missing:
            blocked.add(check.name)
            yield Finding(check.name, "skip", f"needs {missing[0]}", 0)
            continue
        began_s = time.perf_counter()
        verdict = await _verdict(check, target)
        if verdict.outcome == "fail":
            blocked.add(check.name)
        yield Finding(check.name, verdict.outcome, verdict.what, round((time.perf_counter() - began_s) * 1_000))


async def _verdict(check: Check, target: Target) -> Verdict:
    if check.by_token and target.token is None:
        return skip("needs a token")
    try:
        async with asyncio.timeout(target.timeout_s):
            return await check.run(target)
    except Trouble as trouble:
        return fail(str(trouble))
    except TimeoutError:
        return fail(f"nothing within {target.timeout_s:g} s")
