"""One run from its seed to its verdict: everybody works, things go wrong, everything heals, and then it is looked at.

Read ``simulate`` first.
"""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from fitting.delivery import digest_of
from fitting.digest import ear_digest
from protocol.contract.base import EARS, Refusal
from protocol.errors import AuricleError

from .checks import Violation
from .faults import Strikes
from .final import judge, quiet, told
from .handset import DEVICE
from .loop import SimLoop, Stuck
from .nights import let_all_fall_due, nights
from .plan import Plan, Step
from .sender import Sender
from .world import Options, Traced, World

__all__ = ["Verdict", "simulate"]

# From the end of the plan: leases lapse and dead-men restore; then things must be quiet, and commits give up.
_HEALS_S = 50.0
_QUIET_BY_S = 240.0
_STEPS_S = 400.0
_MEASURED_ANEW_S = 20.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one run: of all deliveries by their ends, of packages alone, of sessions by why they ended, and of
    pushes by what the service said.
    """

    plan: Plan
    violations: tuple[Violation, ...]
    trace: tuple[Traced, ...]
    reached: dict[str, int] = field(default_factory=dict)
    ended: Counter[str] = field(default_factory=Counter)
    packages: Counter[str] = field(default_factory=Counter)
    sessions: Counter[str] = field(default_factory=Counter)
    pushes: Counter[str] = field(default_factory=Counter)

    @property
    def rules(self) -> tuple[str, ...]:
        """Which rules were broken, first come first."""
        return tuple(dict.fromkeys(violation.rule for violation in self.violations))


def simulate(plan: Plan, options: Options | None = None) -> Verdict:
    """Carry out a plan."""
    loop = SimLoop(random.Random(f"{plan.seed}/ties"))
    world = World(plan, loop, options or Options())
    try:
        loop.run_until_complete(_play(world))
    except (Stuck, AssertionError, AuricleError) as error:
        world.checks.fail("stuck", f"{type(error).__name__}: {error}")
    finally:
        _clear_away(loop)
    ended = world.checks.ended
    return Verdict(
        plan,
        tuple(world.checks.violations),
        tuple(world.trace),
        dict(world.reached),
        Counter(ended.values()),
        Counter(state for (_, seq), state in ended.items() if seq in world.packages.sent),
        world.checks.session_ends,
        Counter(type(one.outcome).__name__.lower() for one in world.push.pushed),
    )


def _clear_away(loop: SimLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    with suppress(Stuck):
        loop.run_until_complete(asyncio.wait(tasks)) if tasks else None
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()
    loop.close()


async def _play(world: World) -> None:
    strikes = Strikes(world)
    world.strike = strikes
    await world.begin()
    working = [world.fitters[who].start(world.plan.of(who)) for who in ("ann", "bob") if world.plan.of(who)]
    radio = asyncio.get_running_loop().create_task(world.reach_for_aids())
    passing = asyncio.get_running_loop().create_task(nights(world, world.plan.of("time")))
    striking = asyncio.get_running_loop().create_task(_strike(world, strikes))
    await world.until_awake(world.plan.ends_at_s)
    await asyncio.wait({striking, passing})
    world.note("HEAL")
    strikes.heal()
    if working:
        await asyncio.wait(working, timeout=_STEPS_S)
    for name in ("ann", "bob"):
        world.fitters[name].process.kill()
        world.network.drop_all(of=name)
    await strikes.ended()
    strikes.heal()
    await _heal(world)
    await judge(world)
    await let_all_fall_due(world, _become_quiet)
    await judge(world, is_over=True)
    if not world.checks.violations:
        await _epilogue(world)
    radio.cancel()


async def _strike(world: World, strikes: Strikes) -> None:
    """At its time, or when its point is reached."""
    steps = world.plan.of("patient", "fault")
    for step in steps:
        if step.point:
            world.strikes.setdefault(step.point, []).append(step)
    for step in sorted((step for step in steps if not step.point), key=_at):
        await world.until_awake(step.at_s)
        strikes(step)


def _at(step: Step) -> float:
    return step.at_s


async def _heal(world: World) -> None:
    """Time for everything to come to its end; then everybody connects once more."""
    if world.server is None or not world.server.process.is_alive:
        await world.start_server()
    if not world.handset.is_alive:
        world.handset.start()
    await asyncio.sleep(_HEALS_S)
    await _become_quiet(world)
    await asyncio.sleep(6.0)
    await told(world)
    world.network.drop_all()
    await asyncio.sleep(8.0)
    await _become_quiet(world)
    await asyncio.sleep(2.0)


async def _become_quiet(world: World) -> None:
    deadline_s = world.now_s() + _QUIET_BY_S
    while not await quiet(world):
        if world.now_s() >= deadline_s:
            world.checks.fail("not quiet", "something is still under way long after everything was healed")
            return
        await asyncio.sleep(3.0)


async def _epilogue(world: World) -> None:
    """A visit with nothing going wrong: the device must be good for it, whatever was before."""
    world.note("EPILOGUE")
    world.wearer.agrees, world.wearer.patience_s, world.wearer.willing = True, 0.05, True
    # A sign of life whose answer came only after hours that were skipped makes a link slow for as long as that counts.
    await asyncio.sleep(_MEASURED_ANEW_S)
    await _restart_unknown_aids(world)
    eve = world.fitters["eve"]
    working = eve.start([])
    await working
    states = [await _visit(world, eve)]
    if states != ["active"]:
        world.checks.fail("useless", f"a visit with nothing going wrong came to {states}")
    await eve.do_release(Step("ann", "release", amount=1))
    eve.process.kill()
    world.network.drop_all(of="eve")
    await asyncio.sleep(5.0)
    await judge(world)
    for ear in EARS:
        if world.checks.ram[ear].since[-1][1] != world.checks.nvm[ear].since[-1][1]:
            world.checks.fail("kept", f"{ear} plays something else than it keeps")


async def _restart_unknown_aids(world: World) -> None:
    """What another application has left in NVM alone is known after a restart, and only then may a visit save."""
    assert world.server is not None
    revisions = await world.server.log.revisions(DEVICE, limit=1_000)
    known = {digest_of(one.digests, ear) for one in revisions for ear in EARS}
    aids = [world.aids.aid(ear) for ear in EARS]
    if all(ear_digest(aid._nvm) in known for aid in aids):
        return
    for aid in aids:
        aid.reboot()
    await asyncio.sleep(8.0)
    await _become_quiet(world)


async def _visit(world: World, eve: Sender) -> str:
    step = Step("ann", "live", amount=1)
    await eve.do_live(step)
    if await _is_split(world):
        # Somebody has to say first that what the ears play is meant for both.
        await eve.do_save(step)
        state = await eve.settled(30.0) if eve.seqs else "refused"
        if state != "active":
            return f"what is to bring the ears together is {state}"
    await eve.do_down(step)
    if not eve.seqs:
        return "nothing accepted"
    state = await eve.settled(20.0)
    if state != "confirmed":
        return f"the change is {state}"
    await eve.do_save(step)
    return await eve.settled(30.0)


async def _is_split(world: World) -> bool:
    assert world.server is not None
    head = await world.server.log.head(DEVICE)
    return not isinstance(head, Refusal) and "split" in head.alarms
