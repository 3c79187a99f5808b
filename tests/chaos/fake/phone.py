"""A phone with two aids as the contract describes it, in steps as small as a crash can fall between.

Journal and aids survive ``crash``. Read ``FakePhone.step``, then ``_work``.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.chaos.fake.mutations import Mutation
from tests.chaos.fake.server import EARS, digest_of

__all__ = ["FakePhone", "Network"]

CHUNKS = 8


class Network(Protocol):
    """What a phone has around it."""

    def attach(self, device: str) -> dict[str, Any] | None:
        """The welcome, None when nobody answers."""
        ...

    def report(self, device: str, report: dict[str, Any]) -> bool | None:
        """Whether the delivery has ended, None when the link died."""
        ...

    def tell(self, process: str, f: str, dev: str, /, **values: Any) -> None:
        """Write a fact into the history."""
        ...

    def strikes(self, mutation: Mutation) -> bool:
        """Whether a seeded bug strikes."""
        ...

    def says_yes(self, device: str) -> bool:
        """Whether the wearer installs packages."""
        ...

    def lies(self) -> bool:
        """Whether an aid keeps something else than it was given."""
        ...


@dataclass(slots=True)
class _Entry:
    offer: dict[str, Any]
    before: dict[str, str]
    reports: list[dict[str, Any]] = field(default_factory=list)


class FakePhone:
    """``is_on``: not crashed. ``gen``: the generation of its link, None without one."""

    def __init__(self, device: str, network: Network) -> None:
        self.device, self.network = device, network
        self.aids = {ear: dict.fromkeys(("ram", "nvm"), digest_of(device, "factory", ear)) for ear in EARS}
        self.inbox: deque[tuple[str, dict[str, Any]]] = deque()
        self.gen: int | None = None
        self.is_on = False
        self._work: Iterator[None] | None = None
        self._open: _Entry | None = None
        self._ended: dict[int, list[dict[str, Any]]] = {}
        self._last_settled = self._fence_max = 0

    def tell(self, f: str, /, **values: Any) -> None:
        self.network.tell(f"phone-{self.device}", f, self.device, **values)

    def crash(self) -> None:
        """SIGKILL."""
        self.is_on, self._work = False, None
        self.cut()

    def cut(self) -> None:
        """The link is gone, and what was on it."""
        self.gen = None
        self.inbox.clear()

    def step(self) -> None:
        """One small step."""
        if not self.is_on:
            self.is_on = True
            self.tell("boot")
        elif self._work is not None:
            if next(self._work, "done") == "done":
                self._work = None
        elif self.gen is None:
            self._attach()
        elif self.inbox:
            kind, frame = self.inbox.popleft()
            if kind == "settled":
                self.tell("settled_in", seq=frame["seq"])
                self._last_settled = max(self._last_settled, frame["seq"])
            else:
                self.tell("offer_in", **frame)
                self._work = self._take(frame)

    @property
    def is_idle(self) -> bool:
        return self.is_on and self.gen is not None and self._work is None and not self.inbox

    def _attach(self) -> None:
        self.tell("hello", last_terminal=self._last_settled, fence_max=self._fence_max)
        welcome = self.network.attach(self.device)
        if welcome is not None:
            self.gen = welcome["gen"]
            self._last_settled = max(self._last_settled, welcome["from_seq"] - 1)
            self.tell("welcome", **welcome)

    def _take(self, offer: dict[str, Any]) -> Iterator[None]:
        forgets = self.network.strikes(Mutation.RESEND_WITHOUT_JOURNAL)
        if offer["seq"] in self._ended and not forgets:
            for report in self._ended[offer["seq"]]:
                if not self._send(report):
                    return
            return
        if self._open is None or self._open.offer["seq"] != offer["seq"]:
            code = self._refusal(offer)
            if code is not None:
                self._open = _Entry(offer, {})
                self._end_with(code)
                return
            self._open = _Entry(offer, {ear: aid["ram"] for ear, aid in self.aids.items()})
            self._fence_max = max(self._fence_max, offer["fence"])
            self._journal("received")
            yield
            if offer["mode"] == "standard":
                self._journal("awaiting_install")
                yield
        if offer["mode"] == "standard" and not self._installs():
            self._end_with("E_DECLINED")
            return
        yield from self._write_all(self._open, forgets)

    def _installs(self) -> bool:
        return self.network.says_yes(self.device) or self.network.strikes(Mutation.INSTALL_WITHOUT_A_YES)

    def _refusal(self, offer: dict[str, Any]) -> str | None:
        if offer["poison"]:
            return "E_CAPABILITY"
        is_live = offer["mode"] == "advanced"
        if is_live and offer["fence"] < self._fence_max and not self.network.strikes(Mutation.ACCEPT_AN_OLD_FENCE):
            return "E_FENCE"
        is_same = all(self.aids[ear]["ram"] in {offer["base"][ear], offer["expect"][ear]} for ear in offer["ears"])
        return None if is_same else "E_BASE"

    def _write_all(self, entry: _Entry, forgets: bool) -> Iterator[None]:
        offer, key = entry.offer, {"epoch": entry.offer["epoch"], "seq": entry.offer["seq"]}
        for ear in offer["ears"]:
            target = offer["expect"][ear]
            for attempt in range(2):
                if self.aids[ear]["ram"] == target and not forgets:
                    break
                self._journal(f"writing:{ear}")
                yield from self._write(ear, target, key, attempt)
                if self.network.strikes(Mutation.APPLIED_WITHOUT_VERIFY):
                    break
            verified = self.aids[ear]["ram"] == target or self.network.strikes(Mutation.APPLIED_WITHOUT_VERIFY)
            self._journal(f"verified:{ear}")
            if not verified:
                yield from self._restore(entry)
                self._end_with("E_READBACK")
                return
            yield
            if self.network.strikes(Mutation.LEFT_NEW_RIGHT_OLD):
                break
        if offer["kind"] == "persist":
            yield from self._commit(offer, key)
        self._end_with(None)

    def _write(self, ear: str, target: str, key: dict[str, Any], attempt: int) -> Iterator[None]:
        before, kept = self.aids[ear]["ram"], digest_of(target, "wrong", attempt) if self.network.lies() else target
        for chunk in range(1, CHUNKS + 1):
            self.aids[ear]["ram"] = kept if chunk == CHUNKS or before == kept else digest_of(before, kept, chunk)
            self.tell("chunk", ear=ear, k=chunk, digest=self.aids[ear]["ram"], **key)
            yield
        self.tell("side_commit", ear=ear, memory="ram", digest=kept, **key)
        yield

    def _restore(self, entry: _Entry) -> Iterator[None]:
        for ear in entry.offer["ears"]:
            self.aids[ear]["ram"] = entry.before[ear]
            self.tell("restore", ear=ear, digest=entry.before[ear])
            yield

    def _commit(self, offer: dict[str, Any], key: dict[str, Any]) -> Iterator[None]:
        for ear in offer["ears"]:
            if self.aids[ear]["nvm"] != self.aids[ear]["ram"]:
                self.aids[ear]["nvm"] = self.aids[ear]["ram"]
                self.tell("side_commit", ear=ear, memory="nvm", digest=self.aids[ear]["nvm"], **key)
                yield

    def _journal(self, phase: str) -> None:
        assert self._open is not None
        self.tell("journal", epoch=self._open.offer["epoch"], seq=self._open.offer["seq"], phase=phase)

    def _end_with(self, code: str | None) -> None:
        """Keep the reports, close the entry, then send them: a crash in between sends them again later."""
        assert self._open is not None
        offer = self._open.offer
        good = "active" if offer["kind"] == "persist" else "confirmed"
        unhappy = {"E_READBACK": "failed", "E_DECLINED": "declined"}
        state = good if code is None else unhappy.get(code, "rejected")
        reports = [
            {"epoch": offer["epoch"], "seq": offer["seq"], "ear": ear, "state": state, "code": code,
             "held": {ear: dict(self.aids[ear])}}
            for ear in offer["ears"]
        ]  # fmt: skip
        self._ended[offer["seq"]] = reports
        if self._open.before:
            self._journal("ended")
        self._open = None
        for report in reports:
            if not self._send(report):
                return

    def _send(self, report: dict[str, Any]) -> bool:
        self.tell("result_out", **report)
        ended = self.network.report(self.device, report)
        if ended is None:
            self.cut()
        elif ended:
            self.inbox.append(("settled", {"seq": report["seq"]}))
        return ended is not None
