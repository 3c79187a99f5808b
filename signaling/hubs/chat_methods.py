"""The part of the care hub that is about what is written in visits: a base class of it."""

from collections.abc import Mapping
from typing import Final

from protocol.contract.base import Failure
from protocol.contract.chat import MarkRead, MessageSent, ReadTo, SendMessage, SendText, SetTyping
from protocol.contract.sessions import Done
from signaling.flows.chat import ChatFlow
from signaling.hub import Caller, hub_method
from signaling.policy import Relation, Rule

__all__ = ["CHAT_POLICY", "ChatMethods"]

_ROLES: Final = ("clinician", "assistant", "patient", "representative", "guest")
_IN_VISIT: Final = Rule(dict.fromkeys(_ROLES, Relation.PARTICIPANT), "visit")
# Of connections that are in the visit already, which is asked of memory.
_SEATED: Final = Rule(dict.fromkeys(_ROLES, Relation.ANY))
CHAT_POLICY: Final[Mapping[str, Rule]] = {
    "SendMessage": _IN_VISIT,
    "MarkRead": _IN_VISIT,
    "SetTyping": _SEATED,
    "SendText": _SEATED,
}


class ChatMethods:
    """Methods of the care hub. ``_chat`` is given to it by the hub."""

    _chat: ChatFlow

    @hub_method("SendMessage")
    async def send_message(self, caller: Caller, request: SendMessage) -> MessageSent | Failure:
        """Write to everybody in the visit; it is stored when this is answered."""
        self._chat.spend(caller, request.visit)
        return await self._chat.write(caller.principal, request)

    @hub_method("MarkRead")
    async def mark_read(self, caller: Caller, request: MarkRead) -> ReadTo:
        """Everything up to a message has been read."""
        self._chat.spend(caller, request.visit)
        return await self._chat.mark_read(caller.principal, request)

    @hub_method("SetTyping")
    def set_typing(self, caller: Caller, request: SetTyping) -> Done:
        """Tell the others in the visit that the caller is writing, or not any more."""
        return self._chat.typing(caller, request)

    @hub_method("SendText")
    def send_text(self, caller: Caller, request: SendText) -> Done:
        """Real-time text: a group of keystrokes, for those who read along; it is not kept."""
        return self._chat.text(caller, request)
