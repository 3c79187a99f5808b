"""A call from its first ring to its end, and what each change has everybody hear."""

from hypothesis import given
from hypothesis import strategies as st

from media.call import (
    Call,
    CallTimes,
    Leg,
    Place,
    answer,
    close,
    describe,
    end_leg,
    invite,
    lost,
    may_send,
    said,
    start,
    still_there,
    sweep,
    switch,
)
from media.legs import LegEvent
from media.telling import Changed, Over, Ring, StopRinging, standing, told
from protocol.contract.base import Refusal
from protocol.contract.calls import SetCallMedia

TIMES = CallTimes(ring_s=30, grace_s=15)
FP = "AA"


def at(connection: str, pod: str = "east") -> Place:
    return Place(connection, pod)


def begun(*others: str, busy: tuple[str, ...] = ()) -> Call:
    return start(
        "c",
        visit="v",
        clinic="c1",
        starter="ann",
        place=at("a1"),
        others=others or ("pat",),
        busy=busy,
        media="video",
        now_s=0,
        times=TIMES,
    )


def took(call: Call, user: str, connection: str) -> Call:
    after = answer(call, user, at(connection), now_s=5, max_peers=4)
    assert isinstance(after, Call)
    return after


def after(call: Call, user: str, event: LegEvent) -> Call:
    found = end_leg(call, user, event)
    assert isinstance(found, Call)
    return found


def code(outcome: object) -> str:
    assert isinstance(outcome, Refusal)
    return outcome.code


def test_it_rings_everywhere_and_the_first_connection_that_answers_has_it() -> None:
    call = begun()
    assert (call.state, told(None, call)) == ("ringing", (Ring("pat", 30),))
    taken = took(call, "pat", "p2")
    assert (taken.state, taken.legs[1].connection, taken.answered_at_s) == ("active", "p2", 5)
    assert told(call, taken) == (StopRinging("pat", "p2"), Changed(("a1", "p2")))
    assert took(taken, "pat", "p2") is taken


def test_another_connection_of_the_same_person_takes_it_over() -> None:
    call = took(begun(), "pat", "p1")
    moved = took(call, "pat", "p2")
    assert told(call, moved) == (StopRinging("pat", "p2"), Changed(("a1", "p2")))


def test_each_way_in_which_nobody_comes() -> None:
    for event, reason in (
        (LegEvent.DECLINE, "declined"),
        (LegEvent.BUSY, "busy"),
    ):
        call = begun()
        ended = after(call, "pat", event)
        assert (ended.ended, told(call, ended)) == (reason, (Over(("ann", "pat"), reason),))  # type: ignore[arg-type]  # reasons are text here
    call = begun()
    assert sweep(call, 29.9) is call
    assert sweep(call, 30).ended == "no_answer"
    assert after(call, "ann", LegEvent.HANG_UP).ended == "cancelled"
    assert begun(busy=("pat",)).ended == "busy"


def test_one_of_several_who_declines_ends_nothing() -> None:
    call = begun("pat", "ian")
    one = after(call, "ian", LegEvent.DECLINE)
    assert (one.state, told(call, one)) == ("ringing", (StopRinging("ian", ""), Changed(("a1",))))
    assert took(one, "pat", "p1").state == "active"


def test_how_it_stands_is_told_to_all_whom_it_concerns() -> None:
    call = took(begun("pat", "ian"), "pat", "p2")
    rings = next(leg.until_s for leg in call.legs if leg.user == "ian")
    expected = (StopRinging("ann", "a1"), StopRinging("pat", "p2"), Ring("ian", rings), Changed(("a1", "p2")))
    assert standing(call) == expected


def test_whoever_is_lost_may_come_back_for_a_while() -> None:
    call = took(begun(), "pat", "p1")
    away = lost(call, lambda leg: leg.connection == "p1", now_s=10, times=TIMES)
    assert (away.state, away.legs[1].state, away.legs[1].until_s) == ("active", "lost", 25)
    assert told(call, away) == (Changed(("a1",)),)
    assert lost(away, lambda leg: True, now_s=11, times=TIMES).legs[1].until_s == 25
    assert took(away, "pat", "p3").legs[1] == Leg("pat", "joined", "p3", "east", 25.0)
    assert sweep(away, 24.9) is away
    assert sweep(away, 25).ended == "gone"


def test_whoever_was_never_gone_was_never_away() -> None:
    call = took(begun(), "pat", "p1")
    away = lost(call, lambda leg: True, now_s=10, times=TIMES)
    back = still_there(away, lambda leg: leg.connection == "p1")
    assert [(leg.state, leg.connection) for leg in back.legs] == [("lost", "a1"), ("joined", "p1")]
    assert still_there(back, lambda leg: leg.connection == "p1") is back
    assert still_there(close(away, "gone"), lambda _: True).ended == "gone"


def test_a_hang_up_ends_it_for_two_and_not_for_three() -> None:
    two = took(begun(), "pat", "p1")
    assert after(two, "pat", LegEvent.HANG_UP).ended == "hung_up"
    three = took(took(begun("pat", "ian"), "pat", "p1"), "ian", "i1")
    left = after(three, "pat", LegEvent.HANG_UP)
    assert (left.state, [leg.state for leg in left.legs]) == ("active", ["joined", "left", "joined"])
    assert took(left, "pat", "p9").legs[1].connection == "p9"


def test_what_comes_too_late_changes_nothing() -> None:
    call = took(begun(), "pat", "p1")
    assert after(call, "pat", LegEvent.DECLINE) is call
    ended = close(call, "visit_ended")
    assert (ended.state, [leg.reason for leg in ended.legs]) == ("ended", ["ended", "ended"])
    assert close(ended, "hung_up") is ended
    assert sweep(ended, 1e9) is ended
    assert lost(ended, lambda _: True, now_s=1, times=TIMES) is ended
    assert code(answer(ended, "pat", at("p1"), now_s=9, max_peers=4)) == "no_call"
    assert code(end_leg(ended, "pat", LegEvent.HANG_UP)) == "no_call"
    assert code(answer(call, "eve", at("e1"), now_s=9, max_peers=4)) == "no_call"


def test_only_so_many_take_part() -> None:
    call = took(begun("pat", "ian"), "pat", "p1")
    assert code(answer(call, "ian", at("i1"), now_s=9, max_peers=2)) == "call_full"
    # Somebody who comes back had a place.
    away = lost(call, lambda leg: leg.user == "pat", now_s=1, times=TIMES)
    assert isinstance(answer(away, "pat", at("p2"), now_s=9, max_peers=2), Call)


def test_people_may_be_asked_later_and_again() -> None:
    call = after(begun("pat", "ian"), "ian", LegEvent.DECLINE)
    again = invite(call, ("ian", "tim", "pat"), busy=("tim",), now_s=50, times=TIMES)
    assert [(leg.user, leg.state) for leg in again.legs] == [
        ("ann", "joined"),
        ("pat", "ringing"),
        ("ian", "ringing"),
        ("tim", "left"),
    ]
    assert again.legs[2].until_s == 80
    assert Ring("ian", 80) in told(call, again)
    assert invite(again, ("pat",), busy=(), now_s=51, times=TIMES) is again


def test_what_somebody_says_of_its_media_is_seen_by_all() -> None:
    call = took(begun(), "pat", "p1")
    wish = SetCallMedia(visit="v", call_id="c", muted=True, screen=True)
    muted = said(call, "p1", wish)
    assert isinstance(muted, Call)
    assert (muted.peers()[1].muted, muted.peers()[1].screen, muted.peers()[1].held) == (True, True, False)
    assert said(muted, "p1", wish) is muted
    assert code(said(call, "p2", wish)) == "no_call"
    # A connection that comes new has said nothing yet.
    assert not took(muted, "pat", "p2").peers()[1].muted


def test_descriptions_go_by_the_table_of_the_pair() -> None:
    call = took(begun(), "pat", "p1")
    offered = describe(call, "p1", 0, fingerprint=FP, is_answer=False)
    assert isinstance(offered, Call)
    assert code(describe(offered, "p1", 0, fingerprint=FP, is_answer=True)) == "no_offer"
    crossed = describe(offered, "a1", 1, fingerprint="BB", is_answer=False)
    assert isinstance(crossed, Call)
    assert code(describe(crossed, "p1", 0, fingerprint=FP, is_answer=False)) == "glare"
    # Its own offer does not count, so it may answer with another certificate than that one showed.
    answered = describe(crossed, "p1", 0, fingerprint="EE", is_answer=True)
    assert isinstance(answered, Call)
    assert answered.pairs["0-1"].state == "stable"


def test_an_answer_shows_the_certificate_that_was_shown_before_but_for_a_restart() -> None:
    call = took(begun(), "pat", "p1")
    for fingerprint, is_restart, expected in (("BB", False, "fingerprint_changed"), (FP, False, ""), ("BB", True, "")):
        first = describe(call, "a1", 1, fingerprint="CC", is_answer=False)
        assert isinstance(first, Call)
        known = describe(first, "p1", 0, fingerprint=FP, is_answer=True)
        assert isinstance(known, Call)
        again = describe(known, "a1", 1, fingerprint="DD", is_answer=False, is_restart=is_restart)
        assert isinstance(again, Call)
        outcome = describe(again, "p1", 0, fingerprint=fingerprint, is_answer=True)
        assert (outcome.code if isinstance(outcome, Refusal) else "") == expected


def test_only_those_who_take_part_speak_and_only_to_each_other() -> None:
    call = took(begun("pat", "ian"), "pat", "p1")
    assert may_send(call, "p1", 0) == 1
    for connection, to, expected in (
        ("p1", 1, "no_such_peer"),
        ("p1", 2, "no_such_peer"),
        ("p1", 9, "no_such_peer"),
        ("x", 0, "no_call"),
    ):
        assert code(may_send(call, connection, to)) == expected
        assert code(describe(call, connection, to, fingerprint=FP, is_answer=False)) == expected
    assert code(may_send(close(call, "hung_up"), "p1", 0)) == "no_call"


def test_who_only_listens_sends_nothing_but_what_receives() -> None:
    call = begun("pat", "tess")
    joined = answer(took(call, "pat", "p1"), "tess", at("t1"), now_s=6, max_peers=4, talks=False)
    assert isinstance(joined, Call)
    assert code(describe(joined, "t1", 0, fingerprint=FP, is_answer=False, sends=True)) == "may_not_talk"
    offered = describe(joined, "t1", 0, fingerprint=FP, is_answer=False)
    assert isinstance(offered, Call)
    # The others talk to it as to everybody.
    answered = describe(offered, "a1", 2, fingerprint="BB", is_answer=True, sends=True)
    assert isinstance(answered, Call)
    anew = describe(answered, "a1", 2, fingerprint="BB", is_answer=False, sends=True)
    assert isinstance(anew, Call)
    assert code(describe(anew, "t1", 0, fingerprint=FP, is_answer=True, sends=True)) == "may_not_talk"


def test_a_new_connection_negotiates_anew_with_everybody_and_leaves_the_other_pairs_alone() -> None:
    call = took(took(begun("pat", "ian"), "pat", "p1"), "ian", "i1")
    for sender, to in (("p1", 0), ("i1", 0), ("i1", 1)):
        made = describe(call, sender, to, fingerprint=FP, is_answer=False)
        assert isinstance(made, Call)
        call = made
    assert sorted(took(call, "pat", "p2").pairs) == ["0-2"]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["answer", "lost", "decline", "busy", "hang_up", "tick", "invite", "over"]),
        st.integers(0, 2),
        st.integers(0, 3),
    ),
    max_size=30,
)


@given(STEPS)
def test_whatever_happens_it_is_over_exactly_when_nobody_can_be_talked_to(steps: list[tuple[str, int, int]]) -> None:
    users, call, now_s = ("ann", "pat", "ian"), begun("pat", "ian"), 0.0
    for what, who, extra in steps:
        user, before = users[who], call
        if what == "answer":
            found = answer(call, user, at(f"{user}{extra}"), now_s=now_s, max_peers=4)
            call = found if isinstance(found, Call) else call
        elif what == "lost":
            call = lost(call, lambda leg, user=user: leg.user == user, now_s=now_s, times=TIMES)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        elif what == "tick":
            now_s += 7 * extra
            call = sweep(call, now_s)
        elif what == "invite":
            call = call if call.ended else invite(call, (user,), busy=(), now_s=now_s, times=TIMES)
        elif what == "over":
            call = close(call, "visit_ended") if extra == 0 else call
        else:
            ended = end_leg(call, user, LegEvent(what))
            call = ended if isinstance(ended, Call) else call
        assert call.version == before.version if call == before else call.version > before.version
        taking_part = sum(leg.state in ("joined", "lost") for leg in call.legs)
        waiting = sum(leg.state == "ringing" for leg in call.legs)
        assert (call.ended is None) == (taking_part > 1 or (taking_part == 1 and waiting > 0))
        # Nobody who has gone has a place, and all places are different.
        places = [leg.connection for leg in call.legs if leg.state != "left" and leg.connection]
        assert len(places) == len(set(places))
        assert all(leg.connection == "" for leg in call.legs if leg.state == "left")
        # Whoever rang hears in some way that it is over.
        for number, leg in enumerate(before.legs):
            if leg.state == "ringing" and call.legs[number].state != "ringing":
                heard = told(before, call)
                assert any(
                    (isinstance(one, StopRinging) and one.user == leg.user)
                    or (isinstance(one, Over) and leg.user in one.users)
                    for one in heard
                )


def test_something_else_carries_it_and_what_was_negotiated_does_not_count() -> None:
    call = took(begun(), "pat", "p1")
    offered = describe(call, "p1", 0, fingerprint=FP, is_answer=False)
    assert isinstance(offered, Call)
    switched = switch(offered, "acs")
    assert (switched.backend, switched.pairs, switched.version) == ("acs", {}, offered.version + 1)
    assert switched.legs == offered.legs
    assert switch(switched, "acs") is switched
    over = close(switched, "no_video")
    assert switch(over, "webrtc") is over
