"""A package that its wearer has asked for takes the place of what the aids play and nobody has saved."""

from pathlib import Path

from msgspec.structs import replace

from clients.file_journal import FileJournal
from clients.virtual_aid.memory import factory_image, with_slots
from clients.virtual_aid.pair import VirtualPair
from clients.wearer import AgreeableWearer
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import EarImage, Offer
from tests.clients.offers import BANDS_HZ, EPOCH, make_offer, make_pair, slot_with, told
from tests.clients.phone_bench import HAPPY, Server, expected, make_runner

FACTORY = {ear: factory_image(ear, BANDS_HZ) for ear in EARS}
INSTALLED = [*HAPPY[1:], "right committing", "left committing", "right active", "left active"]
ASIDE = ["received", "right awaiting_install", "left awaiting_install"]


def held(pair: VirtualPair, ear: Ear) -> tuple[EarImage, EarImage]:
    return pair.aid(ear).read_image("ram"), pair.aid(ear).read_image("nvm")


def over_a_trial(*, mpo_ddb: int = 950) -> tuple[VirtualPair, Offer]:
    """A package over what both aids keep, while another app lets them play something else."""
    pair = make_pair()
    offer = make_offer(pair, kind="persist", mode="standard", mpo_ddb=mpo_ddb)
    for ear in EARS:
        pair.aid(ear).write_by_another_app((slot_with(70, 940),))
    return pair, offer


async def test_what_its_wearer_has_asked_for_is_installed_all_the_same() -> None:
    (pair, offer), hub = over_a_trial(), Server(kind="persist")
    runner = make_runner(pair)
    runner.agree(EPOCH, 1)
    await runner.run_offer(offer, hub.report)
    assert told(hub.facts()) == ASIDE
    await runner.answer_install(offer, accepted=True, report=hub.report)
    assert told(hub.facts())[3:] == INSTALLED
    assert {ear: pair.aid(ear).read_digest("nvm") for ear in EARS} == {ear: expected(offer, ear) for ear in EARS}
    assert all(ram == nvm for ram, nvm in (held(pair, ear) for ear in EARS))


async def test_every_program_is_written_that_differs_and_not_only_those_that_the_package_names() -> None:
    pair = make_pair()
    for ear in EARS:
        pair.aid(ear).save_by_another_app((slot_with(50, slot=2),))
    offer, hub = make_offer(pair, kind="persist", mode="standard"), Server(kind="persist")
    kept = held(pair, "left")[1]
    for ear in EARS:
        pair.aid(ear).write_by_another_app((slot_with(70, slot=2),))
    runner = make_runner(pair)
    runner.agree(EPOCH, 1)
    await runner.run_offer(offer, hub.report)
    await runner.answer_install(offer, accepted=True, report=hub.report)
    assert told(hub.facts())[3:] == INSTALLED
    assert held(pair, "left")[1] == with_slots(kept, offer.body.left)


async def test_a_program_that_only_ram_has_is_not_left_in_what_is_kept() -> None:
    (pair, offer), hub = over_a_trial(), Server(kind="persist")
    pair.aid("left").write_by_another_app((slot_with(70, slot=2),))
    runner = make_runner(pair)
    runner.agree(EPOCH, 1)
    await runner.run_offer(offer, hub.report)
    assert told(hub.facts()) == ["right rejected E_PARTIAL", "left rejected E_BASE"]


async def test_any_other_package_waits_beside_it_and_is_refused_if_it_is_still_there_when_it_is_installed() -> None:
    (pair, offer), hub = over_a_trial(), Server(kind="persist")
    runner = make_runner(pair)
    await runner.run_offer(offer, hub.report)
    assert told(hub.facts()) == ASIDE
    await runner.answer_install(offer, accepted=True, report=hub.report)
    assert told(hub.facts())[3:] == ["right rejected E_BASE", "left rejected E_BASE"]


async def test_once_the_aids_play_what_they_keep_it_is_installed() -> None:
    (pair, offer), hub = over_a_trial(), Server(kind="persist")
    runner = make_runner(pair)
    await runner.run_offer(offer, hub.report)
    for ear in EARS:
        pair.aid(ear).reboot()
        await pair.aid(ear).connect()
    await runner.answer_install(offer, accepted=True, report=hub.report)
    assert told(hub.facts())[3:] == INSTALLED


async def test_a_higher_maximum_output_than_the_aids_play_is_asked_about_as_any_other() -> None:
    (pair, offer), hub = over_a_trial(mpo_ddb=1_000), Server(kind="persist")
    runner = make_runner(pair, wearer=AgreeableWearer(loudness=7))
    runner.agree(EPOCH, 1)
    played = held(pair, "left")
    await runner.run_offer(offer, hub.report)
    await runner.answer_install(offer, accepted=True, report=hub.report)
    assert told(hub.facts())[-2:] == ["right rolled_back E_LOUD", "left rolled_back E_LOUD"]
    assert held(pair, "left") == played


async def test_what_a_live_session_of_this_phone_tries_is_not_overwritten() -> None:
    pair, hub = make_pair(), Server(kind="persist")
    offer = make_offer(pair, seq=2, kind="persist", mode="standard")
    runner = make_runner(pair)
    await runner.run_offer(make_offer(pair, gain_ddb=120), Server().report)
    runner.agree(EPOCH, 2)
    await runner.run_offer(replace(offer, after=0), hub.report)
    assert told(hub.facts()) == ["right rejected E_BASE", "left rejected E_BASE"]


def test_what_the_wearer_has_asked_for_is_remembered_over_a_restart_of_the_phone(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "journal")
    make_runner(make_pair(), journal).agree(EPOCH, 7)
    assert make_runner(make_pair(), journal).record.agreed == ((EPOCH, 7),)


def test_only_the_newest_of_what_was_asked_for_is_remembered() -> None:
    runner = make_runner(make_pair())
    for seq in (*range(1, 20), 15):
        runner.agree(EPOCH, seq)
    assert [seq for _, seq in runner.record.agreed] == [12, 13, 14, 16, 17, 18, 19, 15]
