"""What a client is told about a call that failed: the texts of Microsoft's server, which clients show and match.

A protocol that has room for it tells code and message apart instead, see ``CallError``.
"""

from typing import Final, NamedTuple

from protocol.errors import (
    AuricleError,
    BadArgument,
    HubError,
    HubException,
    NotAllowed,
    Overloaded,
    Unavailable,
    Unreadable,
)

__all__ = [
    "CallCancelled",
    "CallError",
    "does_not_stream",
    "in_use",
    "of_call",
    "streams",
    "unknown",
    "while_streaming",
]


class CallError(NamedTuple):
    """``text`` is all of it, as SignalR clients read it; ``code`` is stable, ``message`` is for people."""

    text: str
    code: str
    message: str
    retryable: bool = False


class CallCancelled(AuricleError):
    """The client wanted no result any more; what it is told is what any failure is told, as .NET's server does."""


_NO_DETAILS: Final = "an unexpected error occurred on the server"


def of_call(target: str, error: Exception, *, explains_arguments: bool) -> CallError:
    """What is told of an error that a method, its binding or its policy raised."""
    if isinstance(error, NotAllowed):
        return CallError(
            f"Failed to invoke '{target}' because user is unauthorized", error.code, "the caller may not call this"
        )
    if isinstance(error, BadArgument):
        if explains_arguments:
            return _told(_failed(target, _detail(error)), error)
        return CallError(_failed(target), error.code, "the arguments do not fit the method")
    return _told(f"An unexpected error occurred invoking '{target}' on the server. {_detail(error)}".rstrip(), error)


def while_streaming(error: Exception) -> CallError:
    """What is told of an error after the first item could have been sent."""
    return _told(f"An error occurred on the server while streaming results. {_detail(error)}".rstrip(), error)


def unknown(target: str) -> CallError:
    """The hub has no such method."""
    text = _failed(target, "HubException: Method does not exist.")
    return CallError(text, "unknown_method", "there is no such method")


def streams(target: str) -> CallError:
    """A streaming method was called for one result."""
    text = f"The client attempted to invoke the streaming '{target}' method with a non-streaming invocation."
    return CallError(text, "streams", "the method streams")


def does_not_stream(target: str) -> CallError:
    """A plain method was called for a stream."""
    text = f"The client attempted to invoke the non-streaming '{target}' method with a streaming invocation."
    return CallError(text, "does_not_stream", "the method has one result")


def in_use(invocation_id: str) -> CallError:
    """A stream of that id runs already."""
    return CallError(f"Invocation ID '{invocation_id}' is already in use.", "id_in_use", "the id is in use already")


def _told(text: str, error: Exception) -> CallError:
    if not isinstance(error, HubError):
        return CallError(text, AuricleError.code, _NO_DETAILS)
    may_help = isinstance(error, Unavailable | Overloaded) and not isinstance(error, Unreadable)
    return CallError(text, error.code, _public(error), may_help)


def _failed(target: str, detail: str = "") -> str:
    return f"Failed to invoke '{target}' due to an error on the server. {detail}".rstrip()


def _detail(error: Exception) -> str:
    """Only errors made for clients have one, and those of the contract their code before the text."""
    if not isinstance(error, HubError):
        return ""
    text = _public(error)
    return f"HubException: {text}" if isinstance(error, HubException) else f"HubException: [{error.code}] {text}"


def _public(error: HubError) -> str:
    # Half of a surrogate pair, which a text of Python's can hold, has no encoding on the wire.
    return error.public_message.encode("utf-8", "replace").decode()
