"""What the dispatcher needs of a connection, and nothing more."""

from typing import Protocol

from protocol.signalr.codec import Codec
from protocol.signalr.messages import Completion, Invocation, StreamInvocation, StreamItem

from .auth import Principal
from .call_errors import CallError
from .flow import Flow
from .hub import Caller
from .lanes import Lanes
from .streams import RunningStream, Uploads
from .tasks import TaskSet

__all__ = ["DispatchSession"]


class DispatchSession(Protocol):
    """A connection while its calls run. ``streams`` are its running streams to the client by invocation id."""

    connection_id: str
    caller: Caller
    tasks: TaskSet
    flow: Flow
    lanes: Lanes
    uploads: Uploads
    streams: dict[str, RunningStream]

    @property
    def principal(self) -> Principal: ...
    @property
    def codec(self) -> Codec: ...
    def complete(self, message: Completion | StreamItem) -> None: ...
    def answer(self, invocation_id: str, result: object) -> None: ...
    def fail(self, invocation_id: str, error: CallError) -> None: ...
    def stream_of(self, message: Invocation) -> StreamInvocation | None:
        """The call for a stream that a plain call is in a protocol that has no other, None if it is none."""
        ...

    def resolve(self, completion: Completion) -> None: ...
    async def writable(self) -> None: ...
