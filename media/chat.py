"""What is written in a visit: messages, how far somebody has read, and when his sleeping phone is woken for more.

What people write there is about their health, so a message does not show it when it is printed. Time is given. Read
``Message`` first, then ``judge``.
"""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from protocol.contract.chat import Attachment, MessageView
from protocol.contract.times import iso_ms

from .visit import Participant, Right, Visit

__all__ = ["ChatTimes", "Look", "Message", "Reader", "due_at_s", "is_same", "judge", "may_read", "may_write", "view"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message. ``n`` counts those of its visit from 1, ``client_id`` is its writer's own name of it."""

    visit: str
    n: int
    id: str
    participant: str
    client_id: str
    at_s: float
    text: str = field(repr=False)
    attachments: tuple[Attachment, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Reader:
    """How far a participant has read, and when his phone is due to be woken, None for never.

    ``tries``: how often that was tried in vain. ``pushed_at_s``: when it was woken last. Times are Unix seconds.
    """

    visit: str
    participant: str
    read_to: int = 0
    due_at_s: float | None = None
    tries: int = 0
    pushed_at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ChatTimes:
    """Seconds. ``push_after_s``: who is there has read a message by then. ``push_every_s``: no phone is woken more
    often. ``look_again_s``: when somebody was there after all, and when the push service is away.
    """

    push_after_s: float = 5.0
    push_every_s: float = 300.0
    look_again_s: float = 60.0


def may_read(person: Participant) -> bool:
    """Whoever was let in; and the patient, who is written to before the visit as well."""
    return person.admission == "admitted" or person.role == "patient"


def may_write(person: Participant) -> bool:
    """The same, as far as the role writes at all."""
    return person.may(Right.WRITE) or person.role == "patient"


def is_same(one: Message, other: Message) -> bool:
    """Whether both say the same: one name must not stand for two messages."""
    return (one.text, one.attachments) == (other.text, other.attachments)


def view(message: Message) -> MessageView:
    """A message as it is shown."""
    return MessageView(
        id=message.id,
        n=message.n,
        participant=message.participant,
        client_id=message.client_id,
        at=iso_ms(message.at_s),
        text=message.text,
        attachments=message.attachments,
    )


def due_at_s(reader: Reader, *, now_s: float, times: ChatTimes) -> float:
    """When the phone of somebody is to be woken who is written to now."""
    return max(now_s + times.push_after_s, reader.pushed_at_s + times.push_every_s)


# ``drop``: there is nothing to wake the phone for. ``wait``: he is there, and may yet read it.
Look: TypeAlias = Literal["push", "wait", "drop"]


def judge(visit: Visit | None, reader: Reader, *, last_n: int) -> Look:
    """Whether a phone that is due is woken."""
    person = None if visit is None or visit.is_over else visit.find(reader.participant)
    if person is None or reader.read_to >= last_n:
        return "drop"
    return "wait" if person.connections else "push"
