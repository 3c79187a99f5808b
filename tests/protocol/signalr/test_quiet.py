"""``quiet_until`` spares an owner of thousands of connections from asking each of them all the time."""

import math
import random

import pytest

from protocol.signalr.connection import Broken, HubConnection, HubLimits, State, TimedOut
from protocol.signalr.endpoint import Endpoint

from .plain import BOTH, opened

PING = {"json": b'{"type":6}\x1e', "messagepack": b"\x02\x91\x06"}
LIMITS = HubLimits(keep_alive_s=15.0, client_timeout_s=30.0)


def first_word(connection: Endpoint, now: float, step_s: float = 0.25) -> float:
    """When ``tick``, asked all the time, has something to say."""
    while not connection.tick(now):
        now += step_s
    return now


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("limits", [LIMITS, HubLimits(keep_alive_s=20.0, client_timeout_s=5.0)], ids=["usual", "hasty"])
def test_a_tick_has_nothing_to_say_before_it_and_something_at_it(protocol: str, limits: HubLimits) -> None:
    rng = random.Random(protocol)
    for _ in range(50):
        connection = opened(protocol, limits)
        now = 0.0
        for _ in range(rng.randrange(4)):
            now += rng.choice((0.25, 1.0, 4.0))
            if rng.random() < 0.5:
                connection.receive_data(PING[protocol], now)
            else:
                connection.sent_at = now
        quiet_until = connection.quiet_until(now)
        says_at = first_word(connection, now)
        # A client that has never pinged may be silent: then it is asked once more often than needed.
        assert quiet_until <= says_at
        if connection.state is State.CLOSED or limits is LIMITS:
            assert quiet_until == says_at


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("limits", [LIMITS, HubLimits(keep_alive_s=20.0, client_timeout_s=5.0)], ids=["usual", "hasty"])
def test_a_ping_makes_no_deadline_earlier(protocol: str, limits: HubLimits) -> None:
    for pings_before in (0, 1):
        for pinged_at in (0.25, 2.0, 4.75):
            connection = opened(protocol, limits)
            connection.receive_data(PING[protocol] * pings_before, 0.0)
            quiet_until = connection.quiet_until(0.0)
            connection.receive_data(PING[protocol], pinged_at)
            assert first_word(connection, pinged_at) >= quiet_until


def test_what_may_have_other_deadlines_is_never_quiet() -> None:
    stateful = opened("json", LIMITS, version=2, stateful=True)
    assert stateful.quiet_until(3.0) == 3.0
    silent = HubConnection(LIMITS, now=0.0)
    assert silent.quiet_until(3.0) == 3.0
    closed = opened("json", LIMITS)
    closed.close()
    assert closed.quiet_until(3.0) == 3.0


@pytest.mark.parametrize("protocol", BOTH)
def test_what_looks_like_a_ping_in_the_middle_of_a_message_is_none(protocol: str) -> None:
    """The end of a message that came in two parts is not taken for a ping of its own."""
    connection = opened(protocol, HubLimits(keep_alive_s=math.inf))
    held, rest = (b'{"type":3,"x":', b"") if protocol == "json" else (b"\x04", b"\x00")
    assert connection.receive_data(held, 1.0) == []
    events = connection.receive_data(PING[protocol] + rest, 1.0)
    # In JSON it ends the held message, which is whole but for its last brace.
    assert [type(event) for event in events] == [Broken]
    alone = opened(protocol, HubLimits(keep_alive_s=math.inf))
    assert alone.receive_data(PING[protocol], 1.0) == []
    assert [type(event) for event in alone.tick(31.0)] == [TimedOut]
