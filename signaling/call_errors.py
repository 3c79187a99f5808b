"""What a client is told about a call that failed: the texts of Microsoft's server, which clients show and match."""

from protocol.errors import AuricleError, BadArgument, HubError, HubException, NotAllowed

__all__ = ["CallCancelled", "does_not_stream", "of_call", "streams", "unknown", "while_streaming"]


class CallCancelled(AuricleError):
    """The client wanted no result any more; what it is told is what any failure is told, as .NET's server does."""


def of_call(target: str, error: Exception, *, explains_arguments: bool) -> str:
    """The text of an error that a method, its binding or its policy raised."""
    if isinstance(error, NotAllowed):
        return f"Failed to invoke '{target}' because user is unauthorized"
    if isinstance(error, BadArgument):
        return _failed(target, _detail(error) if explains_arguments else "")
    return f"An unexpected error occurred invoking '{target}' on the server. {_detail(error)}".rstrip()


def while_streaming(error: Exception) -> str:
    """The text of an error after the first item could have been sent."""
    return f"An error occurred on the server while streaming results. {_detail(error)}".rstrip()


def unknown(target: str) -> str:
    """The hub has no such method."""
    return _failed(target, "HubException: Method does not exist.")


def streams(target: str) -> str:
    """A streaming method was called for one result."""
    return f"The client attempted to invoke the streaming '{target}' method with a non-streaming invocation."


def does_not_stream(target: str) -> str:
    """A plain method was called for a stream."""
    return f"The client attempted to invoke the non-streaming '{target}' method with a streaming invocation."


def _failed(target: str, detail: str) -> str:
    return f"Failed to invoke '{target}' due to an error on the server. {detail}".rstrip()


def _detail(error: Exception) -> str:
    """Only errors made for clients have one, and those of the contract their code before the text."""
    if not isinstance(error, HubError):
        return ""
    # Half of a surrogate pair, which a text of Python's can hold, has no encoding on the wire.
    text = error.public_message.encode("utf-8", "replace").decode()
    return f"HubException: {text}" if isinstance(error, HubException) else f"HubException: [{error.code}] {text}"
