"""Real phone processes, killed by SIGKILL, on a real journal and aids that play on."""

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.file_journal import FileJournal
from clients.virtual_aid.pair import VirtualPair
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import Offer
from tests.clients.killed_phone import Ended, Nursery, Run, kept_pair, nursery, reports_in, touches_in
from tests.clients.offers import again, make_offer, told
from tests.clients.phone_bench import HAPPY, Server, digests, expected

KILLED = Ended(signal.SIGKILL, -signal.SIGKILL)
LIVED = Ended(0, 0)
# Saves: the attach answer, received, and per ear writing and its end; the end of the delivery.
POINTS = [f"{point}:{number}" for point in ("save", "saved") for number in range(7)]
POINTS += [f"{point}:{number}" for point in ("report", "reported") for number in range(len(HAPPY))]
POINTS += [f"chunk:{number}" for number in range(16)] + ["written:0", "written:1"]
# Saves: also committing and active of each ear.
PERSIST_POINTS = [f"{point}:{number}" for point in ("save", "saved") for number in range(5, 11)]
PERSIST_POINTS += [f"{point}:{number}" for point in ("report", "reported") for number in range(4, 9)]
PERSIST_POINTS += [f"chunk:{number}" for number in (0, 3, 7, 9, 15)] + ["committed:0", "committed:1"]


@pytest.fixture(scope="module")
def phones() -> Iterator[Nursery]:
    with nursery() as running:
        yield running


def check_nothing_half_written(folder: Path, pair: VirtualPair, offer: Offer, before: dict[Ear, str]) -> None:
    """Each aid holds what it held or what was wanted, unless the journal says that it was being written."""
    entry = FileJournal(folder / "journal").load().in_flight
    for ear in EARS:
        held = pair.aid(ear).read_digest("ram")
        is_open = entry is not None and entry.last_state(ear) == "writing"
        assert is_open or held in {before[ear], expected(offer, ear)}


def check_nothing_half_kept(folder: Path, pair: VirtualPair, offer: Offer, before: dict[Ear, str]) -> None:
    """NVM holds the old or the new, and only an open journal excuses that the ears differ."""
    kept = [pair.aid(ear).read_digest("nvm") == expected(offer, ear) for ear in EARS]
    assert all(
        is_new or pair.aid(ear).read_digest("nvm") == before[ear] for ear, is_new in zip(EARS, kept, strict=True)
    )
    entry = FileJournal(folder / "journal").load().in_flight
    assert kept[0] == kept[1] or (entry is not None and entry.is_committing)


def check_all_or_nothing(folder: Path, offer: Offer, before: dict[Ear, str]) -> None:
    """Both aids keep the new in both memories, or both have the old in both; the server knows which."""
    pair, facts = kept_pair(folder), Server(kind="persist", reports=reports_in(folder)).facts()
    ends = {[report for report in facts if report.ear == ear][-1].state for ear in EARS}
    wanted = {ear: expected(offer, ear) for ear in EARS} if ends == {"active"} else before
    assert "active" not in ends or ends == {"active"}
    for ear in EARS:
        assert pair.aid(ear).read_digest("ram") == pair.aid(ear).read_digest("nvm") == wanted[ear]
        commits = [touch.digest for touch in touches_in(folder, ear) if touch.what == "committed"]
        assert commits in ([], [expected(offer, ear)])
    assert FileJournal(folder / "journal").load().in_flight is None


def check_the_end(folder: Path, offer: Offer, before: dict[Ear, str]) -> None:
    """Each aid holds the one or the other, the server knows which, and nothing was written twice over itself."""
    pair, facts = kept_pair(folder), Server(reports=reports_in(folder)).facts()
    assert [report.n for report in facts] == list(range(1, len(facts) + 1))
    assert FileJournal(folder / "journal").load().in_flight is None
    states = set[str]()
    for ear in EARS:
        held, last = pair.aid(ear).read_digest("ram"), [report for report in facts if report.ear == ear][-1]
        assert held == (expected(offer, ear) if last.state == "confirmed" else before[ear])
        assert last.state == "rejected" or last.digest == held
        states.add(last.state)
        held_at = [before[ear]]
        for touch in touches_in(folder, ear):
            assert touch.what != "written" or {touch.digest} != set(held_at[-8:])
            held_at.append(touch.digest)
    assert states == {"confirmed"} or states <= {"rolled_back", "rejected"}


@pytest.mark.parametrize("recovers", [True, False])
@pytest.mark.parametrize("dies_at", POINTS)
def test_a_phone_killed_at_any_step_carries_on_and_each_ear_is_written_once(
    phones: Nursery, tmp_path: Path, dies_at: str, recovers: bool
) -> None:
    pair = kept_pair(tmp_path)
    offer, before = make_offer(pair), digests(pair)
    first = Run(folder=str(tmp_path), offer=offer, dies_at=dies_at)
    assert phones.run(first) == KILLED
    check_nothing_half_written(tmp_path, kept_pair(tmp_path), offer, before)
    assert phones.run(Run(folder=str(tmp_path), offer=again(offer), recovers=recovers)) == LIVED
    check_the_end(tmp_path, offer, before)


@pytest.mark.parametrize("seed", range(60))
def test_a_phone_killed_at_any_instant_and_again_ends_with_the_truth(
    phones: Nursery, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    pair = kept_pair(tmp_path)
    offer, before = make_offer(pair), digests(pair)
    for _ in range(chance.randint(1, 3)):
        after_s = chance.uniform(0.0, 0.12)
        run = Run(folder=str(tmp_path), offer=offer, after_s=after_s, recovers=chance.random() < 0.5, time_scale=0.1)
        phones.run(run)
        check_nothing_half_written(tmp_path, kept_pair(tmp_path), offer, before)
        offer = again(offer)
    assert phones.run(Run(folder=str(tmp_path), offer=offer)) == LIVED
    check_the_end(tmp_path, offer, before)


@pytest.mark.parametrize("recovers", [True, False])
@pytest.mark.parametrize("dies_at", PERSIST_POINTS)
def test_a_phone_killed_at_any_step_of_what_is_to_last_leaves_no_pair_that_differs(
    phones: Nursery, tmp_path: Path, dies_at: str, recovers: bool
) -> None:
    pair = kept_pair(tmp_path)
    offer, before = make_offer(pair, kind="persist"), digests(pair)
    assert phones.run(Run(folder=str(tmp_path), offer=offer, dies_at=dies_at)) == KILLED
    check_nothing_half_kept(tmp_path, kept_pair(tmp_path), offer, before)
    assert phones.run(Run(folder=str(tmp_path), offer=again(offer), recovers=recovers)) == LIVED
    check_all_or_nothing(tmp_path, offer, before)


@pytest.mark.parametrize("seed", range(40))
def test_a_phone_killed_at_any_instant_of_what_is_to_last_leaves_no_pair_that_differs(
    phones: Nursery, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(1_000 + seed)
    pair = kept_pair(tmp_path)
    offer, before = make_offer(pair, kind="persist"), digests(pair)
    for _ in range(chance.randint(1, 3)):
        after_s = chance.uniform(0.0, 0.25)
        run = Run(folder=str(tmp_path), offer=offer, after_s=after_s, recovers=chance.random() < 0.5, time_scale=0.05)
        phones.run(run)
        check_nothing_half_kept(tmp_path, kept_pair(tmp_path), offer, before)
        offer = again(offer)
    assert phones.run(Run(folder=str(tmp_path), offer=offer)) == LIVED
    check_all_or_nothing(tmp_path, offer, before)


def check_a_way_back(folder: Path, offer: Offer, before: dict[Ear, str]) -> None:
    """An aid that holds neither the old nor the new is known to the journal, with what it held before."""
    pair, record = kept_pair(folder), FileJournal(folder / "journal").load()
    for ear in EARS:
        if pair.aid(ear).read_digest("ram") not in {before[ear], expected(offer, ear)}:
            kept = record.session.image_of(ear)
            assert kept is not None
            assert kept.digest == before[ear]


def check_stopped(folder: Path, before: dict[Ear, str]) -> None:
    assert digests(kept_pair(folder)) == before
    record = FileJournal(folder / "journal").load()
    assert record.in_flight is None
    assert not record.session.is_open
    Server(reports=reports_in(folder)).facts()


# Of the 32 parts that are written the second half are the restoring ones; of the saves the last four are the stop's.
STOP_POINTS = [f"chunk:{number}" for number in range(14, 32)] + ["restored:0", "restored:1"]
STOP_POINTS += [f"{point}:{number}" for point in ("save", "saved") for number in range(6, 10)]


@pytest.mark.parametrize("dies_at", STOP_POINTS)
def test_a_phone_killed_at_any_step_of_a_stop_gives_the_base_back(
    phones: Nursery, tmp_path: Path, dies_at: str
) -> None:
    pair = kept_pair(tmp_path)
    offer, before = make_offer(pair), digests(pair)
    assert phones.run(Run(folder=str(tmp_path), offer=offer, dies_at=dies_at, stops=True)) == KILLED
    check_a_way_back(tmp_path, offer, before)
    assert phones.run(Run(folder=str(tmp_path), offer=again(offer), stops=True)) == LIVED
    check_stopped(tmp_path, before)


@pytest.mark.parametrize("seed", range(40))
def test_a_phone_killed_at_any_instant_of_a_session_gives_the_base_back(
    phones: Nursery, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(2_000 + seed)
    pair = kept_pair(tmp_path)
    offer, before = make_offer(pair), digests(pair)
    for _ in range(chance.randint(1, 3)):
        after_s = chance.uniform(0.0, 0.2)
        phones.run(Run(folder=str(tmp_path), offer=offer, after_s=after_s, stops=True, time_scale=0.1))
        check_a_way_back(tmp_path, offer, before)
        offer = again(offer)
    assert phones.run(Run(folder=str(tmp_path), offer=offer, stops=True)) == LIVED
    check_stopped(tmp_path, before)


def test_what_the_server_was_told_is_in_the_journal_already(phones: Nursery, tmp_path: Path) -> None:
    offer = make_offer(kept_pair(tmp_path))
    assert phones.run(Run(folder=str(tmp_path), offer=offer, dies_at="reported:0")) == KILLED
    assert told(reports_in(tmp_path)) == ["received"]
    entry = FileJournal(tmp_path / "journal").load().in_flight
    assert entry is not None
    assert list(entry.reports) == reports_in(tmp_path)
