"""A call that comes alone takes a short way: it must never show."""

import random
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.fuzz.hub_input import HubInput
from protocol.signalr.codec import CODECS
from protocol.signalr.connection import HubConnection, HubLimits, TimedOut
from protocol.signalr.messages import Invocation

from .plain import BOTH, opened, plain

both = pytest.mark.parametrize("protocol", BOTH)


def _receive(connection: HubConnection, data: bytes, now: float) -> list[object]:
    return [plain(event, connection.codec) for event in connection.receive_data(data, now)]


@both
@pytest.mark.parametrize("stateful", [False, True])
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_a_call_that_is_found_alone_is_what_all_data_would_have_shown(
    protocol: Literal["json", "messagepack"], stateful: bool, seed: int
) -> None:
    steps = HubInput(protocol, random.Random(seed), max_message_bytes=2_048)
    limits = HubLimits(max_message_bytes=2_048)
    one, other = (opened(protocol, limits, version=2, stateful=stateful) for _ in range(2))
    for now in range(1, 20):
        data = steps.step().data + (steps.step().data if now % 5 == 0 else b"")
        lone = one.lone_call(data, now)
        expected = _receive(other, data, now)
        assert stateful is False or lone is None
        assert (_receive(one, data, now) if lone is None else [plain(lone, one.codec)]) == expected
        assert (one.state, one.quiet_until(now)) == (other.state, other.quiet_until(now))


@both
def test_before_the_handshake_and_behind_the_end_no_call_is_found(protocol: str) -> None:
    call = CODECS[protocol].encode(Invocation("m", (1,), "0"))
    unshaken, over = HubConnection(HubLimits(), now=0.0), opened(protocol)
    assert over.lone_call(call, 1.0) is not None
    over.close()
    assert unshaken.lone_call(call, 1.0) is over.lone_call(call, 1.0) is None


def test_a_lone_call_shows_that_the_client_lives() -> None:
    connection = opened("json")
    connection.receive_data(b'{"type":6}\x1e', 0.0)
    assert connection.lone_call(CODECS["json"].encode(Invocation("m", ())), 29.0) is not None
    assert not [event for event in connection.tick(31.0) if isinstance(event, TimedOut)]
