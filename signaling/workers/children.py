"""The processes behind the table: a worker, the embedded Valkey, and what is done to either.

This module must not know why a child is to start or to end. Read ``Child.look`` first.
"""

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from signaling.config_environ import environ_of_worker
from signaling.log import LogBook

from .charge import Charge, ChildNews, News
from .guard import Guard
from .line import SupervisorEnd
from .plan import Act, ChildEvent, ChildLimits, ChildState, Life, begin, step
from .valkey import EmbeddedValkey

__all__ = ["Child", "ValkeyKind", "WorkerKind"]

# By where a child was when it was killed: the field of the configuration.
_BOUNDS: Final = {
    ChildState.STARTING: "worker_start_s",
    ChildState.UP: "worker_hang_s",
    ChildState.DRAINING: "worker_end_s",
}
# More than that after something was due, and nobody looked in time.
_LATE_S: Final = 1.0


class Kind(Protocol):
    """What a child is."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    def start(self, guard: Guard) -> "subprocess.Popen[bytes]":
        """Start its process. Raises OSError."""
        ...

    def is_ready(self) -> bool:
        """Whether it does its work."""
        ...


class ValkeyKind:
    """The embedded Valkey."""

    name = "valkey"

    def __init__(self, valkey: EmbeddedValkey) -> None:
        self._valkey = valkey

    def start(self, guard: Guard) -> "subprocess.Popen[bytes]":
        """See ``Kind``."""
        self._valkey.path.unlink(missing_ok=True)
        with self._valkey.log.open("wb") as log:
            return guard.start(self._valkey.command(), output=log)

    def is_ready(self) -> bool:
        """See ``Kind``."""
        return self._valkey.answers()


class WorkerKind:
    """A worker: the program that was started, started again, with a charge in its environment."""

    def __init__(self, charge: Charge) -> None:
        self._charge = charge
        self._line: SupervisorEnd | None = None
        self.internal = ""

    @property
    def name(self) -> str:
        """See ``Kind``."""
        return f"worker {self.number}"

    @property
    def number(self) -> int:
        """From 0."""
        return self._charge.worker

    def start(self, guard: Guard) -> "subprocess.Popen[bytes]":
        """See ``Kind``."""
        if self._line is not None:
            self._line.close()
        self.internal = ""
        line = self._line = SupervisorEnd()
        charge = msgspec.json.encode(msgspec.structs.replace(self._charge, line=line.lent)).decode()
        # Whatever program it was that called ``serve``: it has the hubs.
        command = [sys.executable, *sys.orig_argv[1:]]
        try:
            return guard.start(command, watches_itself=True, lent=(line.lent,), environ=environ_of_worker(charge))
        finally:
            line.lend_out()

    def is_ready(self) -> bool:
        """See ``Kind``."""
        ready = None if self._line is None else self._line.ready()
        if ready is None:
            return False
        self.internal = ready.internal
        return True

    def tell(self, news: News) -> bool:
        """False when it has not listened for too long."""
        return self._line is None or self._line.tell(news)


@dataclass(slots=True)
class Child:
    """One child through all its processes. ``reached`` is told which bound ended one of them."""

    kind: WorkerKind | ValkeyKind
    limits: ChildLimits
    guard: Guard
    log: LogBook
    reached: Callable[[str], None]
    life: Life | None = None
    process: "subprocess.Popen[bytes] | None" = None
    code: int = 0
    has_failed_to_start: bool = False

    @property
    def state(self) -> ChildState:
        """One that was never started is gone."""
        return ChildState.GONE if self.life is None else self.life.state

    @property
    def due_s(self) -> float | None:
        """When it must be looked at again, whatever happens."""
        return None if self.life is None else self.life.due_s

    def begin(self, now_s: float) -> None:
        """Start it for the first time."""
        self.life = begin(now_s, self.limits)
        self._start(now_s)

    def look(self, now_s: float) -> bool:
        """Notice what has happened, and do what follows; True when the server must end for it."""
        process = self.process
        if self.has_failed_to_start or (process is not None and process.poll() is not None):
            self.process, self.code = None, -1 if process is None else process.returncode
            self.has_failed_to_start = False
            return self.meet(ChildEvent.ENDED, now_s) is Act.GIVE_UP
        if self._is_asked and (self.kind.is_ready() or self._is_looked_at_late(now_s)):
            self.meet(ChildEvent.READY, now_s)
        due_s = self.due_s
        return due_s is not None and due_s <= now_s and self.meet(ChildEvent.DUE, now_s) is Act.GIVE_UP

    @property
    def _is_asked(self) -> bool:
        return self.state in (ChildState.STARTING, ChildState.UP)

    def _is_looked_at_late(self, now_s: float) -> bool:
        """Whether nobody looked when something was due: whoever was stopped together with it knows nothing of it."""
        return self.state is ChildState.UP and self.due_s is not None and now_s - self.due_s > _LATE_S

    def stop(self, now_s: float) -> None:
        """It is to end."""
        if self.life is not None:
            self.meet(ChildEvent.STOP, now_s)

    def meet(self, event: ChildEvent, now_s: float) -> Act:
        """Take the step, and do what it says."""
        assert self.life is not None  # noqa: S101  # ``begin`` comes first
        before = self.life
        self.life, act = step(before, event, now_s, self.limits)
        self._log(before, self.life, now_s)
        if act is Act.START:
            self._start(now_s)
        elif act is Act.TERMINATE and self.process is not None:
            self.process.terminate()
        elif act is Act.KILL and self.process is not None:
            self.reached(_BOUNDS[self.state])
            self.log.child_killed(child=self.kind.name, state=self.state.name.lower())
            self.guard.signal(self.process, signal.SIGKILL)
        elif act is Act.GIVE_UP and before.has_worked:
            self.reached("max_worker_restarts")
        return act

    def news(self) -> ChildNews | None:
        """What the others are told of it; None of what is no worker."""
        if self.life is None or not isinstance(self.kind, WorkerKind):
            return None
        return ChildNews(self.kind.number, self.state.name.lower(), self.life.restarts, self.kind.internal)

    def tell(self, news: News) -> None:
        """Tell it how all are; one that does not listen any more is started anew."""
        if self.process is not None and isinstance(self.kind, WorkerKind) and not self.kind.tell(news):
            self.log.child_killed(child=self.kind.name, state="deaf")
            self.guard.signal(self.process, signal.SIGKILL)

    def _start(self, now_s: float) -> None:
        try:
            self.process = self.kind.start(self.guard)
        except OSError as error:
            # The machine may have no room for another process just now: as if it had ended at once.
            self.has_failed_to_start = True
            self.log.child_not_started(child=self.kind.name, error=error)

    def _log(self, before: Life, after: Life, now_s: float) -> None:
        if after.state is ChildState.BACKING_OFF and after.due_s is not None:
            self.log.child_ended(child=self.kind.name, code=self.code, again_in_s=after.due_s - now_s)
        elif after.state is ChildState.UP and before.state is ChildState.STARTING and after.restarts:
            self.log.child_back(child=self.kind.name)
