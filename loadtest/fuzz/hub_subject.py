"""The whole state machine of a hub connection against the oracle: messages, time, loss and return of the socket.

Read ``Hubs.run`` first.
"""

import random
from collections.abc import Sequence
from typing import Final

from protocol.errors import LocalProtocolError
from protocol.signalr.codec import CODECS
from protocol.signalr.connection import Broken, HubConnection, HubLimits, Opened, TimedOut
from protocol.signalr.messages import Close, Invocation
from protocol.signalr.resume import TRACKABLE

from .hub_input import HubInput
from .oracle import ENDS, Oracle
from .steps import Meaning, Step, Wrong, chunks

__all__ = ["Hubs"]

LIMITS: Final = HubLimits(max_message_bytes=2_048, resume_buffer_bytes=500)
MAX_STEPS: Final = 30
STEPS: Final = ("data", "tick", "send", "detach", "attach")
ALLOWED_BY_TICK: Final = {"KeepAliveDue", "AckDue", "TimedOut"}


class Hubs:
    """One connection with its clock; ``open`` is always its first step."""

    name = "hub"

    def steps(self, rng: random.Random) -> list[Step]:
        """See ``Subject``."""
        protocol = rng.choice(("json", "messagepack"))
        stateful = rng.random() < 0.5
        made = HubInput(
            "json" if protocol == "json" else "messagepack", rng, max_message_bytes=LIMITS.max_message_bytes
        )
        hello = f'{{"protocol":"{protocol}","version":{2 if stateful else 1}}}\x1e'.encode()
        steps = [Step("open", hello, Meaning(protocol, int(stateful)))]
        weights = (12, 2, 2, 1, 1) if stateful else (12, 1, 1, 0.1, 0.1)
        for do in rng.choices(STEPS, weights, k=rng.randint(1, MAX_STEPS)):
            if do == "data":
                steps.append(made.step())
            else:
                steps.append(Step(do, seconds=rng.choice((0.5, 1.0, 15.0, 16.0, 31.0)) if do == "tick" else 0.0))
            if do == "attach" and rng.random() < 0.8:
                steps.append(made.sequence(1))
        return steps

    def run(self, steps: Sequence[Step], rng: random.Random) -> None:
        """See ``Subject``."""
        first = steps[0] if steps else None
        if first is None or first.do != "open" or first.meaning is None:
            return
        ride = _Ride(first.meaning.what, stateful=bool(first.meaning.number), hello=first.data)
        pending: list[Step] = []
        for step in steps[1:]:
            if step.do == "data":
                pending.append(step)
                continue
            ride.read(pending, rng)
            pending.clear()
            ride.do(step)
        ride.read(pending, rng)
        ride.leave()


class _Ride:
    """A connection and the oracle beside it."""

    def __init__(self, protocol: str, *, stateful: bool, hello: bytes) -> None:
        self._codec = CODECS[protocol]
        self._connection = HubConnection(LIMITS, now=0.0, stateful=stateful)
        self._oracle = Oracle(stateful=stateful)
        self._stateful = stateful
        self._now = self._heard_at = self._lost_at = 0.0
        self._attached = True
        self._ended = False
        (opened,) = self._connection.receive_data(hello, 0.0)
        if not isinstance(opened, Opened):
            raise Wrong(f"a good handshake gave {opened!r:.80}")

    def read(self, steps: Sequence[Step], rng: random.Random) -> None:
        """Messages arrive, joined and cut as it happens."""
        expected: list[str] = []
        if self._attached and steps:
            for step in steps:
                expected += self._oracle.expect(step.meaning)
            self._heard_at = self._now
        names: list[str] = []
        for chunk in chunks(b"".join(step.data for step in steps), rng):
            for event in self._connection.receive_data(chunk, self._now):
                names.append(type(event).__name__)
                self._check(event)
        known = names if self._oracle.knows else names[: len(expected)]
        if known != expected:
            raise Wrong(f"expected {expected}, got {names}")

    def do(self, step: Step) -> None:
        """Anything but messages."""
        match step.do:
            case "tick":
                self._now += step.seconds
                self._tick()
            case "send":
                self._send()
            case "detach" if self._attached:
                comes_back = self._connection.detach(self._now)
                if self._oracle.knows and comes_back != (self._stateful and not self._ended):
                    raise Wrong(f"detach said {comes_back}")
                self._attached, self._lost_at = False, self._now
                self._ended = self._ended or not comes_back
                self._oracle.lost()
            case "attach":
                self._attach()

    def leave(self) -> None:
        """Behind the end there is silence, and closing twice is closing once."""
        self._connection.close()
        again = (
            self._connection.close(),
            self._connection.receive_data(b"x\x1e", self._now),
            self._connection.tick(1e9),
        )
        if again != (b"", [], []):
            raise Wrong(f"a closed connection said {again!r:.80}")

    def _check(self, event: object) -> None:
        if self._ended:
            raise Wrong(f"{type(event).__name__} came behind the end")
        self._ended = type(event).__name__ in ENDS
        if isinstance(event, Broken):
            self._check_goodbye(event.reply)
        elif isinstance(event, TRACKABLE):
            self._codec.encode(event)

    def _check_goodbye(self, reply: bytes) -> None:
        end = 1 if self._codec.binary else 0
        close = self._codec.decode(reply[end:] if end else reply[:-1])
        if close != Close("Connection closed with an error.", allow_reconnect=True):
            raise Wrong(f"the goodbye was {close!r:.80}")

    def _tick(self) -> None:
        for event in self._connection.tick(self._now):
            if type(event).__name__ not in ALLOWED_BY_TICK or (not self._stateful and "Ack" in type(event).__name__):
                raise Wrong(f"a tick made {type(event).__name__}")
            self._check(event)
            if isinstance(event, TimedOut):
                since = self._lost_at if event.which == "resume" else self._heard_at
                least = LIMITS.disconnect_timeout_s if event.which == "resume" else LIMITS.client_timeout_s
                if self._now - since < least:
                    raise Wrong(f"gave the {event.which} up after {self._now - since} s")
                self._oracle.ended = True

    def _send(self) -> None:
        if self._ended or not self._connection.can_send:
            return
        frame = self._codec.encode(Invocation("m", ("x" * 100,)))
        written = self._connection.outgoing(frame)
        if written != (frame if self._attached or not self._stateful else b""):
            raise Wrong("a message was written into a lost socket, or not at all")
        self._oracle.sent += 1

    def _attach(self) -> None:
        try:
            written = self._connection.attach(self._now)
        except LocalProtocolError:
            if self._stateful and not self._ended:
                raise Wrong("a connection that is open cannot be resumed") from None
            return
        if not self._stateful or self._ended:
            raise Wrong("a connection that has ended was resumed")
        if len(written) > LIMITS.resume_buffer_bytes + 300:
            raise Wrong(f"a replay of {len(written)} bytes")
        self._attached, self._heard_at, self._lost_at = True, self._now, self._now
        self._oracle.lost()
