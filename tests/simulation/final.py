"""What must be true when everything has healed: the server knows what is in the aids, and nothing is left half done.

Asks the server's log and looks at the aids themselves. Must not know what the run was. Read ``judge`` first.
"""

from msgspec import UNSET

from clients.journal import JournalRecord
from fitting.delivery import ENDS, digest_of
from fitting.digest import ear_digest
from fitting.log_values import Delivery, DeviceHead, LogEvent, Revision, first_hash
from protocol.contract.base import EARS, Refusal

from .handset import DEVICE
from .world import World

__all__ = ["judge", "quiet", "told"]

_NEVER_BEGUN = frozenset({"superseded", "expired", "cancelled", "rejected", "declined"})


async def quiet(world: World) -> bool:
    """Whether nothing is under way any more."""
    server, record = world.server, world.paper.record
    if server is None or not server.process.is_alive:
        return False
    head = await server.log.head(DEVICE)
    waiting = [one for one in await server.log.pending(DEVICE) if not _waits_for_its_wearer(one, record)]
    is_done = record.in_flight is None and not record.session.is_open and not record.notices
    return not isinstance(head, Refusal) and not waiting and head.live is None and is_done


def _waits_for_its_wearer(delivery: Delivery, record: JournalRecord) -> bool:
    """Whether it has no end because its wearer has said nothing yet."""
    is_put_aside = any(entry.key == (delivery.epoch, delivery.seq) for entry in record.awaiting)
    return is_put_aside and delivery.state == "awaiting_install" and delivery.withdrawn is None


async def told(world: World) -> None:
    """The server knows what is in the aids without having been asked."""
    server = world.server
    assert server is not None
    head = await server.log.head(DEVICE)
    assert not isinstance(head, Refusal)
    _truth(world, head, "told")


async def judge(world: World, *, is_over: bool = False) -> None:
    """All of it. ``is_over``: nothing can wait for anything any more."""
    for life in world.lives:
        for where, error in life.book.crashes:
            world.checks.fail("crash", f"{where}: {type(error).__name__}: {error}")
    for failure in world.loop.failures:
        world.checks.fail("crash", f"nobody took {type(failure).__name__}: {failure}")
    if world.handset.failure is not None:
        error = world.handset.failure
        world.checks.fail("crash", f"the phone ended with {type(error).__name__}: {error}")
    server = world.server
    assert server is not None
    head = await server.log.head(DEVICE)
    assert not isinstance(head, Refusal)
    _truth(world, head, "truth")
    await _pair(world, head)
    await _deliveries(world, head, is_over=is_over)
    if is_over and world.disk.due():
        world.checks.fail("outbox", f"{[(one.kind, one.seq) for one in world.disk.due()]} are to be done for ever")
    _chain(world, await _events(world))


def _truth(world: World, head: DeviceHead, rule: str) -> None:
    """Server state and aids."""
    for ear in EARS:
        known = getattr(head.in_aid, ear)
        aid = world.aids.aid(ear)
        held = ear_digest(aid._ram), ear_digest(aid._nvm)
        if known is UNSET or (known.ram, known.nvm) != held:
            world.checks.fail(rule, f"the {ear} aid holds something else than the server knows ({known})")
    record = world.paper.record
    if record.in_flight is not None:
        world.checks.fail("journal", f"seq {record.in_flight.offer.seq} is still in the phone's journal")
    if record.session.is_open:
        world.checks.fail("dead-man", f"the phone's session is {record.session.state}")


async def _pair(world: World, head: DeviceHead) -> None:
    """Both ears of one revision, or the alarm."""
    server = world.server
    assert server is not None
    revisions = await server.log.revisions(DEVICE, limit=1_000)
    pairs = {tuple(digest_of(one.digests, ear) for ear in EARS) for one in revisions}
    ram = tuple(ear_digest(world.aids.aid(ear)._ram) for ear in EARS)
    nvm = tuple(ear_digest(world.aids.aid(ear)._nvm) for ear in EARS)
    if ram not in pairs | world.checks.foreign:
        world.checks.fail("mixed", "the two aids play two revisions")
    if nvm not in pairs | world.checks.foreign and "split" not in head.alarms:
        world.checks.fail("split", "the two aids keep two revisions, and there is no alarm")
    if head.alarms:
        world.note("alarms", alarms=sorted(head.alarms))
    is_waiting = bool(await server.log.pending(DEVICE))
    if head.revision is not None and not is_waiting and _pair_of(head.revision) != ram:
        world.checks.fail("head", "the head is not what the aids play, and nothing is on its way")
    if head.ground is not None and _pair_of(head.ground) != nvm:
        world.checks.fail("head", "packages are written over something else than the aids keep")


def _pair_of(revision: Revision) -> tuple[str | None, ...]:
    return tuple(digest_of(revision.digests, ear) for ear in EARS)


async def _deliveries(world: World, head: DeviceHead, *, is_over: bool) -> None:
    """Each has one end, and that end is what was seen at the aids; or it waits for its wearer."""
    server, checks = world.server, world.checks
    assert server is not None
    for seq in range(1, head.last_seq + 1):
        delivery = await server.log.delivery(DEVICE, seq)
        if delivery is None:
            checks.fail("lost", f"seq {seq} is not in the log")
            continue
        if delivery.kind == "persist":
            checks.persist.add(seq)
        if delivery.state not in ENDS[delivery.kind]:
            if not is_over and _waits_for_its_wearer(delivery, world.paper.record):
                continue
            checks.fail("no end", f"seq {seq} is {delivery.state} {dict(delivery.ears)}")
        else:
            _effect(world, delivery)
    for epoch, seq in checks.accepted:
        if epoch == head.epoch and seq > head.last_seq:
            checks.fail("lost", f"seq {seq} was accepted, and the log ends with {head.last_seq}")


def _effect(world: World, delivery: Delivery) -> None:
    checks, key = world.checks, (delivery.epoch, delivery.seq)
    if delivery.state in _NEVER_BEGUN and set(delivery.ears.values()) <= _NEVER_BEGUN and key in checks.written:
        checks.fail("effect", f"seq {delivery.seq} is {delivery.state}, and was written")
    if delivery.code == "poison" and not checks.is_spoiled:
        checks.fail("poison", f"the phone was lost over seq {delivery.seq} again and again, with nothing wrong")
    told = checks.ended.get(key)
    if told is not None and told != delivery.state:
        checks.fail("one end", f"seq {delivery.seq} was told as {told} and is {delivery.state}")
    accepted_s = checks.accepted.get(key, 0.0) - 60.0
    for ear, state in delivery.ears.items():
        digest = digest_of(delivery.revision.digests, ear)
        memory = {"confirmed": checks.ram, "active": checks.nvm}.get(state)
        if memory is not None and (digest is None or not memory[ear].ever(digest, after_s=accepted_s)):
            checks.fail("effect", f"seq {delivery.seq} is {state}, and {ear} never held it")


async def _events(world: World) -> list[LogEvent]:
    events: list[LogEvent] = []
    server = world.server
    assert server is not None
    after = 0
    while more := await server.log.changed_since(DEVICE, after):
        events += more
        if more[-1].n <= after:
            world.checks.fail("chain", f"after event {after} comes {more[-1].n}")
            break
        after = more[-1].n
    return events


def _chain(world: World, events: list[LogEvent]) -> None:
    """The audit: in one piece, and one end for each delivery."""
    before, ends = first_hash(DEVICE), dict[int, list[str]]()
    accepted: set[int] = set()
    for n, event in enumerate(events, 1):
        if event.n != n or event.chained(n, before).hash != event.hash:
            world.checks.fail("chain", f"event {event.n} does not follow on {n - 1}")
            return
        before = event.hash
        if event.kind == "delivery" and event.seq is not None and event.ear is None:
            accepted |= {event.seq} if event.state == "accepted" else set()
            if any(event.state in states for states in ENDS.values()) and not _goes_on(world, event):
                ends.setdefault(event.seq, []).append(event.state)
    for (_, seq), told in world.checks.ended.items():
        if len(ends.get(seq, ())) != 1:
            world.checks.fail("audit", f"seq {seq} ended as {told}, the record says {ends.get(seq)}")
    for _, seq in world.checks.accepted:
        if seq not in accepted:
            world.checks.fail("audit", f"seq {seq} was accepted, and there is no record of it")


def _goes_on(world: World, event: LogEvent) -> bool:
    """``confirmed`` is no end of what is to be kept."""
    return event.state == "confirmed" and event.seq in world.checks.persist
