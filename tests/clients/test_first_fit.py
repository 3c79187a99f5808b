"""Fitting software gets the server's own first fit, submits it, and the aids hold what was foretold."""

import aiohttp
import pytest

from clients.first_fit import ask_first_fit
from clients.fitter import Change
from clients.hub_errors import HubCallError
from protocol.contract.audiograms import FirstFitAnswer
from protocol.contract.base import EARS, Failure
from protocol.contract.fitting import Base, SubmitAnswer
from tests.clients.care_bench import DEVICE, CareBench, care_bench
from tests.clients.fitter_bench import live


async def asked(bench: CareBench, device: str = DEVICE, user: str = "ann") -> FirstFitAnswer | Failure:
    async with aiohttp.ClientSession() as http:
        return await ask_first_fit(http, bench.url.rstrip("/"), bench.token(user, "clinician"), device)


async def test_what_is_foretold_is_what_the_aids_hold_once_it_was_submitted() -> None:
    async with care_bench() as bench, bench.phone(), bench.fitter() as fitter:
        granted = await live(fitter)
        assert granted.head
        fit = await asked(bench)
        assert isinstance(fit, FirstFitAnswer)
        assert fit.accepted
        base = Base(revision=granted.head.revision)
        change = Change(DEVICE, granted.fence, base, "first fit", content=fit.content, first_fit=True)
        answer = await fitter.submit(change)
        assert isinstance(answer, SubmitAnswer)
        assert await fitter.wait_until(DEVICE, answer) == "confirmed"
        assert {ear: bench.pair.aid(ear).read_digest("ram") for ear in EARS} == {
            ear: getattr(fit.digests, ear) for ear in EARS
        }


async def test_a_refusal_of_the_domain_is_a_value_and_any_other_is_raised() -> None:
    async with care_bench() as bench:
        async with aiohttp.ClientSession() as http:
            headers = {"Authorization": f"Bearer {bench.token('ann', 'clinician')}"}
            aid = {"serial": "R-2", "model": "ref10", "firmware": "2.3.1"}
            body = {"device": "bare", "patient": "pat", "assignments": ["ann"], "right": aid}
            async with http.post(f"{bench.url}/api/v1/devices", json=body, headers=headers) as answer:
                assert answer.status == 201
        refused = await asked(bench, "bare")
        assert isinstance(refused, Failure)
        assert refused.error.code == "no_audiogram"
        assert refused.errors == (refused.error,)
        with pytest.raises(HubCallError) as caught:
            await asked(bench, user="zoe")
        assert caught.value.code == "not_found"


async def test_an_answer_that_is_none_of_the_servers_is_an_error_too() -> None:
    async with care_bench() as bench, aiohttp.ClientSession() as http:
        with pytest.raises(HubCallError, match="200"):
            # A page of something else stands there.
            await ask_first_fit(http, f"{bench.url.rstrip('/')}/metrics#", bench.token("ann", "clinician"), DEVICE)
