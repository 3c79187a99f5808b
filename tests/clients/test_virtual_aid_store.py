"""A virtual aid that is kept in files plays on while its phone is gone."""

from pathlib import Path

import pytest

from clients.device_driver import AidRefused
from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.memory import CHUNKS, after_chunk, factory_image, with_slots
from clients.virtual_aid.store import AidStore
from tests.clients.offers import BANDS_HZ, at_once, slot_with

FACTORY = factory_image("right", BANDS_HZ)
TARGET = with_slots(FACTORY, (slot_with(200),))


class Killed(BaseException):
    """The process is gone at this very moment."""


def kept_aid(folder: Path, *, dies_at: int = -1, faults: Faults | None = None) -> VirtualAid:
    """The aid of a folder; its process dies as the ``dies_at``-th part of its work begins."""
    parts = 0

    async def sleep(_: float) -> None:
        nonlocal parts
        parts += 1
        if parts == dies_at:
            raise Killed

    store = AidStore(folder, "right", "R-1")
    return VirtualAid("right", "R-1", sleep=sleep, store=store, faults=faults or Faults())


def test_an_aid_that_is_new_to_its_folder_comes_from_the_factory(tmp_path: Path) -> None:
    kept_aid(tmp_path)
    again = kept_aid(tmp_path)
    assert again.read_image("ram") == again.read_image("nvm") == FACTORY


async def test_both_memories_and_the_counts_outlive_the_process(tmp_path: Path) -> None:
    aid = kept_aid(tmp_path)
    await aid.write_trial((slot_with(150),))
    await aid.commit()
    await aid.write_trial((slot_with(200),))
    again = kept_aid(tmp_path)
    assert again.read_image("ram") == TARGET
    assert again.read_image("nvm") == with_slots(FACTORY, (slot_with(150),))
    assert (again.writes_completed, again.commits_completed) == (2, 1)


@pytest.mark.parametrize("chunk", range(CHUNKS))
async def test_a_process_that_dies_in_a_write_leaves_the_mixture_of_that_chunk(tmp_path: Path, chunk: int) -> None:
    with pytest.raises(Killed):
        await kept_aid(tmp_path, dies_at=chunk + 1).write_trial((slot_with(200),))
    again = kept_aid(tmp_path)
    assert again.read_image("ram") == after_chunk(FACTORY, TARGET, chunk)
    assert again.writes_completed == 0
    stored = AidStore(tmp_path, "right", "R-1").load("ram")
    assert stored is not None
    assert (stored.chunk, stored.committed) == ((chunk, False) if chunk else (CHUNKS, True))


@pytest.mark.parametrize("chunk", range(CHUNKS))
async def test_a_process_that_dies_in_a_commit_leaves_nvm_as_it_was(tmp_path: Path, chunk: int) -> None:
    aid = kept_aid(tmp_path, dies_at=CHUNKS + chunk + 1)
    await aid.write_trial((slot_with(200),))
    with pytest.raises(Killed):
        await aid.commit()
    again = kept_aid(tmp_path)
    assert again.read_image("ram") == TARGET
    assert again.read_image("nvm") == FACTORY
    assert again.commits_completed == 0


async def test_a_restart_of_the_aid_is_kept_too(tmp_path: Path) -> None:
    aid = kept_aid(tmp_path)
    await aid.write_trial((slot_with(200),))
    aid.reboot()
    again = kept_aid(tmp_path)
    assert again.read_image("ram") == FACTORY
    assert again.boots == 1


def test_the_files_of_another_aid_are_refused(tmp_path: Path) -> None:
    kept_aid(tmp_path)
    with pytest.raises(AidRefused, match="another aid"):
        VirtualAid("right", "R-2", sleep=at_once, store=AidStore(tmp_path, "right", "R-2"))
    (tmp_path / "right.ram.json").write_text("{}")
    with pytest.raises(AidRefused, match="no memory"):
        kept_aid(tmp_path)
