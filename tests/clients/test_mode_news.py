"""How live work ends, as the clients hear it: both why, the fitter with what was lost; and what keeps it going."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import UNSET

from clients.fitter import Change
from clients.hub_client import HubClient
from clients.phone import Phone
from clients.phone_limits import PhoneLimits
from clients.phone_session import SessionLimits
from clients.talking import talking
from protocol.contract.fitting import Base, SubmitAnswer
from protocol.contract.history import RevisionAnswer
from protocol.contract.session import Reauthenticate
from protocol.contract.sessions import ModeAnswer, ModeChanged
from protocol.signalr.codec import ProtocolName
from signaling.auth import DevTokens
from tests.clients.care_bench import DEVICE, KEY, CareBench, care_bench
from tests.clients.fitter_bench import Ticks, fitter_of, live, tried
from tests.clients.hub_double import until
from tests.clients.test_phone_live import QUICK


@pytest.fixture(params=["json", "messagepack"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[CareBench]:
    protocol: ProtocolName = request.param
    async with care_bench(protocol) as bench:
        yield bench


async def told(news: list[ModeChanged], reason: str) -> ModeChanged:
    await until(lambda: any(mode.reason == reason for mode in news))
    return next(mode for mode in news if mode.reason == reason)


async def test_both_hear_why_it_ended_and_the_fitter_reads_what_was_lost_and_asks_for_it_again(
    bench: CareBench,
) -> None:
    heard = list[ModeChanged]()
    async with bench.phone(on_mode=heard.append) as phone, fitter_of(bench) as (fitter, news):
        granted = await live(fitter)
        begun = await told(heard, "accepted")
        assert (begun.state, begun.detail, begun.draft) == ("live", "live fitting", UNSET)
        answer = await tried(fitter, granted)
        assert await phone.stop()
        assert (await told(heard, "stop")).draft is UNSET
        await until(lambda: any(isinstance(one, ModeChanged) and one.state == "none" for one in news))
        modes = [one for one in news if isinstance(one, ModeChanged)]
        assert (modes[-1].reason, modes[-1].draft) == ("stop", answer.revision_id)
        lost = await fitter.revision(DEVICE, answer.revision_id)
        assert isinstance(lost, RevisionAnswer)
        assert isinstance(await fitter.go_live(DEVICE, granted.fence), ModeAnswer)
        head = (await fitter.get_device(DEVICE)).head
        assert head is not UNSET
        base = Base(revision=head.revision, left=head.digests.left, right=head.digests.right)
        again = Change(DEVICE, granted.fence, base, "as it was", content=lost.content)
        accepted = await fitter.submit(again)
        assert isinstance(accepted, SubmitAnswer), accepted
        assert await fitter.wait_until(DEVICE, accepted) == "confirmed"
        assert accepted.digests == lost.view.digests


async def test_a_phone_that_hears_of_another_device_shows_nothing(bench: CareBench) -> None:
    heard = list[ModeChanged]()
    hub = bench.phone_hub()
    phone = Phone(hub, bench.runner(), on_mode=heard.append)
    changed = ModeChanged(device="another", mode="standard", state="none", reason="stop")
    phone._mode_changed(changed)
    assert heard == []


async def test_a_dead_man_that_strikes_while_the_server_still_thinks_it_lives_ends_it(bench: CareBench) -> None:
    # Long enough for a change to be tried before.
    limits = PhoneLimits(session=SessionLimits(dead_man_s=2.5))
    runner = bench.runner(limits=limits)
    async with bench.phone(runner=runner, duties=QUICK), fitter_of(bench) as (fitter, news):
        granted = await live(fitter)
        answer = await tried(fitter, granted)
        # The server feeds it each 5 s only.
        await until(lambda: any(isinstance(one, ModeChanged) and one.state == "none" for one in news))
        modes = [one for one in news if isinstance(one, ModeChanged)]
    assert (modes[-1].reason, modes[-1].draft) == ("dead_man", answer.revision_id)


async def test_live_work_ends_with_the_talk_beside_it(bench: CareBench) -> None:
    hub = bench.fitter_hub()
    async with bench.phone(), fitter_of(bench, hub=hub) as (fitter, news):
        await live(fitter)
        ticks = Ticks()
        async with talking(hub, DEVICE, every_s=5, sleep=ticks.sleep):
            await ticks.pass_s(5)
            await until(lambda: ticks.sleeping)
            assert all(one.state != "none" for one in news if isinstance(one, ModeChanged))
        await until(lambda: any(isinstance(one, ModeChanged) and one.reason == "call_ended" for one in news))


@pytest.mark.parametrize("is_newer", [True, False])
async def test_a_token_that_ends_is_renewed_over_the_link_once(
    bench: CareBench, monkeypatch: pytest.MonkeyPatch, is_newer: bool
) -> None:
    shown, ask = list[str](), HubClient.ask

    async def noted(hub: HubClient, target: str, payload: object, *, answer: type[Any]) -> Any:
        if isinstance(payload, Reauthenticate):
            shown.append(payload.token)
        return await ask(hub, target, payload, answer=answer)

    monkeypatch.setattr(HubClient, "ask", noted)
    minted = DevTokens(KEY, time.time)
    ending, lasting = (
        minted.mint(user="ann", clinic="c1", roles=frozenset({"clinician"}), expires_in_s=left_s)
        for left_s in (30, 600)
    )
    given = list[str]()

    async def token() -> str:
        given.append(lasting if given and is_newer else ending)
        return given[-1]

    hub = HubClient(bench.fitter_url, token=token, protocol=bench.protocol, reconnect=None)
    async with fitter_of(bench, hub=hub) as (fitter, _):
        await fitter.hello()
        # Whoever has no newer token is told again that it ends, and shows nothing then.
        await until(lambda: len(given) == (2 if is_newer else 3))
        await fitter.hello()
        await until(lambda: shown == [given[1]])
        assert hub.handler_failures == 0


async def test_a_client_with_one_token_has_no_other_to_show(bench: CareBench) -> None:
    hub = bench.fitter_hub()
    assert await hub.fresh_token() is None
