"""A phone in the middle of a live session, for the tests of what gives its base back."""

from clients.journal import MemoryJournal
from clients.phone_driver import OfferRunner
from clients.phone_session import SessionState
from clients.virtual_aid.memory import factory_image
from clients.virtual_aid.pair import VirtualPair
from protocol.contract.base import EARS
from protocol.contract.devices import Settled
from protocol.contract.sessions import SessionAlive
from tests.clients.offers import (
    BANDS_HZ,
    DEVICE,
    EPOCH,
    make_offer,
    told,
)
from tests.clients.phone_bench import HAPPY, Clock, Server, make_runner

FACTORY = {ear: factory_image(ear, BANDS_HZ) for ear in EARS}


def holds_base(pair: VirtualPair) -> bool:
    return all(pair.aid(ear).read_image("ram") == FACTORY[ear] for ear in pair.ears)


def alive(fence: int = 1, ttl_ms: int = 15_000, device: str = DEVICE) -> SessionAlive:
    return SessionAlive(device=device, fence=fence, ttl_ms=ttl_ms)


def settle(runner: OfferRunner, seq: int) -> None:
    runner.settled(Settled(device=DEVICE, epoch=EPOCH, seq=seq))


async def tried(pair: VirtualPair, clock: Clock | None = None, journal: MemoryJournal | None = None) -> OfferRunner:
    """A phone in a session that has tried one live change, which was confirmed and settled."""
    runner = make_runner(pair, journal, clock=clock or Clock())
    server = Server()
    await runner.run_offer(make_offer(pair), server.report)
    assert told(server.reports) == HAPPY
    settle(runner, 1)
    assert runner.record.session.state is SessionState.TRIAL
    return runner
