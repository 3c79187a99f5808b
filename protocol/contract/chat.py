"""What is written in a visit: messages, which are kept, and keystrokes, which are only passed on.

What people write there is about their health. It is in no log, metric, error, address or push notification, so these
payloads do not show it when they are printed either.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta

from .base import NO_NUL, Answer, Id, Ordinal, StrictWire, Wire

__all__ = [
    "MAX_ATTACHMENTS",
    "MAX_ATTACHMENT_BYTES",
    "MAX_TEXT_CHARS",
    "Attachment",
    "LiveText",
    "MarkRead",
    "MessageReceived",
    "MessageSent",
    "MessageText",
    "MessageView",
    "MessagesRead",
    "NewAttachment",
    "ReadTo",
    "ReadUpTo",
    "SendMessage",
    "SendText",
    "SetTyping",
    "Typing",
    "WriteMessage",
]

MAX_TEXT_CHARS: Final = 4_000
MAX_ATTACHMENTS: Final = 5
MAX_ATTACHMENT_BYTES: Final = 20_971_520

MessageText = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_CHARS, pattern=NO_NUL)]
MediaType = Literal[
    "application/pdf",
    "audio/mp4",
    "audio/mpeg",
    "audio/wav",
    "image/jpeg",
    "image/png",
    "image/webp",
    "text/plain",
    "video/mp4",
]


class _Private(Wire, frozen=True, kw_only=True):
    def __repr__(self) -> str:
        """What somebody has written must not reach a log through a struct's text."""
        return f"{type(self).__name__}(...)"


class Attachment(_Private, frozen=True, kw_only=True):
    """Something that is kept elsewhere: ``ref`` is the name of it there, which the server neither reads nor follows."""

    ref: Annotated[str, Meta(min_length=1, max_length=512, pattern=NO_NUL)]
    name: Annotated[str, Meta(min_length=1, max_length=200, pattern=NO_NUL)]
    media_type: MediaType
    size_bytes: Annotated[int, Meta(ge=1, le=MAX_ATTACHMENT_BYTES)]


class NewAttachment(Attachment, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An attachment over REST, where nothing that is sent is ignored."""

    def __repr__(self) -> str:
        """As the others."""
        return "NewAttachment(...)"


class SendMessage(_Private, frozen=True, kw_only=True):
    """Write to everybody in the visit. ``clientId`` is the caller's own name of the message: sent again with the same
    one it is there once, and gets its first answer.
    """

    visit: Id
    client_id: Id
    text: MessageText
    attachments: Annotated[tuple[Attachment, ...], Meta(max_length=MAX_ATTACHMENTS)] = ()


class WriteMessage(StrictWire, frozen=True, kw_only=True):
    """``SendMessage`` over REST, where the visit is in the path."""

    client_id: Id
    text: MessageText
    attachments: Annotated[tuple[NewAttachment, ...], Meta(max_length=MAX_ATTACHMENTS)] = ()

    def __repr__(self) -> str:
        """As the others."""
        return "WriteMessage(...)"


class MessageSent(Answer, frozen=True, kw_only=True):
    """It is stored. ``n`` counts the messages of the visit from 1."""

    id: str
    n: int
    at: str


class MessageView(_Private, frozen=True, kw_only=True):
    """One message. ``participant`` wrote it; ``n`` counts the messages of the visit from 1, without a gap."""

    id: str
    n: int
    participant: str
    client_id: str
    at: str
    text: str
    attachments: tuple[Attachment, ...] = ()


class MessageReceived(_Private, frozen=True, kw_only=True):
    """To everybody in the visit. A gap in ``n`` means that one was missed: join again, or read it over REST."""

    visit: str
    message: MessageView


class MarkRead(Wire, frozen=True, kw_only=True):
    """The caller has read all messages up to number ``n``."""

    visit: Id
    n: Ordinal


class ReadUpTo(StrictWire, frozen=True, kw_only=True):
    """``MarkRead`` over REST, where the visit is in the path."""

    n: Ordinal


class ReadTo(Answer, frozen=True, kw_only=True):
    """How far the caller has read: never less than before. ``unread`` counts what others have written since."""

    n: int
    unread: int


class MessagesRead(Wire, frozen=True, kw_only=True):
    """To everybody in the visit: somebody has read up to ``n``."""

    visit: str
    participant: str
    n: int


class SetTyping(Wire, frozen=True, kw_only=True):
    """The caller is writing, or not any more."""

    visit: Id
    typing: bool


class Typing(Wire, frozen=True, kw_only=True):
    """To the others in the visit; over after ``forMs`` unless it is said again."""

    visit: str
    participant: str
    typing: bool
    for_ms: int


class SendText(_Private, frozen=True, kw_only=True):
    """A group of keystrokes, for those who cannot hear the call and wish to read along: passed on, never kept.

    ``n`` counts the groups of one writer, so that a gap shows; ``erase`` characters before the cursor go first.
    """

    visit: Id
    n: Ordinal
    text: Annotated[str, Meta(max_length=200, pattern=NO_NUL)] = ""
    erase: Annotated[int, Meta(ge=0, le=MAX_TEXT_CHARS)] = 0


class LiveText(_Private, frozen=True, kw_only=True):
    """To those in the visit who asked for it when they joined: what somebody is typing."""

    visit: str
    participant: str
    n: int
    text: str
    erase: int
