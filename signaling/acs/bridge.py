"""Messages between our chat and a thread of ACS, both ways, each once. Ours is the one that is kept.

What was written there is found by reading the thread, whether somebody has told us to look or not: so a lie, a loss or
a repetition of what we are told changes nothing. What is ours goes there under our own id of it, and what came from
there is not sent back. Read ``ChatBridge.carry`` first.
"""

from typing import Final, Protocol

from msgspec import structs

from media.acs import FROM_ACS, display_name, split_text
from media.chat import Message
from media.visit import Participant, Visit
from protocol.contract.chat import MAX_TEXT_CHARS
from signaling.flows.chat import ChatFlow
from signaling.stores.acs import AcsVisit

from .identities import AcsIdentities
from .service import AcsMessage, AcsToken, CommunicationService

__all__ = ["ChatBridge"]

# Clocks of theirs may differ, and a message may show late.
_OVERLAP_S: Final = 30.0
_PAGE: Final = 50


class _Work(Protocol):
    now: AcsVisit
    has_died: bool


class ChatBridge:
    """``chat`` is ours."""

    def __init__(self, service: CommunicationService, identities: AcsIdentities, chat: ChatFlow) -> None:
        self._service = service
        self._identities = identities
        self._chat = chat

    async def carry(self, work: _Work, visit: Visit, token: tuple[str, AcsToken]) -> None:
        """What is new on either side, to the other. Raises Trouble, Unavailable."""
        there = await self.fetch(work, visit, token)
        while page := await self._chat.store.after(visit.visit, work.now.sent_n, _PAGE):
            for message in page:
                # In doubt it may have arrived although nobody knows.
                if not message.client_id.startswith(FROM_ACS) and message.id not in there:
                    await self._put(work, visit, token[1], message)
                work.now = structs.replace(work.now, sent_n=message.n)

    async def fetch(self, work: _Work, visit: Visit, token: tuple[str, AcsToken]) -> frozenset[str]:
        """What was written there since, into ours; our ids of what is there of ours. Raises Trouble, Unavailable."""
        at_s = max(0.0, await self._since(work, visit))
        found = await self._service.since(token[1], work.now.thread, at_s)
        for message in found:
            if message.sender != token[0]:
                await self._take(visit, message, again=work.has_died)
            work.now = structs.replace(work.now, seen_s=max(work.now.seen_s, message.at_s))
        return frozenset(one.ours for one in found if one.ours)

    async def _since(self, work: _Work, visit: Visit) -> float:
        at_s = work.now.seen_s - _OVERLAP_S
        if work.now.doubt:
            for first in await self._chat.store.after(visit.visit, work.now.sent_n, 1):
                at_s = min(at_s, first.at_s - _OVERLAP_S)
        return at_s

    async def _take(self, visit: Visit, message: AcsMessage, *, again: bool) -> None:
        who = await self._identities.whose(visit.clinic, message.sender)
        person = None if who is None else _participant(visit, who)
        if person is None:
            # Nobody of this visit: an operator of the resource, say.
            return
        for number, text in enumerate(split_text(message.text, MAX_TEXT_CHARS)):
            name = f"{FROM_ACS}{message.id}" + (f":{number}" if number else "")
            await self._chat.take_in(visit, person, text, client_id=name, again=again)

    async def _put(self, work: _Work, visit: Visit, token: AcsToken, message: Message) -> None:
        person = next((one for one in visit.participants if one.participant == message.participant), None)
        name = "" if person is None else display_name(person.role)
        await self._service.write(token, work.now.thread, message.text, name=name, ours=message.id)


def _participant(visit: Visit, who: str) -> Participant | None:
    """Also who was sent away since: what he wrote while he was there stays."""
    kind, _, rest = who.partition(":")
    for one in visit.participants:
        if (kind == "user" and one.user == rest) or (kind == "guest" and rest == f"{visit.visit}:{one.participant}"):
            return one
    return None
