"""What a phone does, step by step, as lines that another process can read while it happens and after it was killed.

One JSON object a line, ``{"t", "p", "type", "f", "dev", "v"}``: ``t`` is CLOCK_MONOTONIC in nanoseconds, ``f`` the
step, ``v`` what is known of it. Every line is written at once and whole. Digests, numbers and public ids of
connections only: no values of a fitting, no token, no name. The tripwire kills this very process right after a named
step, for the tests of crashes. Read ``EventLog.write`` first.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from msgspec import UNSET

from clients.virtual_aid.aid import AidChange
from fitting.digest import ear_digest
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import AttachAnswer, AttachDevice, Offer, Report, Settled
from protocol.contract.fitting import Base, Digests
from protocol.contract.sessions import Withdraw

__all__ = ["EventLog", "Tripwire", "parse_kill"]

_AID_STEPS: Final = {"chunk": "chunk", "written": "side_commit", "restored": "restore", "rebooted": "reboot"}


def parse_kill(text: str) -> tuple[str, int]:
    """``STEP:N``: die right after that step has happened for the N-th time. Raises ValueError."""
    step, found, count = text.rpartition(":")
    if not found or not count.isdecimal() or int(count) < 1:
        raise ValueError(f"{text!r} is not STEP:N, for example journal.writing:right:1 or chunk.left:3")
    return step, int(count)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)


class Tripwire:
    """Ends the process as a step is reached for the n-th time; the empty step is never reached."""

    def __init__(self, step: str = "", count: int = 0, *, die: Callable[[], None] = _die) -> None:
        self._step, self._count, self._die = step, count, die
        self._seen: Counter[str] = Counter()

    def reach(self, *steps: str) -> None:
        """Names of one and the same step, from general to exact."""
        for step in steps:
            self._seen[step] += 1
            if (step, self._seen[step]) == (self._step, self._count):
                self._die()


class EventLog:
    """Writes to a file descriptor, or nowhere with -1. ``device`` is whose aids they are, ``process`` who writes.

    It is the ``Watch`` of a phone; ``touched`` is the ``on_change`` of its virtual aids.
    """

    def __init__(
        self,
        file: int,
        *,
        device: str,
        process: str = "phone",
        wire: Tripwire | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._file, self._device, self._process = file, device, process
        self._wire, self._clock_ns = wire or Tripwire(), clock_ns
        self._key: dict[str, Any] = {}
        self._is_back: set[Ear] = set()

    def __call__(self, what: str, /, **facts: Any) -> None:
        """A step of the phone."""
        if what == "operation":
            self._is_back = (self._is_back - {facts["ear"]}) | ({facts["ear"]} if facts["is_back"] else set())
            return
        values = dict(_flat(facts))
        if what == "journal":
            self._key = {} if values["phase"] == "ended" else {"epoch": values["epoch"], "seq": values["seq"]}
        detail = values.get("phase") or values.get("state") or ""
        self.write(what, *([f"{what}.{detail}"] if detail else []), **values)

    def touched(self, change: AidChange) -> None:
        """A memory of an aid has changed."""
        step = _AID_STEPS.get(change.what, "side_commit")
        if change.what == "committed" and change.ear in self._is_back:
            step = "restore"
        count = {"k": change.chunk} if step == "chunk" else {}
        facts = {"ear": change.ear, "memory": change.memory, "digest": ear_digest(change.image)}
        self.write(step, f"{step}.{change.ear}", f"{step}.{change.memory}.{change.ear}", **facts, **count, **self._key)

    def write(self, step: str, *exact: str, **values: Any) -> None:
        """One line, then the tripwire."""
        if self._file >= 0:
            line = {
                "t": self._clock_ns(),
                "p": self._process,
                "type": "ok",
                "f": step,
                "dev": self._device,
                "v": values,
            }
            os.write(self._file, msgspec.json.encode(line) + b"\n")
        self._wire.reach(step, *exact)


def _flat(facts: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What is worth a line of each payload."""
    for name, value in facts.items():
        if isinstance(value, Offer):
            yield from _of_offer(value)
        elif isinstance(value, Report | Settled | Withdraw):
            yield from msgspec.to_builtins(value).items()
        elif isinstance(value, AttachDevice):
            yield from {"epoch": value.epoch, "last_terminal": value.last_terminal, "trial": value.trial}.items()
            yield "fence_max", value.fence_max
        elif isinstance(value, AttachAnswer):
            yield from {"epoch": value.epoch, "from_seq": value.from_seq, "gen": value.generation}.items()
            yield "resume", value.resume
        else:
            yield name, value


def _of_offer(offer: Offer) -> Iterator[tuple[str, Any]]:
    yield from {"epoch": offer.epoch, "seq": offer.seq, "after": offer.after, "attempt": offer.attempt}.items()
    yield from {"kind": offer.kind, "mode": offer.mode, "fence": offer.fence, "rev": offer.revision_id}.items()
    yield "ears", [ear for ear in EARS if getattr(offer.target, ear) is not UNSET]
    yield "base", _by_ear(offer.base)
    yield "expect", _by_ear(offer.body.expect)
    yield "body_hash", offer.body_hash


def _by_ear(digests: Base | Digests) -> dict[str, str]:
    known = {"right": digests.right, "left": digests.left}
    return {ear: digest for ear, digest in known.items() if digest is not UNSET}
