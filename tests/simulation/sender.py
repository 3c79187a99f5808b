"""A fitter who also sends packages: louder, quieter, for a short time, one after the other, or what a session left.

Packages need no lease; in a session, and under another's lease, they are refused, which is part of the work. Must not
know what becomes of one. Read ``Sender.do_package`` first.
"""

import asyncio
from typing import Any

from msgspec import UNSET

from protocol.contract.base import EARS, Ear
from protocol.contract.fitting import BandPath, Base, Patch, PatchOp, Submit, SubmitAnswer

from .handset import DEVICE
from .people import GAINS, Fitter
from .plan import Step

__all__ = ["Sender"]


class Sender(Fitter):
    """See ``Fitter``. ``draft`` is what the last session that ended has lost."""

    async def do_package(self, step: Step) -> None:
        await self._package(step, 10 if step.amount % 3 == 0 else -10)

    async def do_louder(self, step: Step) -> None:
        """As much at a time as a package may, and more the next time."""
        await self._package(step, 50, band=step.amount)

    async def do_hush(self, _: Step) -> None:
        """Much quieter, in all bands."""
        ops = [op for band in range(10) for op in _ops(EARS, GAINS, band, -90)]
        await self._send(patch=Patch(slot=1, ops=tuple(ops)))

    async def do_brief(self, step: Step) -> None:
        """One that is soon too late."""
        await self._package(step, -10, expires_in_s=5 + int(step.length_s))

    async def do_pair(self, step: Step) -> None:
        """A second one before anybody has seen the first, and perhaps a third."""
        for _ in range(2 + step.amount % 2):
            await self._package(step, -10)
            await asyncio.sleep(self._chance.random() ** 3 * 20.0)

    async def do_back(self, step: Step) -> None:
        """Back to a revision of before, as a package."""
        if len(self.revisions) > 1:
            await self._send(revision=self.revisions[step.amount % (len(self.revisions) - 1)])

    async def do_draft(self, _: Step) -> None:
        """What was lost with a session goes on as a package."""
        if self.draft:
            await self._send(revision=self.draft)

    async def do_loud(self, _: Step) -> None:
        """Output may not rise by a package."""
        await self._send(patch=Patch(slot=1, ops=_ops(EARS, ("mpoDdb",), self._chance.randrange(10), 10)))

    async def do_call(self, step: Step) -> None:
        """A call beside the session, which ends, or of which nobody tells any more."""
        self.call = "on"
        await asyncio.sleep(step.length_s)
        self.call = "ended" if step.amount % 2 else UNSET

    async def do_wait(self, step: Step) -> None:
        await asyncio.sleep(step.length_s)

    async def _package(self, step: Step, by_ddb: int, *, band: int | None = None, **more: Any) -> None:
        ears: tuple[Ear, ...] = EARS if step.amount % 4 else (step.ear,)
        ops = _ops(ears, GAINS, self._chance.randrange(10) if band is None else band, by_ddb)
        await self._send(patch=Patch(slot=1, ops=ops), **more)

    async def _send(self, **wanted: Any) -> None:
        await self._look()
        if self.head is None:
            return
        request = Submit(
            device=DEVICE,
            kind="persist",
            mode="standard",
            base=Base(revision=self.head.revision),
            reason="for the week",
            idempotency_key=self._key(),
            **wanted,
        )
        answer = await self.ask_again("Submit", request, SubmitAnswer)
        self._heard("submitted", fitter=self.name, request=request, answer=answer, lowers=False)
        if isinstance(answer, SubmitAnswer):
            self._saves.add(answer.seq)
            self._took(answer)


def _ops(ears: tuple[Ear, ...], paths: tuple[BandPath, ...], band: int, by_ddb: int) -> tuple[PatchOp, ...]:
    return tuple(PatchOp(op="add", ear=ear, path=path, band=band, value=by_ddb) for ear in ears for path in paths)
