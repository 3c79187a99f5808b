"""What must come of a client's messages: a second, much simpler opinion than the connection's own.

Microsoft's rules of what is ignored and what closes, and the numbering of stateful reconnect. It must not know bytes.
Read ``Oracle.expect`` first.
"""

from .steps import Meaning

__all__ = ["ENDS", "Oracle"]

NAMES = {1: "Invocation", 2: "StreamItem", 3: "Completion", 4: "StreamInvocation", 5: "CancelInvocation"}
ENDS = frozenset({"Broken", "PeerClosed", "Refused", "TimedOut"})


class Oracle:
    """Follows one open connection. ``knows`` is False from the first damaged bytes on: all may follow these."""

    def __init__(self, *, stateful: bool) -> None:
        self._stateful = stateful
        self._awaits_sequence = False
        self._highest = 0
        self._next = 1
        self.sent = 0
        self.knows = True
        self.ended = False

    def expect(self, meaning: Meaning | None) -> list[str]:
        """The names of the events that a piece must bring about."""
        if self.ended or not self.knows:
            return []
        if meaning is None:
            self.knows = False
            return []
        # A broken message is one whether or not somebody waits for a Sequence.
        if meaning.what == "break":
            return self._end("Broken")
        if not self._stateful:
            return self._plain(meaning)
        return self._numbered(meaning)

    def lost(self) -> None:
        """The socket has gone, or another has come."""
        self._awaits_sequence = True

    def _plain(self, meaning: Meaning) -> list[str]:
        if meaning.what == "close":
            return self._end("PeerClosed")
        return [NAMES[meaning.number]] if meaning.what == "message" else []

    def _numbered(self, meaning: Meaning) -> list[str]:
        if meaning.what == "sequence":
            if not 1 <= meaning.number <= self._highest + 1:
                return self._end("Broken")
            self._next = meaning.number
            self._awaits_sequence = False
            return []
        if self._awaits_sequence:
            return []
        if meaning.what == "ack":
            return self._end("Broken") if meaning.number > self.sent else []
        if meaning.what == "message":
            number, self._next = self._next, self._next + 1
            if number <= self._highest:
                return []
            self._highest = number
        return self._plain(meaning)

    def _end(self, name: str) -> list[str]:
        self.ended = True
        return [name]
