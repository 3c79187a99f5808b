"""The storm as a command: fifty phones on a real server, and what it says of a package that is lost or another's."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from loadtest import storm_generator, storm_phone
from loadtest.storm import StormSettings, main, run
from loadtest.storm_package import MAX_DEVICES, judged, wanted
from loadtest.storm_report import storm_table
from loadtest.storm_seed import Place, seed

SMALL = StormSettings(devices=4, within_s=0.2, stay_s=0.1)


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured here that needs time to settle."""
    monkeypatch.setattr("loadtest.storm.LEAD_S", 1.0)
    monkeypatch.setattr("loadtest.storm.SETTLE_S", 0.1)


@pytest.mark.timeout(120)
def test_fifty_phones_get_their_packages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--devices", "50", "--within", "1", "--stay", "0.2", "--data", str(tmp_path), "--json"]
    assert main([*options, "--generators", "2"]) == 0
    result = json.loads(capsys.readouterr().out)
    for name in ("attach", "connect", "due"):
        found = result[name]
        assert found["count"] == 50
        assert 0 < found["p50Ms"] <= found["p99Ms"] <= found["p999Ms"]
    # A timer may be a moment early.
    assert result["attach"]["p50Ms"] <= result["connect"]["p50Ms"] <= result["due"]["p50Ms"] + 1.0
    assert result["states"] == {"awaiting_install at 1": 50}
    assert (result["lost"], result["wrong"], result["failed"]) == ([], [], {})
    assert result["memory"]["peak"] >= result["memory"]["after"] > 0
    assert result["counted"]["misses"] >= 50
    assert min(result["serverMs"], result["generatorMs"], result["commits"]["count"]) > 0
    # Kept as it was before the storm, so another run finds the same.
    kept = tmp_path / "storm-50.db"
    before = kept.read_bytes()
    assert main([*options, "--hub-protocol", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["states"] == {"awaiting_install at 1": 50}
    assert kept.read_bytes() == before


@pytest.mark.timeout(120)
async def test_a_package_that_is_not_the_devices_own_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, "", "k" * 32)
    with monkeypatch.context() as patch:
        patch.setattr("loadtest.storm_seed.wanted", lambda number: wanted(number + 1))
        await seed(place, SMALL.devices)
    result = await run(SMALL, place, "sqlite")
    assert sorted(result.wrong) == [f"storm-{n} was offered what is not its own: another body" for n in range(4)]
    assert not result.is_whole


@pytest.mark.timeout(120)
async def test_a_device_whose_package_does_not_come_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.storm.GIVE_UP_S", 5.0)
    place = Place(tmp_path, "", "k" * 32)
    await seed(place, 3)
    # Nobody has ever registered the last one.
    result = await run(SMALL, place, "sqlite")
    assert result.lost == ["storm-3"]
    assert result.states == {"awaiting_install at 1": 3}
    assert (result.waiting, result.is_whole) == ([], False)
    assert sum(result.failed.values()) >= 1


@pytest.mark.timeout(120)
async def test_a_package_whose_phone_gives_up_is_not_lost_and_is_told_of_in_words_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, "", "k" * 32)
    await seed(place, 2)

    async def generate(_: storm_generator.Plan) -> storm_generator.Outcome:
        return storm_generator.Outcome(given_up=[0, 1], put_off=3, ended_s=time.time())

    monkeypatch.setattr("loadtest.storm._generate", generate)
    result = await run(StormSettings(devices=2, within_s=0.1), place, "sqlite")
    assert (result.lost, sorted(result.waiting), result.put_off) == ([], ["storm-0", "storm-1"], 3)
    assert not result.is_whole
    assert "storm-0: package waits in the log, its phone gave up" in result.faults
    table = storm_table(result)
    assert "0 arrived, 0 lost, 0 wrong, 2 wait in the log and their phones gave up" in table
    assert "told to attach later: 3" in table


async def test_a_phone_that_is_told_to_come_back_does_so_on_the_same_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, "", "k" * 32)
    await seed(place, 40)
    monkeypatch.setenv("AURICLE_MAX_ATTACHMENTS", "1")
    result = await run(StormSettings(devices=40, within_s=0.1, stay_s=0.0), place, "sqlite")
    assert result.is_whole
    assert result.put_off > 0
    assert result.failed == {}
    assert result.counted.bounds["max_attachments"] == result.put_off


async def test_phones_that_find_no_room_on_the_line_are_late_and_come_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def visit(_: object, number: int, token: str) -> storm_phone.Visit:
        # As long as a visit takes.
        await asyncio.sleep(0.1)
        return storm_phone.Visit(2.0, 1.0)

    monkeypatch.setattr(storm_phone.Visitors, "visit", visit)
    plan = storm_generator.Plan(
        url="http://127.0.0.1:1",
        key="k" * 32,
        clinic="c",
        protocol="json",
        first=1,
        step=2,
        devices=10,
        pace_s=0.0,
        begin_s=0.0,
        on_line=1,
        stay_s=0.0,
        patience_s=30.0,
        give_up_s=30.0,
    )
    outcome = await storm_generator.run(plan)
    assert (outcome.attach, outcome.connect) == ([1.0] * 5, [2.0] * 5)
    assert (outcome.late, outcome.most, outcome.given_up) == (5, 1, [])
    assert outcome.latest_s >= 0.4
    assert min(outcome.due) > 2.0


def test_no_two_devices_have_the_same_package_and_the_kernel_takes_the_quietest() -> None:
    digests = {judged(wanted(number))[0].pair for number in (0, 1, 2, 3, 4, 62, 63, 64, 99_999, MAX_DEVICES - 1)}
    assert len(digests) == 10
    with pytest.raises(ValueError, match="0 to"):
        wanted(MAX_DEVICES)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--devices", "0"], "must be 1 to"),
        (["--within", "0"], "must be 0.1 to 86400"),
        (["--database", "oracle"], "must be sqlite, postgres"),
        (["--on-line", "20001"], "must be 1 to 19000"),
    ],
)
def test_options_outside_their_bounds_get_exit_code_2(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err
