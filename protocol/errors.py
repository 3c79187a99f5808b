"""Every error that Auricle raises on purpose, sorted by cause.

    AuricleError
    ├── ProtocolError            somebody broke a wire protocol
    │   ├── LocalProtocolError   we did: a bug of ours, never of the peer
    │   └── RemoteProtocolError  the peer did: its connection ends
    │       ├── MessageTooLarge  with more than it may send at a time
    │       │   ├── TooManyAttachments   of one packet
    │       │   ├── AttachmentsTooLarge  of one packet together
    │       │   └── TooManyPackets       in one body
    │       ├── MessageTooDeep   with values inside values inside values
    │       ├── TooManyKeys      in the objects of one message
    │       └── NumberTooLong    in one message
    ├── HubError                 a call that failed; its text crosses the wire
    │   ├── HubException         the method's own words, with no code
    │   ├── BadArgument          the arguments do not fit the method
    │   ├── NotAllowed           the caller may not call this method at all
    │   ├── NotFound             the object is unknown or not the caller's: both look the same
    │   ├── Unavailable          a peer or a store is away; trying again may help
    │   │   ├── StorageFull      there is no room to write anything down
    │   │   ├── UnknownOutcome   it may have happened or not; the same call with the same key tells
    │   │   └── Unreadable       what is kept of this one device cannot be read; all others go on
    │   └── Overloaded           a bound was reached
    └── Unauthenticated          no token, or not a good one

Only ``code`` and ``public_message`` may cross the wire. Refusals of the domain (an unsafe gain, a
stale base) are not errors: they are results, see ``protocol.contract.base.Refusal``.
"""

from typing import ClassVar

__all__ = [
    "AttachmentsTooLarge",
    "AuricleError",
    "BadArgument",
    "HubError",
    "HubException",
    "LocalProtocolError",
    "MessageTooDeep",
    "MessageTooLarge",
    "NotAllowed",
    "NotFound",
    "NumberTooLong",
    "Overloaded",
    "ProtocolError",
    "RemoteProtocolError",
    "StorageFull",
    "TooManyAttachments",
    "TooManyKeys",
    "TooManyPackets",
    "Unauthenticated",
    "Unavailable",
    "UnknownOutcome",
    "Unreadable",
]


class AuricleError(Exception):
    """The root; ``code`` is stable and safe to show, ``public_message`` is for people."""

    code: ClassVar[str] = "internal"

    def __init__(self, public_message: str = "") -> None:
        super().__init__(public_message)
        self.public_message = public_message


class ProtocolError(AuricleError):
    """A wire protocol was broken; ``public_message`` says how, for detailed errors and tests."""

    code = "protocol_error"


class LocalProtocolError(ProtocolError):
    """This side asked for something that its own state forbids: a bug here."""

    code = "local_protocol_error"


class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol forbids; the connection cannot go on."""

    code = "remote_protocol_error"


class MessageTooLarge(RemoteProtocolError):
    """The peer's message is larger than the limit."""

    code = "message_too_large"


class TooManyAttachments(MessageTooLarge):
    """The peer's packet announces more attachments than the limit, or a binary one none."""

    code = "too_many_attachments"


class AttachmentsTooLarge(MessageTooLarge):
    """The attachments of the peer's packet are larger together than the limit."""

    code = "attachments_too_large"


class TooManyPackets(MessageTooLarge):
    """The peer joins more packets into one body than the limit."""

    code = "too_many_packets"


class MessageTooDeep(RemoteProtocolError):
    """The peer's message has more arrays and objects inside each other than the limit."""

    code = "message_too_deep"


class TooManyKeys(RemoteProtocolError):
    """The objects of the peer's message have more keys together than the limit."""

    code = "too_many_keys"


class NumberTooLong(RemoteProtocolError):
    """The peer's message writes a number with more characters than the limit."""

    code = "number_too_long"


class HubError(AuricleError):
    """A call that failed in a way the caller may know of.

    On SignalR the completion reads ``... HubException: [code] message``.
    """

    code = "hub_error"


class HubException(HubError):
    """An error whose text reaches the client as it is, with no code of ours before it."""


class BadArgument(HubError):
    """The arguments do not fit the method: wrong count, type, range or an unknown field."""

    code = "bad_argument"


class NotAllowed(HubError):
    """No role of the caller may call this method, whatever the object."""

    code = "not_allowed"


class NotFound(HubError):
    """The object does not exist, or is not the caller's: one answer for both."""

    code = "not_found"


class Unavailable(HubError):
    """A peer or a store cannot be reached; the same call may succeed later."""

    code = "unavailable"


class StorageFull(Unavailable):
    """There is no room left to write anything down; what is there can still be read."""

    code = "storage_full"


class UnknownOutcome(Unavailable):
    """The answer to a write was lost: it may have happened. The same call with the same key tells, and does no harm."""

    code = "unknown_outcome"


class Unreadable(Unavailable):
    """What is kept of one device is damaged, or was written by a newer version: only its operators can help."""

    code = "unreadable"


class Overloaded(HubError):
    """A configured bound was reached; slow down."""

    code = "overloaded"


class Unauthenticated(AuricleError):
    """The request carries no token, or one that is altered, expired or of another issuer."""

    code = "unauthenticated"
