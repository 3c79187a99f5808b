"""One run, from its plan to its verdict.

Warm up, faults, heal and restart everything, drain, final reads, end all processes, check. A run whose faults did not
land, or that did too little work, is invalid: it proves nothing. Read ``run`` first.
"""

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from statistics import median
from typing import Any, Final

import aiohttp

from tests.chaos.check_packages import package_counts
from tests.chaos.check_pods import waits_s
from tests.chaos.check_record import nothing_leaks
from tests.chaos.checker import calm_of, check, report
from tests.chaos.coverage import Met, uncovered
from tests.chaos.final_reads import read_aids, read_audit, reader
from tests.chaos.fitter import WORK
from tests.chaos.history import Event, merged, read_history
from tests.chaos.nemesis import Nemesis
from tests.chaos.package_ends import send_for_every_end
from tests.chaos.paths import Paths
from tests.chaos.phone_events import phone_events
from tests.chaos.plan import Plan
from tests.chaos.stage import Stage, staged
from tests.chaos.story import stories
from tests.chaos.violation import Violation
from tests.chaos.waiting import PATIENCE, holds_within

__all__ = ["Result", "history_of", "run"]

MAX_FAULT_PHASE_S: Final = 7_200.0
WORK_TIMEOUT_S: Final = 180.0 * PATIENCE


@dataclass(frozen=True, slots=True)
class Result:
    """``broken``: how often each invariant was, ``witness``: the events that show it.

    ``missing``: what the plan required and the run did not meet, and by how much.
    """

    plan: Plan
    folder: Path
    seconds: float
    broken: dict[str, int]
    witness: str
    missing: dict[str, int]
    counts: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """``ok``, ``violation``, or ``invalid`` for a run that found nothing and proves nothing."""
        if self.broken:
            return "violation"
        return "invalid" if self.missing else "ok"

    def as_json(self) -> dict[str, Any]:
        """One object for machines."""
        return {
            "verdict": self.verdict,
            "seed": self.plan.seed,
            "profile": self.plan.profile.name,
            "database": self.plan.database,
            "pods": self.plan.pods,
            "client": self.plan.client,
            "seconds": round(self.seconds, 1),
            "faults": sum(self.counts["faults"].values()),
            "missing": self.missing,
            "broken": self.broken,
            "counts": self.counts,
            "folder": str(self.folder),
        }


async def run(plan: Plan, folder: Path, say: Callable[[str], None], *, for_s: float = inf) -> Result:
    """Carry a plan out in an empty folder, which keeps the plan, the history and all logs.

    ``for_s``: faults that have not begun by then are left out.
    """
    began = time.monotonic()
    (folder / "plan.json").write_text(json.dumps(plan.as_json(), indent=1))
    async with staged(plan, folder) as stage:
        say(f"server, {len(stage.phones)} phones and {len(stage.fitters)} fitters are up")
        nemesis = Nemesis(stage, say, for_s=for_s)
        missing = await _fault_phase(stage, nemesis, say)
        try:
            missing |= await _end(stage, say)
            unread = False
        except (ConnectionError, TimeoutError) as error:
            unread = True
            missing[f"final reads: {type(error).__name__} {error}"] = 1
        channels = {**stage.fleet.log_texts, "errors": "\n".join(stage.tally.error_texts), **stage.texts}
        canaries = stage.canaries()
    history = history_of(folder)
    # Without the final reads most promises cannot be judged.
    violations = [] if unread else [*check(history), *nothing_leaks(channels, canaries)]
    packages = sum((package_counts(story) for story in stories(history).values()), Counter())
    missing |= uncovered(plan, Met(nemesis.begun, nemesis.landed, nemesis.spoken, _open_kills(stage), packages))
    for lane, pod in stage.fleet.pods.items():
        violations += [Violation("CRASH", "", f"{lane} ended by itself with {code}") for code in pod.crashes]
    return Result(
        plan=plan,
        folder=folder,
        seconds=time.monotonic() - began,
        broken=dict(sorted(Counter(each.invariant for each in violations).items())),
        witness=report(history, violations),
        missing=missing,
        counts=_counts(stage, nemesis, history)
        | {"packages": dict(sorted(packages.items())), "waits": _waits(history)},
    )


async def _fault_phase(stage: Stage, nemesis: Nemesis, say: Callable[[str], None]) -> dict[str, int]:
    """Work, then faults over the work, then work again; what was not met."""
    stop = asyncio.Event()
    tally, profile = stage.tally, stage.plan.profile
    async with asyncio.TaskGroup() as tasks:
        for fitter in stage.fitters.values():
            tasks.create_task(fitter.run(stop))
        for resumer in stage.resumers.values():
            tasks.create_task(resumer.run(stop))
        warmed_up = await holds_within(WORK_TIMEOUT_S, lambda: tally.accepted >= profile.warm_up)
        say(f"{'warmed up' if warmed_up else 'NOT warmed up'}: {tally.accepted} changes accepted")
        if not warmed_up:
            stop.set()
            return {"warm up": profile.warm_up - tally.accepted}
        stage.history.write("ok", "phase", name="faults")
        async with asyncio.timeout(MAX_FAULT_PHASE_S):
            await nemesis.run()
        for link in stage.proxies.values():
            link.heal()
        healed_at = tally.accepted
        stage.history.write("ok", "phase", name="calm")
        say(f"all faults are over: {healed_at} changes accepted so far")
        if stage.plan.pods > 1:
            await asyncio.sleep(profile.calm_s * PATIENCE)
        tally.is_ending = True
        if profile.ends:
            await send_for_every_end(stage, WORK_TIMEOUT_S)
        await holds_within(
            WORK_TIMEOUT_S, lambda: tally.accepted >= healed_at + profile.after and tally.done.keys() >= WORK
        )
        stage.history.write("ok", "phase", name="over")
        stop.set()
    undone = {f"work: {name}": 1 for name in WORK - tally.done.keys()}
    left = healed_at + profile.after - tally.accepted
    return undone | ({"work after the faults": left} if left > 0 else {})


async def _end(stage: Stage, say: Callable[[str], None]) -> dict[str, int]:
    """Restart everybody, let what is under way come to its end, and write down what there is."""
    await stage.fleet.restart()
    for phone in stage.phones.values():
        phone.take_back_orders()
        await phone.restart()
    async with reader(stage) as reads, aiohttp.ClientSession() as session:
        drained = await reads.drain(stage.plan.profile.drain_s * PATIENCE)
        say("everything has come to its end" if drained else "some things have NOT come to an end")
        # First of all those who might begin something.
        for phone in stage.phones.values():
            await phone.stop()
        await reads.read_server()
        for lane, pod in stage.fleet.pods.items():
            async with session.get(f"{pod.url}/metrics") as answer:
                stage.texts[f"{lane} metrics"] = await answer.text()
    exit_codes = await stage.fleet.stop()
    for lane, pod in stage.fleet.pods.items():
        stage.history.write("ok", "homes", pod=lane, connections=pod.connections)
    read_aids(stage)
    await read_audit(stage)
    return {f"server exit code {code}": 1 for code in exit_codes if code != 0}


def _waits(history: list[Event]) -> dict[str, dict[str, float]]:
    """How long live changes waited for their offers with nothing in their way, in seconds."""
    found: dict[str, list[float]] = defaultdict(list)
    paths, calm = Paths(history), calm_of(history)
    for story in stories(history).values():
        for when, wait_s, _, _ in waits_s(story, paths, calm):
            found[when].append(wait_s)
    return {
        when: {"n": len(waits), "median": round(median(waits), 3), "longest": round(max(waits), 3)}
        for when, waits in found.items()
    }


def history_of(folder: Path) -> list[Event]:
    """The merged history that a run has left in its folder. Raises TornHistory."""
    own = [read_history(path) for path in sorted(folder.glob("*.jsonl"))]
    told = [phone_events(phone) for phone in sorted(folder.glob("phone-*"))]
    return merged((*own, *told))


def _open_kills(stage: Stage) -> int:
    return sum(bool(phase) for phone in stage.phones.values() for phase in phone.phases_at_kill)


def _counts(stage: Stage, nemesis: Nemesis, history: list[Event]) -> dict[str, Any]:
    return {
        "events": len(history),
        "accepted": stage.tally.accepted,
        "offers": sum(event.f == "offer_in" for event in history),
        "written": sum(event.f == "side_commit" for event in history),
        "server deaths": sum(pod.deaths for pod in stage.fleet.pods.values()),
        "phone deaths": sum(phone.deaths for phone in stage.phones.values()),
        "kills with open journal": _open_kills(stage),
        "faults": dict(sorted(nemesis.landed.items())),
        "faults of phones": dict(sorted(nemesis.spoken.items())),
        "missed": len(nemesis.missed),
        "work": dict(sorted(stage.tally.done.items())),
    }
