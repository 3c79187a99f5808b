"""Live work that ends by itself: each fall-back is brought about by its cause, over the real hub, on a set clock.

Whatever the cause, the phone restores before it hears why, both ends hear the same why, work in flight goes the way of
the mode table, and the fitter can read what was heard and lost.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from clients.hub_client import HubClient
from protocol.contract.devices import AcquireLease, AttachAnswer, DeliveryChanged, LeaseAnswer, Offer
from protocol.contract.fitting import SubmitAnswer
from protocol.contract.history import GetRevision, RevisionAnswer
from protocol.contract.session import Reauthenticate, ReauthenticateAnswer
from protocol.contract.sessions import (
    AnswerConsent,
    ConsentAnswer,
    ConsentAsked,
    Done,
    Heartbeat,
    Hold,
    LeaseRenewed,
    ModeAnswer,
    ModeChanged,
    RevertNow,
    SessionAlive,
    Withdraw,
)
from signaling.hubs.care_hub import CareHub
from tests.eventually import eventually
from tests.signaling.away import log_of
from tests.signaling.care import CLAIM, CONTENT, Connect, change, lease, louder, submit
from tests.signaling.conftest import House
from tests.signaling.visit import Told, Visit, images_of, refused, visit

TOKEN_S = 20.0


def care_of(house: House) -> CareHub:
    care = house.parts.hubs[0].hub
    assert isinstance(care, CareHub)
    return care


def state_of(house: House) -> str:
    return care_of(house)._session.state_of("d1")


def ending(connect: Connect, who: str) -> Connect:
    """A way to connect by which the token of one person ends soon."""

    async def connected(user: str, *roles: str, **more: Any) -> HubClient:
        return await connect(user, *roles, expires_in_s=TOKEN_S if user == who else 3_600, **more)

    return connected


async def pass_s(here: Visit, house: House, seconds: float, *, beat: Any = None, fitter: bool = True) -> None:
    """Time passes in steps of five seconds, at each of which an end that is there says so before the server looks."""
    for _ in range(int(seconds / 5)):
        house.wall.now_s += 5
        house.monotonic.now_s += 5
        house.sweep()
        if beat is not None:
            await here.call("Heartbeat", Heartbeat(device="d1", **beat), Done, by=here.pat)
        if fitter:
            hold = Hold(device="d1", session="s1", fence=here.leased.fence)
            await here.ann.ask("RenewLease", hold, answer=LeaseRenewed)
        await house.sweep_care()


async def talk(here: Visit, call: Any) -> None:
    await here.call("Heartbeat", Heartbeat(device="d1", call=call), Done)


async def link_slow(here: Visit, house: House) -> None:
    for state in ("frozen", "frozen", "none"):
        await pass_s(here, house, 5, beat={"rtt_ms": 1_501})
        assert state_of(house) == state


async def phone_lost(here: Visit, house: House) -> None:
    await pass_s(here, house, 30)


async def battery(here: Visit, house: House) -> None:
    await pass_s(here, house, 5, beat={"battery": 19})


async def background(here: Visit, house: House) -> None:
    await pass_s(here, house, 35, beat={"foreground": False})


async def aids_away(here: Visit, house: House) -> None:
    await pass_s(here, house, 125, beat={"away": ("right",)})


async def lease_lost(here: Visit, house: House) -> None:
    await pass_s(here, house, 15, beat={}, fitter=False)


async def time_up(here: Visit, house: House) -> None:
    judging = care_of(house)._session._judging
    judging._limits = replace(judging._limits, session_s=10)
    await pass_s(here, house, 10, beat={})


async def consent_withdrawn(here: Visit, _: House) -> None:
    await here.call("AnswerConsent", AnswerConsent(device="d1", accepted=False), Done, by=here.pat)


async def call_ended(here: Visit, _: House) -> None:
    await talk(here, "on")
    await talk(here, "ended")


async def call_silent(here: Visit, house: House) -> None:
    await talk(here, "on")
    await pass_s(here, house, 5, beat={})
    assert state_of(house) == "live"
    await pass_s(here, house, 5, beat={})
    assert state_of(house) == "frozen"
    await pass_s(here, house, 20, beat={})


async def dead_man(here: Visit, _: House) -> None:
    await here.tell("dead_man", CONTENT, CONTENT, fence=here.leased.fence)


async def expired(here: Visit, house: House) -> None:
    await pass_s(here, house, TOKEN_S - 5, beat={})
    assert state_of(house) == "live"
    house.wall.now_s += 5
    house.monotonic.now_s += 5
    house.sweep()


CAUSES: list[tuple[str, str, Callable[[Visit, House], Awaitable[None]]]] = [
    ("link_slow", "session_ended", link_slow),
    ("phone_lost", "session_ended", phone_lost),
    ("battery", "battery", battery),
    ("background", "background", background),
    ("aids_away", "session_ended", aids_away),
    ("consent_withdrawn", "consent_withdrawn", consent_withdrawn),
    ("call_ended", "session_ended", call_ended),
    ("call_ended", "session_ended", call_silent),
    ("token_expired", "session_ended", expired),
    ("phone_token", "session_ended", expired),
    ("dead_man", "session_ended", dead_man),
    ("lease_lost", "lease_lost", lease_lost),
    ("time_up", "session_ended", time_up),
]
WHOSE_TOKEN = {"token_expired": "ann", "phone_token": "pat"}


async def in_flight(here: Visit) -> tuple[SubmitAnswer, SubmitAnswer, SubmitAnswer]:
    """A change that is heard, one that the phone has and has not begun, and one that waits behind it. Both lower."""
    heard = await here.apply(change(here.leased))
    offered = await here.call("Submit", change(await lease(here.ann), *louder(-10), key="k2"), SubmitAnswer)
    await here.phone.first(Offer, 1)
    waiting = await here.call("Submit", change(await lease(here.ann), *louder(-10), key="k3"), SubmitAnswer)
    return heard, offered, waiting


async def ended(told: Told) -> ModeChanged:
    await eventually(lambda: told.of(ModeChanged) and told.of(ModeChanged)[-1].state == "none")
    return told.of(ModeChanged)[-1]


async def falls_back(
    connect: Connect, house: House, reason: str, restore: str, bring: Callable[[Visit, House], Awaitable[None]]
) -> None:
    """Live work that is brought to its end, wherever its two ends hang, and all that becomes of it."""
    here = await visit(ending(connect, WHOSE_TOKEN.get(reason, "")))
    heard, offered, waiting = await in_flight(here)
    await bring(here, house)

    at_phone = await ended(here.phone)
    assert (at_phone.reason, at_phone.mode, at_phone.draft) == (reason, "standard", UNSET)
    revert = here.phone.of(RevertNow)[0]
    assert (revert.cause, revert.fence) == (restore, here.leased.fence)
    assert here.phone.order.index("RevertNow") < len(here.phone.order) - 1 - here.phone.order[::-1].index("ModeChanged")

    ann, fitter = here.ann, here.fitter
    if reason == "token_expired":
        # He is gone; when he is back he hears what he has missed.
        await eventually(lambda: house.app_sessions() == 1)
        fitter = Told()
        ann = await connect("ann", "clinician", heard=fitter)
        await lease(ann)
    at_fitter = await ended(fitter)
    assert (at_fitter.reason, at_fitter.mode, at_fitter.draft) == (reason, "standard", heard.revision_id)
    lost = await ann.ask("GetRevision", GetRevision(device="d1", revision=heard.revision_id), answer=RevisionAnswer)
    assert isinstance(lost, RevisionAnswer)
    assert lost.view.digests == heard.digests

    log = care_of(house)._log
    sessions = [event.state for event in await log.changed_since("d1", 0) if event.kind == "session"]
    assert sessions[-1] == reason
    if reason == "phone_token":
        # It is asked when it is back.
        pat = await connect("pat", "patient", "device", heard=here.phone)
        claim = msgspec.structs.replace(CLAIM, right=images_of(CONTENT, CONTENT), epoch=here.epoch)
        assert isinstance(await pat.ask("AttachDevice", claim, answer=AttachAnswer), AttachAnswer)
    assert (await here.phone.first(Withdraw)).seq == offered.seq
    found = await log.delivery("d1", waiting.seq)
    assert found is not None
    assert (found.state, found.code) == ("cancelled", "E_USER_STOP")
    if fitter is here.fitter:
        assert "cancelled" in [told.state for told in fitter.of(DeliveryChanged) if told.seq == waiting.seq]


@pytest.mark.parametrize(("reason", "restore", "bring"), CAUSES)
async def test_a_fall_back_restores_tells_both_why_and_sees_to_work_in_flight(
    connect: Connect, house: House, reason: str, restore: str, bring: Callable[[Visit, House], Awaitable[None]]
) -> None:
    await falls_back(connect, house, reason, restore, bring)


# What is no such cause


async def test_one_slow_round_trip_freezes_and_does_not_end(connect: Connect, house: House) -> None:
    here = await visit(connect)
    await pass_s(here, house, 5, beat={"rtt_ms": 60_000})
    assert (await here.fitter.first(ModeChanged, 1)).reason == "freeze"
    assert refused(await submit(here.ann, change(here.leased))).code == "frozen"
    await pass_s(here, house, 10, beat={"rtt_ms": 100})
    assert (await here.fitter.first(ModeChanged, 2)).reason == "thaw"
    await pass_s(here, house, 60, beat={"rtt_ms": 100})
    assert state_of(house) == "live"


async def test_a_slow_link_that_is_lost_is_a_lost_link(connect: Connect, house: House) -> None:
    here = await visit(connect)
    await pass_s(here, house, 5, beat={"rtt_ms": 60_000})
    before = house.app_sessions()
    await here.pat.stop()
    await eventually(lambda: house.app_sessions() < before)
    await pass_s(here, house, 30)
    assert (await ended(here.fitter)).reason == "phone_lost"


async def test_only_the_fitter_at_work_ends_it_with_his_call_and_only_after_there_was_one(
    connect: Connect, house: House
) -> None:
    here = await visit(connect)
    stranger = await connect("ann", "clinician", clinic="c2")
    await talk(here, "ended")
    await here.call("Heartbeat", Heartbeat(device="d1", call="on"), Done, by=stranger)
    await here.call("Heartbeat", Heartbeat(device="d1", call="ended"), Done, by=stranger)
    await here.call("Heartbeat", Heartbeat(call="ended"), Done)
    await pass_s(here, house, 40, beat={})
    assert state_of(house) == "live"
    assert here.phone.of(RevertNow) == []


async def test_a_token_that_was_renewed_in_time_ends_nothing(connect: Connect, house: House) -> None:
    here = await visit(ending(connect, "ann"))
    renewed = Reauthenticate(token=house.token("ann", "clinician"))
    await here.call("Reauthenticate", renewed, ReauthenticateAnswer)
    await pass_s(here, house, TOKEN_S + 5, beat={})
    assert state_of(house) == "live"


async def test_the_end_of_an_older_connection_of_the_fitter_ends_nothing(connect: Connect, house: House) -> None:
    here = await visit(ending(connect, "ann"))
    here.ann = await connect("ann", "clinician", heard=here.fitter)
    here.leased = await lease(here.ann)
    await pass_s(here, house, TOKEN_S + 5, beat={})
    assert state_of(house) == "live"


async def test_a_fitter_who_has_joined_over_another_connection_hangs_on_that_one(
    connect: Connect, house: House
) -> None:
    here = await visit(connect)
    here.ann = await ending(connect, "ann")("ann", "clinician", heard=Told())
    assert await here.set_mode() == ModeAnswer(mode="advanced", state="live")
    house.wall.now_s += TOKEN_S
    house.sweep()
    assert (await ended(here.fitter)).reason == "token_expired"


# When the log is away, or nothing has begun


async def test_an_expired_token_needs_no_log(connect: Connect, house: House) -> None:
    here = await visit(ending(connect, "ann"))
    await here.apply(change(here.leased))
    await pass_s(here, house, TOKEN_S - 5, beat={})
    log = log_of(house)
    log.is_away = True
    house.wall.now_s += 5
    house.monotonic.now_s += 5
    house.sweep()
    assert (await here.phone.first(RevertNow)).cause == "session_ended"
    log.is_away = False
    assert (await ended(here.phone)).reason == "token_expired"
    assert (await log.head("d1")).live is None
    assert "SessionAlive" not in here.phone.order[here.phone.order.index("RevertNow") :]


async def test_a_fitter_whose_token_ends_while_the_patient_is_asked_begins_nothing(
    connect: Connect, house: House
) -> None:
    here = await visit(ending(connect, "ann"), live=False)

    async def think(_: ConsentAsked) -> ConsentAnswer:
        house.wall.now_s += TOKEN_S
        house.sweep()
        return ConsentAnswer(accepted=True)

    here.phone.consent = think
    with pytest.raises(ConnectionError):
        await here.set_mode()
    await eventually(lambda: state_of(house) == "none")
    assert (await care_of(house)._log.alive("d1")) is None
    assert here.phone.of(SessionAlive) == []


# Who was away hears of it


@pytest.mark.parametrize(("later", "reason"), [(0, "phone_lost"), (1, "attached")])
async def test_a_phone_that_was_away_hears_why_the_session_that_it_knew_has_ended(
    connect: Connect, house: House, later: int, reason: str
) -> None:
    here = await visit(connect)
    await here.apply(change(here.leased))
    await here.pat.stop()
    await pass_s(here, house, 30)
    told = Told()
    pat = await connect("pat", "patient", "device", heard=told)
    claim = msgspec.structs.replace(CLAIM, epoch=here.epoch, fence_max=here.leased.fence + later, trial=True)
    assert isinstance(await pat.ask("AttachDevice", claim, answer=AttachAnswer), AttachAnswer)
    assert (await told.first(ModeChanged)).reason == reason
    assert told.order.index("RevertNow") < told.order.index("ModeChanged")


@pytest.mark.parametrize(("user", "hears"), [("ann", 1), ("abe", 0)])
async def test_a_fitter_that_was_away_hears_how_his_own_live_work_ended_and_once(
    connect: Connect, house: House, user: str, hears: int
) -> None:
    here = await visit(connect)
    tried = await here.apply(change(here.leased))
    await here.ann.stop()
    await pass_s(here, house, 15, beat={}, fitter=False)
    told = Told()
    back = await connect(user, "clinician", heard=told)
    for _ in range(2):
        request = AcquireLease(device="d1", session="s9")
        assert isinstance(await back.ask("AcquireLease", request, answer=LeaseAnswer), LeaseAnswer)
    assert [(mode.reason, mode.draft) for mode in told.of(ModeChanged)] == [("lease_lost", tried.revision_id)] * hears
