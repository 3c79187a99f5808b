"""Random use of a device log, the same for every implementation: whatever one answers, the others must answer too.

Read ``Script.command`` first: what it calls, and with what, depends on the seed and on earlier answers only.
"""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from msgspec import UNSET

from fitting.digest import content_digests
from fitting.log import DeviceLog
from fitting.log_values import Delivery, Proposal
from fitting.model import changed_ears
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import DELIVERY_STATES, AttachDevice, Report
from protocol.contract.fitting import Content, SafetySummary
from protocol.contract.sessions import DeviceCause, ReportDevice
from protocol.errors import AuricleError
from tests.contracts.device_log_bench import DEVICE, FALSE, FRESH, Clock, digest, images, louder

__all__ = ["Script"]

STATES = [state for state in DELIVERY_STATES if state not in ("accepted", "offered")]
BOTH = [louder(louder(FRESH, by=by), "left", by=by) for by in (10, 20, -10)]
# An ear that was changed alone is an alarm that stops nearly everything: it shall not be there from the beginning.
CONTENTS = [*[FRESH] * 9, *BOTH * 6, louder(FRESH)]
HOLDERS = [*[("s-1", "ann")] * 5, ("s-2", "bob")]


class Script:
    """Draws commands; ``run`` gives one to a log and returns what it answered, errors by class and text."""

    def __init__(self, seed: int, clock: Clock) -> None:
        self._random = Random(seed)
        self._clock = clock
        self._epoch = ""
        self._fence = 0
        self._generation = 0
        self._head: Any = None
        self._ground: Any = None
        self._last_seq = 0
        self._oldest: Delivery | None = None
        self._keys = 0

    def command(self) -> Callable[[DeviceLog], Awaitable[object]]:
        """The next command; all its arguments are drawn now."""
        kinds = [
            *[self._attach] * 2,
            *[self._lease] * 3,
            *[self._session] * 2,
            *[self._append] * 6,
            *[self._package] * 3,
            self._question,
            *[self._offer] * 5,
            *[self._report] * 8,
            *[self._look] * 4,
            *[self._time] * 3,
            self._detach,
            self._cancel,
            self._report_device,
        ]
        return self._random.choice(kinds)()

    async def run(self, log: DeviceLog, command: Callable[[DeviceLog], Awaitable[object]]) -> object:
        try:
            return await command(log)
        except AuricleError as error:
            return (type(error).__name__, error.public_message)

    async def learn(self, log: DeviceLog) -> None:
        """What the next commands are drawn from."""
        head: Any = await log.head(DEVICE)
        self._epoch, self._fence, self._generation = head.epoch, head.fence, head.generation
        self._head, self._last_seq, self._ground = head.revision, head.last_seq, head.ground
        self._oldest = next(iter(await log.pending(DEVICE)), None)

    def _attach(self) -> Callable[[DeviceLog], Awaitable[object]]:
        pick = self._random
        held = pick.choice(CONTENTS)
        fields: dict[str, Any] = {
            # The first read-back is of both: whatever is changed later is there.
            **{ear: images(held, ear) for ear in EARS if pick.random() < 0.7 or self._head is None},
            "device": DEVICE,
            "epoch": pick.choice([self._epoch, self._epoch, "", "another"]),
            "last_terminal": pick.choice([0, self._last_seq, self._last_seq + pick.randrange(2)]),
            "fence_max": pick.choice([0, self._fence, self._fence, self._fence + 1]),
        }
        claim = AttachDevice(**fields)
        return lambda log: log.attach(claim)

    def _detach(self) -> Callable[[DeviceLog], Awaitable[object]]:
        generation = self._some(self._generation)
        return lambda log: log.detach(DEVICE, generation)

    def _lease(self) -> Callable[[DeviceLog], Awaitable[object]]:
        session, holder = self._random.choice(HOLDERS)
        fence, what, discard = self._some(self._fence), self._random.randrange(12), self._random.random() < 0.5
        who = {"session": session, "holder": holder}
        if what < 8:
            return lambda log: log.acquire(DEVICE, **who)
        if what < 10:
            return lambda log: log.renew(DEVICE, fence=fence, **who)
        if what == 10:
            return lambda log: log.release(DEVICE, fence=fence, discard=discard, **who)
        return lambda log: log.steal(DEVICE, reason="it is urgent", **who)

    def _session(self) -> Callable[[DeviceLog], Awaitable[object]]:
        _, holder = self._random.choice(HOLDERS)
        fence, discard = self._some(self._fence), self._random.random() < 0.5
        if self._random.random() < 0.9:
            return lambda log: log.open_session(DEVICE, fence=fence, holder=holder)
        return lambda log: log.end_session(DEVICE, cause="left", actor=holder, fence=fence, discard=discard)

    def _append(self) -> Callable[[DeviceLog], Awaitable[object]]:
        pick = self._random
        base: Content = FRESH if self._head is None else self._head.content
        after = louder(base, pick.choice(EARS), pick.choice([-10, 10, 20]))
        if pick.random() < 0.8:
            self._keys += 1
        proposal = Proposal(
            device=DEVICE,
            key=f"k-{max(1, self._keys - pick.choice([*[0] * 9, 1, 4]))}",
            request_hash=pick.choice([*["h"] * 8, "i"]),
            expected_head=pick.choice(["id-1", *["" if self._head is None else self._head.revision_id] * 6]),
            kind=pick.choice(["volatile", "volatile", "volatile", "persist"]),
            mode="advanced",
            fence=self._some(self._fence),
            author=pick.choice([*["ann"] * 6, "bob"]),
            reason="a little louder",
            origin=pick.choice(["fitting", "fitting", "first_fit", "save"]),
            content=after,
            digests=content_digests(after),
            ears=changed_ears(base, after),
            safety=SafetySummary(rules=("K1",)),
            expires_in_s=pick.choice([5.0, 60.0]),
            supersedes=pick.choice([None, self._last_seq]),
        )
        return lambda log: log.append(proposal)

    def _package(self) -> Callable[[DeviceLog], Awaitable[object]]:
        pick = self._random
        what = pick.random()
        if what < 0.15:
            fence, holder = self._some(self._fence), pick.choice(["ann", "bob"])
            return lambda log: log.make_way(DEVICE, fence=fence, holder=holder)
        if what < 0.2:
            seq = self._some(self._last_seq)
            return lambda log: log.take_back_package(DEVICE, seq, code="unsafe")
        base: Content = FRESH if self._ground is None else self._ground.content
        after = louder(base, pick.choice(EARS), pick.choice([-10, 10]))
        self._keys += 1
        proposal = Proposal(
            device=DEVICE,
            key=f"k-{self._keys}",
            request_hash="h",
            expected_head="" if self._head is None else self._head.revision_id,
            kind="persist",
            mode="standard",
            fence=0,
            author=pick.choice(["ann", "bob"]),
            reason="for the week",
            origin=pick.choice(["fitting", "rollback"]),
            content=after,
            digests=content_digests(after),
            ears=changed_ears(base, after),
            safety=SafetySummary(rules=("K1",)),
            expires_in_s=pick.choice([5.0, 600.0]),
            ground=pick.choice(["id-1", *["" if self._ground is None else self._ground.revision_id] * 6]),
        )
        return lambda log: log.append(proposal)

    def _question(self) -> Callable[[DeviceLog], Awaitable[object]]:
        seq, state = self._some(self._last_seq), self._random.choice(["kept", "undone"])
        if self._random.random() < 0.5:
            return lambda log: log.ask_question(DEVICE, seq)
        wish = self._some(self._last_seq) if state == "undone" else None
        return lambda log: log.answer_question(DEVICE, seq, state=state, actor="pat", wish=wish)

    def _offer(self) -> Callable[[DeviceLog], Awaitable[object]]:
        generation = self._some(self._generation)
        if self._random.random() < 0.8:
            return lambda log: log.next_offer(DEVICE, generation)
        return lambda log: log.reoffer(DEVICE, generation, older_than_s=2.0)

    def _report(self) -> Callable[[DeviceLog], Awaitable[object]]:
        pick = self._random
        oldest = self._oldest
        ear: Ear = pick.choice(EARS if oldest is None else [*oldest.ears])
        held = FRESH if oldest is None else oldest.revision.content
        fields: dict[str, Any] = {
            "device": DEVICE,
            "epoch": pick.choice([*[self._epoch] * 6, "another"]),
            "seq": self._some(self._last_seq if oldest is None else oldest.seq),
            "attempt": 1,
            "n": pick.randrange(6),
            "state": pick.choice(["received", "writing", *["confirmed"] * 4, "active", *STATES]),
            "ear": pick.choice([*[ear] * 5, UNSET]),
            "source": pick.choice([UNSET, "ram", "nvm"]),
            "digest": pick.choice([*[digest(held, ear)] * 4, FALSE, UNSET]),
            "code": pick.choice([UNSET, UNSET, "E_BASE", "E_DEVICE"]),
            "battery": pick.choice([UNSET, 50]),
        }
        generation = self._some(self._generation)
        return lambda log: log.report(Report(**fields), generation=generation)

    def _report_device(self) -> Callable[[DeviceLog], Awaitable[object]]:
        held = self._random.choice(CONTENTS)
        causes: list[DeviceCause] = ["read_back", "read_back", "read_back", "stop"]
        told = ReportDevice(device=DEVICE, cause=self._random.choice(causes), left=images(held, "left"))
        generation = None if told.cause == "stop" else self._generation
        return lambda log: log.report_device(told, generation=generation)

    def _cancel(self) -> Callable[[DeviceLog], Awaitable[object]]:
        seq = self._some(self._last_seq)
        return lambda log: log.cancel(DEVICE, seq, actor="ann")

    def _look(self) -> Callable[[DeviceLog], Awaitable[object]]:
        seq, key = self._some(self._last_seq), f"k-{max(1, self._keys - self._random.randrange(3))}"
        looks: list[Callable[[DeviceLog], Awaitable[object]]] = [
            lambda log: log.head(DEVICE, key=key, request_hash="h"),
            lambda log: log.pending(DEVICE),
            lambda log: log.delivery(DEVICE, seq),
            lambda log: log.changed_since(DEVICE, seq, limit=5),
            lambda log: log.revisions(DEVICE, limit=3),
            lambda log: log.alive(DEVICE),
        ]
        return self._random.choice(looks)

    def _time(self) -> Callable[[DeviceLog], Awaitable[object]]:
        self._clock.pass_s(self._random.choice([0.5, 1.0, 2.0, 10.0]))
        return self._random.choice([lambda log: log.expire(), lambda log: log.lapsed()])

    def _some(self, number: int) -> int:
        """Mostly the number, sometimes one beside it."""
        return max(0, number + self._random.choice([*[0] * 12, -1, 1]))
