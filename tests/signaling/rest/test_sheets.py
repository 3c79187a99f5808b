"""Capability sheets: everybody with a token may read what a model can be told."""

import pytest

from fitting.capability import SHEETS
from tests.signaling.conftest import House


async def test_every_sheet_is_there_by_name(house: House) -> None:
    async with house.http.get(f"{house.url}/api/v1/sheets?limit=1", headers=house.bearer()) as answer:
        first = await answer.json()
        link = answer.headers["Link"].removeprefix("<").removesuffix('>; rel="next"')
    async with house.http.get(house.url + link, headers=house.bearer("x", "auditor")) as answer:
        second = await answer.json()
    assert [one["model"] for one in (*first["items"], *second["items"])] == sorted(SHEETS)
    assert "next" not in second


@pytest.mark.parametrize("model", sorted(SHEETS))
async def test_a_sheet_says_all_that_the_kernel_goes_by(house: House, model: str) -> None:
    async with house.http.get(f"{house.url}/api/v1/sheets/{model}", headers=house.bearer("pat", "patient")) as answer:
        assert answer.status == 200
        told = (await answer.json())["sheet"]
    known = SHEETS[model]
    assert told["bandsHz"] == list(known.bands_hz)
    assert (told["gainMaxDdb"], told["mpoMaxDdb"], told["otc"]) == (known.gain_max_ddb, known.mpo_max_ddb, known.otc)
    assert len(told) == len(type(known).__dataclass_fields__)


async def test_a_model_that_nobody_knows_is_404(house: House) -> None:
    async with house.http.get(f"{house.url}/api/v1/sheets/x9", headers=house.bearer()) as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (404, "not_found")
    async with house.http.get(f"{house.url}/api/v1/sheets/ref10") as answer:
        assert answer.status == 401
