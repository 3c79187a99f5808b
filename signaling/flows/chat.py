"""What is written in visits: stored, told to those who may read it, and a sleeping phone woken that there is more.

What must arrive is in the store before anybody is told; keystrokes and signs of typing are only passed on. Nothing of
what somebody has written is in a log, an error or a push. Read ``ChatFlow.write`` and ``sweep`` first.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from msgspec import structs

from fitting.push import Gone, Later, PushNote, PushNotifier
from media.chat import ChatTimes, Message, Reader, due_at_s, is_same, judge, may_read, may_write, view
from media.visit import OVER, Participant, Right, Visit
from protocol.contract.base import Failure, Refusal
from protocol.contract.chat import (
    Attachment,
    LiveText,
    MarkRead,
    MessageReceived,
    MessageSent,
    MessagesRead,
    MessageView,
    ReadTo,
    SendMessage,
    SendText,
    SetTyping,
    Typing,
)
from protocol.contract.sessions import Done
from protocol.contract.times import iso_ms
from protocol.contract.visits import JoinVisitAnswer
from protocol.errors import NotAllowed, NotFound, Overloaded, Unavailable
from signaling.auth import Principal
from signaling.flows.rooms import Seat, VisitRooms, visit_group
from signaling.flows.visits import VisitFlow, refused
from signaling.hub import Caller
from signaling.hub_clients import HubClients
from signaling.pushes import push
from signaling.stores.chat import ChatStore
from signaling.stores.push_tokens import PushTokens

__all__ = ["ChatFlow", "ChatLimits"]

_OVER: Final = Refusal(code="visit_over", message="the visit is over")
_CONFLICT: Final = Refusal(code="idempotency_conflict", message="clientId has stood for another message")
_WINDOW_S: Final = 10.0
_TYPING_MS: Final = 6_000
_PUSH_EXPIRES_S: Final = 86_400
_HOLD_S: Final = 60.0
_TRIES: Final = 5
# Who is there and reads nothing for so many looks may have left without a word, with a process that died.
_LOOKS: Final = 5
# A bus that is away is noticed after some seconds.
_UNHEARD_S: Final = 30.0
_CATCH_UP: Final = 50


@dataclass(frozen=True, slots=True)
class ChatLimits:
    """``max_signals``: what one connection may send in 10 seconds. ``max_due``: phones of one look.

    ``page``: messages that somebody gets who joins; the others he asks for.
    """

    times: ChatTimes
    max_signals: int
    max_due: int
    page: int = 50


class ChatFlow:
    """Carries out what is written. ``secret`` keeps what a push points to from telling anything."""

    def __init__(
        self,
        *,
        store: ChatStore,
        visits: VisitFlow,
        rooms: VisitRooms,
        clients: HubClients,
        tokens: PushTokens,
        notifier: PushNotifier,
        secret: bytes,
        limits: ChatLimits,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        new_id: Callable[[], str],
        reached: Callable[[str], None],
    ) -> None:
        self.store = store
        self._visits = visits
        self._rooms = rooms
        self._clients = clients
        self._tokens = tokens
        self._notifier = notifier
        self._secret = secret
        self._limits = limits
        self._clock = clock
        self._monotonic = monotonic
        self._new_id = new_id
        self._reached = reached
        # Told of a visit in which something was written here.
        self.on_written: list[Callable[[Visit], None]] = []
        # What those here have been told of each visit while pods do not hear each other, by number.
        self._told: dict[str, int] = {}

    # What is kept

    async def write(self, who: Principal, request: SendMessage) -> MessageSent | Failure:
        """Write a message. Raises NotFound, NotAllowed, Overloaded, Unavailable."""
        visit, person = await self._visits.standing(who, request.visit)
        if not may_write(person):
            raise NotAllowed("your role in the visit does not allow it")
        if visit.state in OVER:
            return refused(_OVER)
        wanted = self._message(visit, person, request.client_id, request.text, request.attachments)
        await self._wake_later(visit, person, wanted.at_s)
        stored = await self.store.append(wanted)
        if not is_same(stored, wanted):
            return refused(_CONFLICT)
        # Also when it was there already: whoever sent it first may have died before anybody was told.
        self._tell(visit, MessageReceived(visit=visit.visit, message=view(stored)))
        for heard in self.on_written:
            heard(visit)
        return MessageSent(id=stored.id, n=stored.n, at=iso_ms(stored.at_s))

    async def take_in(
        self, visit: Visit, person: Participant, text: str, *, client_id: str, again: bool = False
    ) -> None:
        """Something that somebody has written elsewhere, once. Raises Overloaded, Unavailable.

        ``again``: whoever took it in before may have died before anybody was told.
        """
        wanted = self._message(visit, person, client_id, text, ())
        stored = await self.store.append(wanted)
        if stored.id == wanted.id or again:
            await self._wake_later(visit, person, stored.at_s)
            self._tell(visit, MessageReceived(visit=visit.visit, message=view(stored)))

    async def mark_read(self, who: Principal, request: MarkRead) -> ReadTo:
        """Somebody has read. Raises NotFound, NotAllowed, Unavailable."""
        visit, person = await self._reader(who, request.visit)
        before = await self.store.reader(visit.visit, person.participant)
        # What has not been written yet cannot have been read.
        wanted = min(request.n, await self.store.last_n(visit.visit))
        if wanted <= before.read_to:
            return await self._reading(visit.visit, person, before.read_to)
        n = await self.store.mark_read(visit.visit, person.participant, wanted)
        self._tell(visit, MessagesRead(visit=visit.visit, participant=person.participant, n=n))
        return await self._reading(visit.visit, person, n)

    async def reading(self, who: Principal, visit: str) -> ReadTo:
        """How far somebody has read. Raises NotFound, NotAllowed, Unavailable."""
        found, person = await self._reader(who, visit)
        reader = await self.store.reader(found.visit, person.participant)
        return await self._reading(found.visit, person, reader.read_to)

    async def page(self, who: Principal, visit: str, after: int, limit: int) -> tuple[MessageView, ...]:
        """Messages behind a number, oldest first. Raises NotFound, NotAllowed, Unavailable."""
        found, _ = await self._reader(who, visit)
        return tuple(map(view, await self.store.after(found.visit, after, limit)))

    async def caught_up(self, answer: JoinVisitAnswer, after: int) -> JoinVisitAnswer:
        """The answer to somebody who has come, with what he has missed behind number ``after``. Raises Unavailable.

        Read after his connection hears what comes, so that nothing falls in between.
        """
        visit, participant = answer.visit.visit, answer.participant
        if not (answer.admitted or answer.role == "patient"):
            return answer
        reader = await self.store.reader(visit, participant)
        last_n = await self.store.last_n(visit)
        messages = await self.store.after(visit, max(after, last_n - self._limits.page), self._limits.page)
        return structs.replace(
            answer,
            messages=tuple(map(view, messages)),
            missed=max(0, last_n - after),
            unread=await self.store.unread(visit, participant, reader.read_to),
            read_to=reader.read_to,
        )

    # What is only passed on

    def typing(self, caller: Caller, request: SetTyping) -> Done:
        """Somebody is writing, or not any more. Raises NotFound, NotAllowed, Overloaded."""
        seat = self._signal(caller, request.visit)
        told = Typing(visit=request.visit, participant=seat.participant, typing=request.typing, for_ms=_TYPING_MS)
        push(caller.clients.others_in_group(visit_group(request.visit)), told)
        return Done()

    def text(self, caller: Caller, request: SendText) -> Done:
        """A group of keystrokes, for those who read along. Raises NotFound, NotAllowed, Overloaded."""
        seat = self._signal(caller, request.visit)
        told = LiveText(
            visit=request.visit,
            participant=seat.participant,
            n=request.n,
            text=request.text,
            erase=request.erase,
        )
        push(self._rooms.reading_along(request.visit).excluding(caller.connection_id), told)
        return Done()

    def spend(self, caller: Caller, visit: str) -> None:
        """One more of what a connection sends; one that is in no visit is bounded elsewhere. Raises Overloaded."""
        seat = self._rooms.of(caller.connection_id, visit)
        if seat is not None:
            self._spend(seat)

    def _signal(self, caller: Caller, visit: str) -> Seat:
        """From memory: nobody's keystrokes wait for a database."""
        seat = self._rooms.of(caller.connection_id, visit)
        if seat is None or not seat.admitted:
            raise NotFound("no such visit")
        if seat.person is None or not seat.person.may(Right.WRITE):
            raise NotAllowed("your role in the visit does not allow it")
        self._spend(seat)
        return seat

    def _spend(self, seat: Seat) -> None:
        now_s = self._monotonic()
        if now_s - seat.window_s >= _WINDOW_S:
            seat.window_s, seat.signals = now_s, 0
        seat.signals += 1
        if seat.signals > self._limits.max_signals:
            self._reached("max_visit_signals")
            raise Overloaded(f"at most {self._limits.max_signals} in {_WINDOW_S:.0f} s")

    # Phones that sleep

    async def sweep(self) -> None:
        """Wake the phones that are due, and tell what other pods could not. Raises Unavailable."""
        await self._look()
        due = await self.store.due(self._clock(), self._limits.max_due)
        if len(due) >= self._limits.max_due:
            self._reached("max_due_chats")
        for reader in due:
            # Whoever takes it has it for a while; if this process dies, another one sees to it then.
            held = replace(reader, due_at_s=self._clock() + _HOLD_S, tries=reader.tries + 1)
            if await self.store.settle(reader, held):
                await self.store.settle(held, await self._woken(held))

    async def _look(self) -> None:
        """While pods do not hear each other, those here hear from the store what was written elsewhere; perhaps twice.

        Once more when they do again: what was written in between is told then.
        """
        rooms = self._rooms
        if rooms.is_heard and not (self._told or rooms.has_missed):
            return
        # They may have been away for less than the time between two looks: that shows in what was missed only.
        rooms.has_missed = False
        try:
            self._told = await self._catch_up(self._told)
        except Unavailable:
            rooms.has_missed = True
            raise

    async def _catch_up(self, before: dict[str, int]) -> dict[str, int]:
        """Tell those here what is new since ``before``; what they know now, while pods do not hear each other."""
        told: dict[str, int] = {}
        since_s = self._clock() - _UNHEARD_S
        for visit in self._rooms.visits_here()[: self._limits.max_due]:
            last_n = await self.store.last_n(visit)
            for message in await self.store.after(visit, max(before.get(visit, 0), last_n - _CATCH_UP), _CATCH_UP):
                if visit in before or message.at_s >= since_s:
                    push(self._rooms.inside_here(visit), MessageReceived(visit=visit, message=view(message)))
            if not self._rooms.is_heard:
                told[visit] = last_n
        return told

    async def _woken(self, reader: Reader) -> Reader:
        now_s, times = self._clock(), self._limits.times
        visit = await self._visits.visits.get(reader.visit)
        look = judge(visit, reader, last_n=await self.store.last_n(reader.visit))
        if look == "wait" and reader.tries <= _LOOKS:
            return replace(reader, due_at_s=now_s + times.look_again_s)
        over = replace(reader, due_at_s=None, tries=0)
        target = None if visit is None or look == "drop" else await self._tokens.get(visit.device)
        if visit is None or target is None or reader.tries > _LOOKS + _TRIES:
            return over
        note = PushNote("message", self._opaque("pointer", reader), self._opaque("message", reader), _PUSH_EXPIRES_S)
        outcome = await self._notifier.send(target, note)
        if isinstance(outcome, Gone):
            await self._tokens.park(visit.device, target, now_s)
        if isinstance(outcome, Later):
            return replace(reader, due_at_s=now_s + max(times.look_again_s, outcome.retry_after_s))
        return replace(over, pushed_at_s=now_s)

    async def _wake_later(self, visit: Visit, writer: Participant, now_s: float) -> None:
        """Before the message itself, so that no crash in between forgets the phone: only patients' are known."""
        patient = next((one for one in visit.present_list() if one.role == "patient"), None)
        if patient is not None and patient.participant != writer.participant:
            reader = await self.store.reader(visit.visit, patient.participant)
            if reader.due_at_s is None:
                at_s = due_at_s(reader, now_s=now_s, times=self._limits.times)
                await self.store.wake_at(visit.visit, patient.participant, at_s)

    def _opaque(self, what: str, reader: Reader) -> str:
        """The same for the same visit, and nothing to anybody who does not have the secret."""
        named = f"chat {what} {reader.visit} {reader.participant}".encode()
        return base64.urlsafe_b64encode(hmac.digest(self._secret, named, hashlib.sha256)[:16]).decode().rstrip("=")

    def _message(
        self, visit: Visit, person: Participant, client_id: str, text: str, attachments: tuple[Attachment, ...]
    ) -> Message:
        return Message(
            visit=visit.visit,
            n=0,
            id=self._new_id(),
            participant=person.participant,
            client_id=client_id,
            at_s=self._clock(),
            text=text,
            attachments=attachments,
        )

    # Who may, and who is told

    async def _reader(self, who: Principal, visit: str) -> tuple[Visit, Participant]:
        found, person = await self._visits.standing(who, visit)
        if not may_read(person):
            raise NotAllowed("you were not let in yet")
        return found, person

    async def _reading(self, visit: str, person: Participant, read_to: int) -> ReadTo:
        return ReadTo(n=read_to, unread=await self.store.unread(visit, person.participant, read_to))

    def _tell(self, visit: Visit, payload: MessageReceived | MessagesRead) -> None:
        self._rooms.tell(visit.visit, payload)
        for one in visit.present_list():
            if one.role == "patient" and one.admission != "admitted":
                # He may read before he is let in: that somebody is late, for one.
                push(self._clients.user(one.user, visit.clinic), payload)
