"""The time of a log without a database: it rises, whoever sets the host's clock."""

from itertools import count

import pytest

from fitting.log_clock import LogClock
from fitting.log_memory import MemoryDeviceLog
from fitting.log_values import LogLimits
from tests.contracts.device_log_bench import DEVICE, START, Bench, Clock, refused, registered

LEASE_S = 15.0
HOUR_S = 3_600.0


@pytest.mark.parametrize("set_by_s", [-HOUR_S, HOUR_S])
async def test_a_lease_in_memory_lives_as_long_as_it_was_granted_for_whoever_sets_the_clock(set_by_s: float) -> None:
    wall, monotonic, numbers = Clock(), Clock(50.0), count(1)
    limits = LogLimits(lease_ttl_s=LEASE_S)
    log = MemoryDeviceLog(clock=wall, monotonic=monotonic, new_id=lambda: f"id-{next(numbers)}", limits=limits)
    bench = Bench(log, wall, outbox=log.outbox)
    assert await log.create(DEVICE, registered()) is None
    await bench.fitted()
    wall.pass_s(set_by_s)
    monotonic.pass_s(LEASE_S - 1)
    alive = await log.alive(DEVICE)
    assert alive is not None
    assert alive[1] == pytest.approx(1.0)
    held = refused(await log.acquire(DEVICE, session="s-2", holder="bob"))
    assert (held.code, held.retry_after_ms) == ("lease_held", 1_000)
    assert await log.lapsed() == ()
    monotonic.pass_s(1)
    assert [device for device, _ in await log.lapsed()] == [DEVICE]
    assert log.outbox.now_s() == START + LEASE_S


@pytest.mark.parametrize(("newest_s", "begins_s"), [(0.0, 500.0), (400.0, 500.0), (600.0, 600.0)])
def test_it_begins_with_the_hosts_time_but_never_before_what_has_happened(newest_s: float, begins_s: float) -> None:
    wall, monotonic = Clock(100.0), Clock(7.0)
    clock = LogClock(wall, monotonic)
    assert clock.now_s() == 100.0
    wall.now_s, monotonic.now_s = 500.0, 9.0
    assert clock.now_s() == 102.0
    clock.begin(newest_s)
    assert clock.now_s() == begins_s
