"""What must be true of packages at every instant, by what was seen at the aids, said by the wearer, and pushed.

As ``checks``, whose list of violations this one goes on with. Must not know what a step or a fault is. Read
``PackageChecks`` from the top.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from clients.journal import JournalEntry, JournalRecord
from clients.virtual_aid.aid import AidChange
from clients.virtual_aid.pair import VirtualPair
from fitting.digest import ear_digest
from fitting.log_values import Accepted, Delivery, Proposal
from fitting.outbox import DueItem
from fitting.packages import DEFAULT_PUSH_TIMES
from fitting.push import Gone, Later
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import EarImage, Report
from protocol.contract.fitting import Digests, EarProgram

from .checks import Checks
from .handset import DEVICE
from .push import Pushed
from .server import Server

__all__ = ["PackageChecks", "Sent"]

Key = tuple[str, int]
_WEEK_S: Final = 7 * 24 * 3_600.0
_RISE_DDB, _MEAN_RISE_DDB = 50, 30
_GAINS: Final = ("g50_ddb", "g65_ddb", "g80_ddb")
# A phone counts from when an offer came, in whole seconds; a question or a write may have begun before.
_LATE_S: Final = 90.0
# What has ended may be on its way to the push service.
_PUSH_S: Final = 5.0
_UNSEEN: Final = frozenset({"accepted", "offered"})


@dataclass(frozen=True, slots=True)
class Sent:
    """One accepted package. ``nvm``: what the aids kept then, by ear; ``is_known``: and the server had been told so.

    Times are since the beginning.
    """

    seq: int
    accepted_at_s: float
    expires_at_s: float
    digests: dict[Ear, str]
    nvm: dict[Ear, str]
    is_known: bool
    pushed: list[Pushed] = field(default_factory=list)


class PackageChecks:
    """``setbacks``: how often the server, or its database, was away: what it had just done may be done again."""

    def __init__(self, checks: Checks, aids: VirtualPair, now: Callable[[], float], unix: Callable[[], float]) -> None:
        self._checks, self._aids, self._now, self._unix = checks, aids, now, unix
        self.sent: dict[int, Sent] = {}
        self.worn: list[Delivery] = []
        self.setbacks = 0
        self._answers: dict[Key, bool] = {}
        self._wished: set[int] = set()
        self._names: dict[str, tuple[str, int, float]] = {}
        self._foreign: set[str] = set()
        self._commits: dict[Ear, JournalEntry | None] = {}
        self._begun: set[Key] = set()
        self._under: dict[int, dict[Ear, str]] = {}
        self._ended_at_s: dict[int, float] = {}
        self._unreachable: set[int] = set()
        self._told_of = self._nvm()
        self._kept: dict[Ear, list[tuple[float, EarImage]]] = {ear: [(now(), aids.aid(ear)._nvm)] for ear in EARS}

    # What the log said

    def accepted(self, proposal: Proposal, accepted: Accepted) -> None:
        """A package has its number."""
        if proposal.mode != "standard" or accepted.replayed:
            return
        now_s = self._now()
        digests, nvm = _pair(proposal.digests), self._nvm()
        times = (now_s, now_s + proposal.expires_in_s)
        sent = Sent(accepted.seq, *times, digests, nvm, is_known=nvm == self._told_of)
        self.sent[accepted.seq] = sent
        if proposal.author == "pat":
            self._answers[accepted.epoch, accepted.seq] = True
            self._check_undo(int(proposal.key.split("-")[2]), sent)

    def _check_undo(self, taken_back: int, sent: Sent) -> None:
        before = self.sent.get(taken_back)
        # Of an aid that was out of reach when a clinic changed it nobody can know.
        if before is None or not before.is_known:
            return
        if sent.digests != self._under.get(taken_back, sent.digests):
            self._checks.fail("undo", f"seq {sent.seq} takes {taken_back} back, and brings something else")

    def reported(self, report: Report, delivery: Delivery) -> None:
        """A phone said what became of one."""
        if delivery.state == "active":
            self._told_of = _pair(delivery.revision.digests)
        if delivery.mode != "standard":
            return
        sent = self.sent.get(report.seq)
        fits = sent is not None and sent.is_known and self._nvm() == sent.nvm
        by_phone = report.code == "E_BASE" and sent is not None and report.digest in sent.nvm.values()
        # The server looks again before it offers one, and has the phone give it back.
        by_server = delivery.code == "E_BASE" and report.state == delivery.withdrawn
        if fits and (by_phone or by_server) and not self._was_over(report.seq):
            self._checks.fail("ground", f"seq {report.seq} does not fit on what the aids have kept all the time")
        if delivery.state == "active" and (not self.worn or self.worn[-1].seq != delivery.seq):
            self.worn.append(delivery)

    def ended(self, delivery: Delivery) -> None:
        """A delivery has an end."""
        was_over = self._was_over(delivery.seq)
        self._ended_at_s.setdefault(delivery.seq, self._now())
        sent = self.sent.get(delivery.seq)
        fits = sent is not None and sent.is_known and self._nvm() == sent.nvm
        if fits and (delivery.state, delivery.code) == ("cancelled", "E_BASE") and not was_over:
            self._checks.fail("ground", f"seq {delivery.seq} was called back, and the aids keep what they kept")

    def _was_over(self, seq: int) -> bool:
        """Whether it had its end before: a phone may say so again, when the aids keep what they kept by another way."""
        return self._ended_at_s.get(seq, self._now()) < self._now()

    def asked(self, seq: int) -> None:
        """The wearer is to be asked whether to keep one."""
        sent, worn = self.sent.get(seq), self._nvm()
        if sent is not None and sent.is_known and worn != sent.digests:
            self._checks.fail("asked", f"the wearer is asked about seq {seq}, which the aids do not keep")

    # What the wearer said, and what was done to the aids

    def said(self, key: Key, *, accepted: bool) -> None:
        """Install, or not."""
        self._answers[key] = accepted

    def taken_back(self, seq: int) -> None:
        """The wearer takes one back: another that waits and brings the same is their wish too, whoever has sent it."""
        under, newest = self._under.get(seq), self.sent.get(max(self.sent, default=0))
        if newest is not None and newest.digests == under:
            self._wished.add(newest.seq)

    def touched(self, ear: Ear, what: Literal["write", "restore", "commit"], entry: JournalEntry | None) -> None:
        """A phone is about to do something to an aid."""
        self._commits[ear] = entry if what == "commit" else None
        if what == "commit" and entry is not None:
            self._check_overwritten(ear, entry)
        if entry is None or entry.offer.mode != "standard" or entry.back is not None or what == "restore":
            return
        if not self._answers.get(entry.key) and entry.offer.seq not in self._wished:
            self._checks.fail("consent", f"seq {entry.offer.seq} is written, and the wearer has not said yes")
        sent = self.sent.get(entry.offer.seq)
        if entry.key not in self._begun and sent is not None and self._now() > sent.expires_at_s + _LATE_S:
            self._checks.fail("expired", f"seq {entry.offer.seq} is begun after its time")
        if entry.key not in self._begun:
            # What it takes the place of: when it was accepted another may just have been on its way.
            self._under[entry.offer.seq] = self._nvm()
        self._begun.add(entry.key)

    def _check_overwritten(self, ear: Ear, entry: JournalEntry) -> None:
        """What a clinic has saved since the work on an ear began is not the phone's to overwrite."""
        held = self._nvm()[ear]
        known = {digest for plan in entry.plans if plan.ear == ear for digest in (plan.nvm_digest, plan.target_digest)}
        if held in self._foreign and held not in known:
            self._checks.fail("foreign", f"seq {entry.offer.seq} is copied over what a clinic has saved in {ear}")

    def changed(self, change: AidChange) -> None:
        """A memory has changed."""
        image = self._aids.aid(change.ear)._nvm
        kept = self._kept[change.ear]
        if kept[-1][1] == image:
            return
        entry = self._commits.get(change.ear)
        if change.what == "committed" and entry is not None and entry.offer.mode == "standard":
            self._check_rise(change.ear, image, [held for held, _ in self._week(change.ear)])
        kept.append((self._now(), image))

    def foreign(self) -> None:
        """A clinic has written past the phone, which may never have been heard of."""
        self._foreign |= set(self._nvm().values())

    def _week(self, ear: Ear) -> list[tuple[EarImage, float]]:
        """What NVM has held in the last 7 days, that in force at their beginning included."""
        kept = self._kept[ear]
        ends = [*(at_s for at_s, _ in kept[1:]), float("inf")]
        since_s = self._now() - _WEEK_S
        return [(image, at_s) for (at_s, image), end_s in zip(kept, ends, strict=True) if end_s > since_s]

    def _check_rise(self, ear: Ear, image: EarImage, week: list[EarImage]) -> None:
        """K9: over the lowest of a week, in what the ear gets to hear. What was there before may come back."""
        digests = [ear_digest(held) for held in week]
        if ear_digest(image) in digests:
            return
        known = [held for held, digest in zip(week, digests, strict=True) if digest not in self._foreign]
        for slot in image.slots:
            held = [old.program for one in (*known, week[-1]) for old in one.slots if old.slot == slot.slot]
            if held and (why := _too_loud(slot.program, held)):
                self._checks.fail("K9", f"a package makes {ear} {why}")

    # Pushes

    def taken(self, item: DueItem, name: str) -> None:
        """A server has taken something in hand that is due; a push for it is called ``name``."""
        self._names[name] = (item.kind, item.seq, self._now())

    def pushed(self, pushed: Pushed) -> None:
        """A push is asked for."""
        kind, seq, taken_at_s = self._names[pushed.note.nonce]
        sent = self.sent.get(seq)
        if kind != "push" or sent is None:
            return
        ended_at_s = self._ended_at_s.get(seq)
        if ended_at_s is not None and taken_at_s > ended_at_s + _PUSH_S:
            self._checks.fail("pushed", f"the phone is woken for seq {seq}, which has ended")
        counted = sum(not isinstance(one.outcome, Later) for one in sent.pushed)
        schedule_s = DEFAULT_PUSH_TIMES.schedule_s
        nth = counted - self.setbacks
        if nth >= len(schedule_s) or (nth > 0 and pushed.at_s < sent.accepted_at_s + schedule_s[nth] - 1.0):
            self._checks.fail("pushed", f"push {counted + 1} for seq {seq} comes before its time")
        sent.pushed.append(pushed)

    def unreachable(self) -> None:
        """Nobody knows how the phone could be woken now."""
        self._unreachable |= self.sent.keys()

    async def look(self, server: Server | None, due: Iterable[DueItem], phone: JournalRecord) -> None:
        """Whether what waits for a phone that is asleep, and has not heard of it, will be pushed again."""
        if server is None or not server.process.is_alive:
            return
        times, items = DEFAULT_PUSH_TIMES, {item.seq: item for item in due if item.kind == "push"}
        for delivery in await server.log.pending(DEVICE):
            sent = self.sent.get(delivery.seq)
            if delivery.state not in _UNSEEN or delivery.withdrawn is not None or sent is None:
                continue
            if self._now() < sent.accepted_at_s + _PUSH_S:
                # It is just being written down.
                continue
            if phone.under_way(delivery.epoch, delivery.seq) or phone.end_of(delivery.epoch, delivery.seq):
                continue
            counted = [one for one in sent.pushed if not isinstance(one.outcome, Later)]
            is_over = len(counted) >= len(times.schedule_s) or any(isinstance(one.outcome, Gone) for one in counted)
            item = items.get(delivery.seq)
            if item is None and not is_over and delivery.seq not in self._unreachable:
                self._checks.fail("forgotten", f"seq {delivery.seq} waits, and nobody will wake its phone again")
            elif item is not None and item.due_at_s > self._unix() + max(times.schedule_s):
                self._checks.fail("forgotten", f"seq {delivery.seq} waits, and its phone is woken in {item.due_at_s} s")

    def _nvm(self) -> dict[Ear, str]:
        return {ear: ear_digest(self._aids.aid(ear)._nvm) for ear in EARS}


def _pair(digests: Digests) -> dict[Ear, str]:
    return {ear: str(getattr(digests, ear)) for ear in EARS}


def _too_loud(program: EarProgram, held: list[EarProgram]) -> str:
    """What is wrong with what it plays now, "" for nothing: only what rises is looked at."""
    before = held[-1]
    for name in _GAINS:
        now, was, low = getattr(program, name), getattr(before, name), _lowest(held, name)
        if any(new > old and new > least + _RISE_DDB for new, old, least in zip(now, was, low, strict=True)):
            return f"louder by more than {_RISE_DDB} tenths of dB over the lowest of 7 days"
        if _mean(now, low) > max(_MEAN_RISE_DDB, _mean(was, low)):
            return f"louder by more than {_MEAN_RISE_DDB} tenths of dB on average over the lowest of 7 days"
    mpo = zip(program.mpo_ddb, before.mpo_ddb, _lowest(held, "mpo_ddb"), strict=True)
    return "rise in its maximum output" if any(new > old and new > least for new, old, least in mpo) else ""


def _lowest(held: list[EarProgram], name: str) -> tuple[int, ...]:
    return tuple(map(min, zip(*(getattr(program, name) for program in held), strict=True)))


def _mean(now: tuple[int, ...], low: tuple[int, ...]) -> float:
    return sum(max(0, new - least) for new, least in zip(now, low, strict=True)) / len(now)
