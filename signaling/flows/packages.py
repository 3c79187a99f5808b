"""Packages as time passes: their phones are woken, and their wearers are asked what they think of what was installed.

What is due is in the outbox, written with what it is about, so it survives every restart and is carried out by one
process. A push is a help, never a delivery. This module must not know a push service. Read ``PackageFlow.sweep`` first.
"""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET
from msgspec.structs import replace

from fitting.delivery import is_end
from fitting.log import DeviceLog
from fitting.log_packages import TAKEN_BACK
from fitting.log_values import Attached, Delivery, DeviceHead
from fitting.outbox import DueItem, Outbox
from fitting.packages import DEFAULT_PUSH_TIMES, AfterPush, PushTimes, after_push, judge_push
from fitting.push import Gone, PushKind, PushNote, PushNotifier
from protocol.contract.base import Failure, Refusal
from protocol.contract.fitting import Base, Submit, SubmitAnswer
from protocol.contract.packages import AnswerKeep, KeepAnswered, KeepAsked, PackageAnswered
from protocol.contract.times import iso_ms
from protocol.errors import Unavailable
from signaling.flows.candidates import Wish
from signaling.flows.onlookers import PhonesAnywhere
from signaling.flows.phones import Phones
from signaling.flows.submit import SubmitFlow
from signaling.hub import Caller
from signaling.pushes import push
from signaling.stores.push_tokens import PushTokens
from signaling.troubles import Troubles

__all__ = ["PackageFlow", "PackageLimits"]

# Whoever attaches meanwhile needs the database too.
_AT_ONCE: Final = 8
_NOT_WORN: Final = Refusal(code="not_worn", message="that package is not what the aids keep, or nobody asked about it")
_QUESTION_EXPIRES_S: Final = 259_200


@dataclass(frozen=True, slots=True)
class PackageLimits:
    """``max_due``: what is carried out in one look. ``hold_s``: how long that may take before another process may.

    ``ask_again_s``: when a wearer could not be asked, because something else was going on.
    """

    max_due: int = 64
    hold_s: float = 60.0
    ask_again_s: float = 3_600.0
    times: PushTimes = DEFAULT_PUSH_TIMES


class PackageFlow:
    """Carries out what is due for packages. ``secret`` keeps what a push points to from telling anything."""

    def __init__(
        self,
        *,
        log: DeviceLog,
        outbox: Outbox,
        tokens: PushTokens,
        notifier: PushNotifier,
        phones: Phones,
        anywhere: PhonesAnywhere,
        submit: SubmitFlow,
        troubles: Troubles,
        secret: bytes,
        limits: PackageLimits,
        reached: Callable[[str], None],
    ) -> None:
        self._log = log
        self._outbox = outbox
        self._tokens = tokens
        self._notifier = notifier
        self._phones = phones
        self._anywhere = anywhere
        self._submit = submit
        self._troubles = troubles
        self._secret = secret
        self._limits = limits
        self._reached = reached

    async def attached(self, caller: Caller, device: str, attached: Attached) -> None:
        """A phone is there: its wearer is asked what has not been answered yet."""
        if attached.question is None:
            return
        # It keeps no phone from its aids when it cannot be read: it is asked at the next attachment.
        with suppress(Unavailable):
            asked = await self._log.delivery(device, attached.question)
            if asked is not None:
                push(caller, _question(asked))

    async def answer(self, caller: Caller, answer: AnswerKeep) -> KeepAnswered | Failure:
        """What the wearer says of a package; one that is not to be kept is taken back by another."""
        asked = await self._log.delivery(answer.device, answer.seq)
        if asked is None or asked.epoch != answer.epoch or asked.mode != "standard":
            return _refused(_NOT_WORN)
        taken = None if answer.keep else await self._take_back(caller.principal.user, asked)
        if isinstance(taken, Failure):
            return taken
        state, text = ("kept" if answer.keep else TAKEN_BACK), _text(answer)
        wish = None if taken is None else taken.seq
        recorded = await self._log.answer_question(
            answer.device, answer.seq, state=state, actor=caller.principal.user, text=text, wish=wish
        )
        if recorded is None:
            return _refused(_NOT_WORN)
        self._phones.tell_fitters(answer.device, self._told(answer))
        return _answered(taken)

    async def _take_back(self, author: str, asked: Delivery) -> SubmitAnswer | Failure:
        """Another package, with what the aids kept before; it takes the place of one that still waits."""
        request = Submit(
            device=asked.device,
            kind="persist",
            mode="standard",
            base=Base(revision=asked.revision.revision_id),
            reason="taken back by its wearer",
            idempotency_key=f"undo-{asked.epoch}-{asked.seq}",
            revision=asked.base.revision_id,
        )
        # It was written over that, however long ago.
        wish = Wish(worn=asked.base.content if asked.state == "active" else None)
        taken = await self._submit.submit(author, request, wish=wish)
        if not await self._came_to_nothing(asked.device, taken):
            return taken
        head = await self._log.head(asked.device)
        if isinstance(head, Refusal) or head.revision is None or not _is_kept(head, asked):
            return _refused(_NOT_WORN)
        waiting = next(iter((await self._log.pending(asked.device))[-1:]), None)
        if waiting is not None and waiting.withdrawn is None and _brings_back(waiting, asked):
            return _submitted(waiting)
        key = f"{request.idempotency_key}-{head.last_seq}"
        onward = replace(request, base=Base(revision=head.revision.revision_id), idempotency_key=key)
        return await self._submit.submit(author, onward, wish=wish)

    async def _came_to_nothing(self, device: str, taken: SubmitAnswer | Failure) -> bool:
        """Whether the way back was never taken: others have come since, or an earlier one has ended without it."""
        if isinstance(taken, Failure):
            return taken.error.code == "base_mismatch"
        earlier = await self._log.delivery(device, taken.seq)
        return earlier is not None and is_end(earlier.kind, earlier.state) and earlier.state != "active"

    async def sweep(self) -> None:
        """Carry out what is due. Raises Unavailable when the database is away."""
        items = await self._outbox.take(self._limits.max_due, hold_s=self._limits.hold_s)
        if len(items) >= self._limits.max_due:
            self._reached("max_due_pushes")
        left = iter(items)
        # Not a TaskGroup: that the database is away must be told as what it is, not as one error of a group.
        ended = await asyncio.gather(*(self._carry_out_some(left) for _ in range(_AT_ONCE)), return_exceptions=True)
        for error in ended:
            if error is not None:
                raise error

    async def _carry_out_some(self, left: Iterator[DueItem]) -> None:
        for item in left:
            await self._carry_out(item)

    async def _carry_out(self, item: DueItem) -> None:
        with self._troubles.of(item.device):
            if item.kind == "push":
                await self._push_package(item)
            else:
                await self._ask_wearer(item)

    async def _push_package(self, item: DueItem) -> None:
        delivery = await self._log.delivery(item.device, item.seq)
        judged = judge_push(delivery, is_online=await self._anywhere.is_known_attached(item.device))
        if delivery is None or judged == "drop":
            await self._outbox.done(item)
        elif judged == "wait":
            await self._outbox.later(item, self._now_s() + self._limits.times.online_s, tried=False)
        else:
            left_s = max(1, int(delivery.expires_at_s - self._now_s()))
            await self._settle(item, await self._wake(item, "package", left_s, delivery.revision.at_s))

    async def _ask_wearer(self, item: DueItem) -> None:
        asked = await self._log.ask_question(item.device, item.seq)
        if isinstance(asked, Refusal) and asked.retryable:
            await self._outbox.later(item, self._now_s() + self._limits.ask_again_s, tried=False)
        elif isinstance(asked, Refusal) or self._phones.relay(item.device, _question(asked)):
            await self._outbox.done(item)
        else:
            # Once: whenever the phone comes, it is asked.
            after = await self._wake(item, "question", _QUESTION_EXPIRES_S, self._now_s())
            await self._settle(item, AfterPush(None) if after.tried else after)

    async def _wake(self, item: DueItem, kind: PushKind, expires_in_s: int, at_s: float) -> AfterPush:
        target = await self._tokens.get(item.device)
        if target is None:
            return AfterPush(None)
        note = PushNote(kind, self._opaque("pointer", item), self._opaque(kind, item), expires_in_s)
        outcome = await self._notifier.send(target, note)
        if isinstance(outcome, Gone):
            await self._tokens.park(item.device, target, self._now_s())
        return after_push(outcome, accepted_at_s=at_s, tries=item.tries, now_s=self._now_s(), times=self._limits.times)

    async def _settle(self, item: DueItem, after: AfterPush) -> None:
        if after.due_at_s is None:
            await self._outbox.done(item)
        else:
            await self._outbox.later(item, after.due_at_s, tried=after.tried)

    def _opaque(self, what: str, item: DueItem) -> str:
        """The same for the same matter, and nothing to anybody who does not have the secret."""
        named = f"{what} {item.device} {item.seq}".encode()
        return base64.urlsafe_b64encode(hmac.digest(self._secret, named, hashlib.sha256)[:16]).decode().rstrip("=")

    def _now_s(self) -> float:
        return self._outbox.now_s()

    def _told(self, answer: AnswerKeep) -> PackageAnswered:
        return PackageAnswered(
            device=answer.device,
            epoch=answer.epoch,
            seq=answer.seq,
            keep=answer.keep,
            at=iso_ms(self._now_s()),
            rating=answer.rating,
            words=answer.words,
        )


def _question(asked: Delivery) -> KeepAsked:
    return KeepAsked(device=asked.device, epoch=asked.epoch, seq=asked.seq, revision_id=asked.revision.revision_id)


def _is_kept(head: DeviceHead, asked: Delivery) -> bool:
    """Whether a package is what the aids keep, under whatever name: it may have been read back since."""
    return head.ground is not None and head.ground.digests.pair == asked.revision.digests.pair


def _brings_back(waiting: Delivery, asked: Delivery) -> bool:
    return waiting.mode == "standard" and waiting.revision.digests.pair == asked.base.digests.pair


def _submitted(delivery: Delivery) -> SubmitAnswer:
    revision = delivery.revision
    return SubmitAnswer(
        epoch=delivery.epoch,
        seq=delivery.seq,
        revision_id=revision.revision_id,
        digests=revision.digests,
        safety=revision.safety,
    )


def _text(answer: AnswerKeep) -> str | None:
    """As it is recorded: the rating, then the words."""
    said = [] if answer.rating is UNSET else [str(answer.rating)]
    said += [] if answer.words is UNSET else [answer.words]
    return " ".join(said) or None


def _answered(taken: SubmitAnswer | None) -> KeepAnswered:
    return KeepAnswered() if taken is None else KeepAnswered(epoch=taken.epoch, seq=taken.seq)


def _refused(refusal: Refusal) -> Failure:
    return Failure(error=refusal, errors=(refusal,))
