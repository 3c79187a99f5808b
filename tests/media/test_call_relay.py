"""When media of a call go through the server, and when what is said may be recorded."""

from typing import Any

from media.call import Call, Place, answer, close, describe, end_leg, lost, may_send, start, sweep, switch
from media.call_relay import answer_recording, ask_recording, recording_state, stop_recording, wish_for_relay
from media.legs import LegEvent
from media.telling import Changed, told
from protocol.contract.base import Refusal
from protocol.contract.calls import RELAY_PEER
from tests.media.test_call import FP, TIMES, begun, code, took


def relayed(*others: str) -> Call:
    call = start(
        "c",
        visit="v",
        clinic="k",
        starter="ann",
        place=Place("a1", "east"),
        others=others or ("pat",),
        busy=(),
        media="audio",
        now_s=0.0,
        times=TIMES,
        backend="relay",
        relay="east",
    )
    for user in others or ("pat",):
        call = took(call, user, f"{user[0]}1")
    return call


def given(call: Call | Refusal) -> Call:
    assert isinstance(call, Call), call
    return call


def test_the_server_is_spoken_to_and_nobody_else() -> None:
    call = relayed()
    assert given(describe(call, "a1", RELAY_PEER, fingerprint=FP, is_answer=False)) is call
    assert may_send(call, "p1", RELAY_PEER) == 1
    assert code(may_send(call, "p1", 0)) == "relayed"
    assert code(may_send(call, "x", RELAY_PEER)) == "no_call"
    assert code(may_send(took(begun(), "pat", "p1"), "p1", RELAY_PEER)) == "no_such_peer"
    assert code(may_send(close(call, "hung_up"), "p1", RELAY_PEER)) == "no_call"


def test_it_moves_there_once_everybody_who_takes_part_wishes_it() -> None:
    call = took(begun("pat", "ian"), "pat", "p1")
    one = given(wish_for_relay(call, "pat", "west"))
    assert (one.relay, one.peers()[1].wants_relay, one.backend) == ("", True, "webrtc")
    assert wish_for_relay(one, "pat", "west") is one
    both = given(wish_for_relay(one, "ann", "east"))
    assert (both.relay, both.backend, both.pairs) == ("east", "relay", {})
    assert not any(peer.wants_relay for peer in both.peers())
    assert told(one, both) == (Changed(("a1", "p1")),)
    assert wish_for_relay(both, "ann", "west") is both
    # Who does not take part yet wishes nothing.
    assert code(wish_for_relay(call, "ian", "west")) == "no_call"
    assert code(wish_for_relay(close(call, "gone"), "ann", "west")) == "no_call"
    assert code(wish_for_relay(switch(call, "acs"), "ann", "west")) == "backend_off"


def test_it_is_recorded_while_everybody_agrees() -> None:
    call = relayed()
    assert recording_state(call) == "off"
    asked = given(ask_recording(call, "ann", "r1"))
    assert (recording_state(asked), asked.peers()[0].agrees, asked.peers()[1].agrees) == ("asked", True, False)
    assert told(call, asked) == (Changed(("a1", "p1")),)
    on = given(answer_recording(asked, "pat", agrees=True))
    assert recording_state(on) == "on"
    assert answer_recording(on, "pat", agrees=True) is on
    off = given(answer_recording(on, "pat", agrees=False))
    assert (recording_state(off), any(peer.agrees for peer in off.peers())) == ("off", False)
    assert stop_recording(off) is off
    assert recording_state(close(on, "hung_up")) == "off"


def test_who_comes_is_asked_and_who_comes_back_is_not() -> None:
    call = given(ask_recording(relayed("pat", "ian"), "ann", "r1"))
    call = given(answer_recording(given(answer_recording(call, "pat", agrees=True)), "ian", agrees=True))
    assert recording_state(call) == "on"
    away = lost(call, lambda leg: leg.user == "pat", now_s=1, times=TIMES)
    assert recording_state(away) == "on"
    assert recording_state(took(away, "pat", "p2")) == "on"
    gone = sweep(away, 1e6)
    assert recording_state(gone) == "on"
    again = answer(gone, "pat", Place("p3", "west"), now_s=1e6, max_peers=4)
    assert recording_state(given(again)) == "asked"
    # Alone nobody is recorded.
    left = given(end_leg(gone, "ian", LegEvent.HANG_UP))
    assert left.ended is not None


def test_what_cannot_be_recorded() -> None:
    call = relayed()
    direct = took(begun(), "pat", "p1")
    refusals: list[tuple[Any, str]] = [
        (ask_recording(direct, "ann", "r"), "not_relayed"),
        (ask_recording(call, "eve", "r"), "no_call"),
        (ask_recording(close(call, "gone"), "ann", "r"), "no_call"),
        (answer_recording(call, "pat", agrees=True), "no_recording"),
        (answer_recording(call, "eve", agrees=True), "no_call"),
    ]
    assert [code(outcome) for outcome, _ in refusals] == [expected for _, expected in refusals]
    assert answer_recording(call, "pat", agrees=False) is call


def test_who_sends_too_much_is_out_of_it() -> None:
    assert given(end_leg(relayed(), "pat", LegEvent.OVER_LIMIT)).ended == "over_limit"
