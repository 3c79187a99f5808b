"""What can go wrong, and what the wearer does: one function for each, none of which waits.

Must not know why. Read ``Strikes.__call__``.
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final

from msgspec.structs import replace as struct_replace

from clients.hub_errors import HubCallError
from clients.journal import JournalEntry
from clients.virtual_aid.aid import VirtualAid
from protocol.contract.base import EARS
from protocol.errors import Unavailable

from .plan import Step
from .push import Trouble
from .world import World

__all__ = ["Strikes"]

_SOON_S: Final = 2.0


class Strikes:
    """Carries out the steps of faults and of the wearer.

    ``trouble_at_s``: when an aid or the phone was last hindered.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._tasks: set[asyncio.Task[Any]] = set()
        self._outside = contextvars.copy_context()
        self.trouble_at_s = -1e9

    def __call__(self, step: Step) -> None:
        self._world.note(
            "STRIKE", who=step.who, fault=step.what, point=step.point, ear=step.ear, length_s=step.length_s
        )
        self._world.checks.is_spoiled = True
        until_s = self._world.now_s() + step.length_s
        self._world.checks.hindered_until_s = max(until_s, self._world.checks.hindered_until_s)
        getattr(self, f"_{step.what}")(step)

    def heal(self) -> None:
        """From now on nothing goes wrong."""
        world = self._world
        world.strikes.clear()
        world.network.away.clear()
        world.network.slow_s.clear()
        world.push.trouble.clear()
        world.push.is_calm = True
        world.wake_phone()
        world.network.calm = True
        world.disk.away_until_s = 0.0
        for link in world.network.links.values():
            link.up.stalled_until_s = link.down.stalled_until_s = 0.0
        for ear in EARS:
            world.aids.aid(ear).faults = type(world.aids.aid(ear).faults)()
        if world.handset.phone is not None:
            world.handset.phone.set_foreground(True)

    async def ended(self) -> None:
        """Wait until all that was begun has been done."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    # The network and the processes

    def _kill_server(self, step: Step) -> None:
        self._world.packages.setbacks += 1
        self._world.kill_server()
        self._later(step.length_s, self._server_up)

    async def _server_up(self) -> None:
        world = self._world
        while world.server is None or not world.server.process.is_alive:
            try:
                await world.start_server()
            except Unavailable:
                # Whoever supervises it tries again.
                await asyncio.sleep(1.0)

    def _kill_phone(self, step: Step) -> None:
        self._trouble()
        self._world.handset.kill()
        self._later(step.length_s, self._phone_up)

    async def _phone_up(self) -> None:
        world = self._world
        if not world.handset.is_alive and world.asleep_until_s is None:
            world.handset.start()
            world.note("phone up")

    def _cut_phone(self, step: Step) -> None:
        self._cut("phone", 0.01, step.length_s)

    def _cut_ann(self, step: Step) -> None:
        self._cut("ann", 0.01, 0.01)

    def _half_open_phone(self, _: Step) -> None:
        self._cut("phone", None, None)

    def _half_open_ann(self, _: Step) -> None:
        self._cut("ann", None, None)

    def _away_phone(self, step: Step) -> None:
        self._world.network.away.add("phone")
        self._cut("phone", 0.01, None)
        self._later(step.length_s, self._back)

    async def _back(self) -> None:
        self._world.network.away.discard("phone")

    def _stall_phone(self, step: Step) -> None:
        link = self._world.network.links.get("phone")
        if link is not None:
            (link.up if step.amount % 2 else link.down).stall(step.length_s)

    def _cut(self, client: str, client_sees_s: float | None, server_sees_s: float | None) -> None:
        link = self._world.network.links.get(client)
        if link is not None and link.is_open:
            link.cut(client_sees_s=client_sees_s, server_sees_s=server_sees_s)

    def _slow_phone(self, step: Step) -> None:
        # Each way: slower than live work bears.
        self._world.network.slow_s["phone"] = 0.9
        self._later(step.length_s, self._fast_again)

    async def _fast_again(self) -> None:
        self._world.network.slow_s.clear()

    def _token_phone(self, step: Step) -> None:
        self._world.network.expire("phone", self._world.unix_s() + step.length_s / 10)

    def _token_ann(self, step: Step) -> None:
        self._world.network.expire("ann", self._world.unix_s() + step.length_s / 10)

    def _database_away(self, step: Step) -> None:
        self._world.packages.setbacks += 1
        self._world.disk.away_until_s = self._world.loop.time() + step.length_s

    # The aids

    def _drop_aid(self, step: Step) -> None:
        if step.amount:
            self._set(step, drop_link_after_chunk=step.amount)
        else:
            self._trouble()
            aid = self._aid(step)
            aid.connected = False
            aid._news.set()

    def _reboot_aid(self, step: Step) -> None:
        if step.amount % 2:
            self._set(step, reboot_after_chunk=step.amount)
        else:
            self._trouble()
            self._aid(step).reboot()

    def _refuse_connects(self, step: Step) -> None:
        self._set(step, refuse_connects=1 + 3 * step.amount)
        aid = self._aid(step)
        aid.connected = False
        aid._news.set()

    def _aid_away(self, step: Step) -> None:
        """For longer than live work waits for it."""
        lasts_s = 3 * step.length_s
        self._world.checks.hindered_until_s = max(self._world.now_s() + lasts_s, self._world.checks.hindered_until_s)
        self._set(step, refuse_connects=1_000_000)
        self._aid(step).connected = False
        self._later(lasts_s, lambda: self._unset(step, refuse_connects=0))

    def _corrupt(self, step: Step) -> None:
        self._world.checks.spared.add("content")
        self._set(step, corrupt_digest=1 + step.amount % 3)

    def _lie(self, step: Step) -> None:
        # Nobody can know better than an aid that lies, not even of what a session began with.
        self._world.checks.spared |= {"twice", "truth", "told", "head", "mixed"}
        self._set(step, lie_readback=1 + step.amount % 3)

    def _nvm_fails(self, step: Step) -> None:
        self._set(step, nvm_failures=1 + step.amount % 4)

    def _drop_in_commit(self, step: Step) -> None:
        self._set(step, drop_link_in_commit=max(1, step.amount))

    def _slow_aid(self, step: Step) -> None:
        self._set(step, slow_link=8.0)
        self._later(step.length_s, lambda: self._unset(step, slow_link=1.0))

    # Pushes

    def _push_lost(self, step: Step) -> None:
        self._push("lose", step)

    def _push_twice(self, step: Step) -> None:
        self._push("repeat", step)

    def _push_throttled(self, step: Step) -> None:
        self._push("throttle", step)

    def _push_refused(self, step: Step) -> None:
        self._push("refuse", step)

    def _token_dead(self, step: Step) -> None:
        self._push("kill_token", step)

    def _push(self, trouble: Trouble, step: Step) -> None:
        self._world.push.trouble += [trouble] * (1 + step.amount % 3)

    # The wearer

    def _sleep(self, step: Step) -> None:
        self._trouble()
        self._world.sleep_phone(self._world.now_s() + step.length_s)

    def _wake(self, _: Step) -> None:
        self._world.wake_phone()

    def _take_back(self, _: Step) -> None:
        self._later(0.0, self._taken_back)

    async def _taken_back(self) -> None:
        phone, worn = self._world.handset.phone, self._world.packages.worn
        if phone is not None and worn and self._world.handset.is_alive:
            asked = phone.questions.take_back(worn[-1].epoch, worn[-1].seq)
            work = self._world.handset.process.spawn(asked)
            await asyncio.wait({work})
            if not work.cancelled() and isinstance(work.exception(), HubCallError):
                self._world.note("take_back", error=str(work.exception()))

    def _undo(self, step: Step) -> None:
        self._later(0.0, lambda: self._quiet("undo"))

    def _stop(self, step: Step) -> None:
        self._later(0.0, lambda: self._quiet("stop"))

    def _withdraw(self, step: Step) -> None:
        self._later(0.0, lambda: self._quiet("withdraw_consent"))

    async def _quiet(self, what: str) -> None:
        """The base must be in both aids soon, unless something hinders."""
        world, began_s = self._world, self._world.loop.time()
        phone, record = world.handset.phone, world.paper.record
        if phone is None or not world.handset.is_alive:
            return
        base = {kept.ear: kept.digest for kept in record.session.base}
        entry = record.in_flight
        is_kept = entry is not None and entry.offer.kind == "persist"
        aids = [world.aids.aid(ear) for ear in EARS]
        in_reach = all(aid.connected and aid.faults == type(aid.faults)() for aid in aids)
        work = world.handset.process.spawn(getattr(phone, what)())
        await asyncio.sleep(_SOON_S)
        hindered = self.trouble_at_s >= began_s or not world.handset.is_alive
        if base and in_reach and not is_kept and not hindered:
            since_s = began_s - world.began_s
            if not all(world.checks.ram[ear].ever(digest, after_s=since_s) for ear, digest in base.items()):
                world.checks.fail("quiet", f"{what}: the base is not back after {_SOON_S} s")
        await asyncio.wait({work})
        if entry is not None and entry.is_committing and entry.back is None and in_reach:
            self._check_finished(entry, began_s)

    def _check_finished(self, entry: JournalEntry, began_s: float) -> None:
        """A copy that had begun is not taken back for the sake of a withdrawn consent, unless something hinders it."""
        world, key = self._world, entry.key
        reports = world.paper.record.reports_of(*key) or ()
        if "E_CONSENT" in {report.code for report in reports} and self.trouble_at_s < began_s:
            world.checks.fail("finishes", f"seq {key[1]} was being kept, and the withdrawn consent has taken it back")

    def _background(self, step: Step) -> None:
        phone = self._world.handset.phone
        if phone is not None and self._world.handset.is_alive:
            phone.set_foreground(False)
            self._later(step.length_s, self._foreground)

    async def _foreground(self) -> None:
        phone = self._world.handset.phone
        if phone is not None and self._world.handset.is_alive:
            phone.set_foreground(True)

    def _button(self, step: Step) -> None:
        aid = self._aid(step)
        aid.select_slot(2 if aid._active_slot == 1 else 1)

    def _battery_low(self, step: Step) -> None:
        self._set(step, battery_percent=25)

    def _battery_flat(self, step: Step) -> None:
        self._set(step, battery_percent=15)
        self._later(step.length_s, lambda: self._unset(step, battery_percent=80))

    def _busy(self, step: Step) -> None:
        self._set(step, busy=True)
        self._later(step.length_s, lambda: self._unset(step, busy=False))

    def _other_app(self, _: Step) -> None:
        """A clinic writes both memories of both aids, past the phone."""
        for ear in EARS:
            aid = self._world.aids.aid(ear)
            first = aid._nvm.slots[0]
            low = tuple(max(0, value - 50) for value in first.program.g50_ddb)
            program = struct_replace(first.program, g50_ddb=low, g65_ddb=low, g80_ddb=low)
            aid.write_by_another_app(aid._nvm.slots)
            aid.save_by_another_app((struct_replace(first, program=program),))
            aid._news.set()
        record = self._world.paper.record
        if record.session.base or record.in_flight is not None:
            # In the middle of a session each ear may be given another part of it back to play.
            self._world.checks.spared.add("mixed")
        self._world.checks.foreign_pair()
        self._world.packages.foreign()
        self._trouble()

    # Within

    def _aid(self, step: Step) -> VirtualAid:
        return self._world.aids.aid(step.ear)

    def _set(self, step: Step, **faults: Any) -> None:
        self._trouble()
        aid = self._aid(step)
        aid.faults = replace(aid.faults, **faults)

    async def _unset(self, step: Step, **faults: Any) -> None:
        self._set(step, **faults)

    def _trouble(self) -> None:
        self.trouble_at_s = self._world.loop.time()

    def _later(self, delay_s: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def after() -> None:
            await asyncio.sleep(delay_s)
            await work()

        # Struck in the middle of a process it must not be part of that process.
        task = self._outside.run(asyncio.get_running_loop().create_task, after())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
