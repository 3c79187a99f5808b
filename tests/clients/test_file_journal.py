"""A journal in a file: whole or refused, whatever happens while it is written."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clients import file_journal
from clients.file_journal import FileJournal, JournalDamaged, JournalInUse, JournalUnavailable
from clients.journal import JournalEntry, JournalRecord
from clients.phone_core import report_on
from tests.clients.offers import EPOCH, make_offer, make_pair
from tests.clients.test_journal import entry_of


class Killed(BaseException):
    """The process is gone at this very moment."""


def record_of(seq: int) -> JournalRecord:
    """A record with everything in it."""
    ended = JournalRecord(epoch=EPOCH, last_settled=seq - 1).finished(_reported(seq - 1), max_ended=4)
    return ended.begun(_reported(seq))


def _reported(seq: int) -> JournalEntry:
    entry = entry_of(seq=seq, fence=seq)
    return entry.reported(report_on(entry.offer, (), "received"))


def test_a_journal_that_was_never_saved_is_empty(tmp_path: Path) -> None:
    assert FileJournal(tmp_path / "phone").load() == JournalRecord()


def test_what_was_saved_last_is_loaded(tmp_path: Path) -> None:
    for seq in (2, 3, 4):
        FileJournal(tmp_path / "phone").save(record_of(seq))
        assert FileJournal(tmp_path / "phone").load() == record_of(seq)


def test_a_journal_is_nobody_elses_to_read(tmp_path: Path) -> None:
    FileJournal(tmp_path / "phone").save(record_of(2))
    assert (tmp_path / "phone").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("step", ["torn write", "fsync", "replace", "fsync of the folder"])
@pytest.mark.parametrize("before", [True, False])
def test_a_process_that_dies_in_a_save_leaves_the_old_record_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, before: bool
) -> None:
    path = tmp_path / "phone"
    FileJournal(path).save(record_of(2))
    _dies_at(monkeypatch, step, before)
    with pytest.raises(Killed):
        FileJournal(path).save(record_of(3))
    monkeypatch.undo()
    is_new = step == "fsync of the folder" or (step == "replace" and not before)
    assert FileJournal(path).load() == record_of(3 if is_new else 2)
    FileJournal(path).save(record_of(4))
    assert FileJournal(path).load() == record_of(4)


def _dies_at(monkeypatch: pytest.MonkeyPatch, step: str, before: bool) -> None:
    """The next save dies at a step: before it is taken or after."""
    syncs = 0

    def dying(real: Callable[..., object], name: str) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            nonlocal syncs
            syncs += name == "fsync"
            here = "fsync of the folder" if (name, syncs) == ("fsync", 2) else name
            if here == step and before:
                raise Killed
            result = real(*arguments)
            if here == step:
                raise Killed
            return result

        return call

    if step == "torn write":
        whole = file_journal._packed
        monkeypatch.setattr(file_journal, "_packed", lambda record: whole(record)[:100])
        step = "fsync"
    monkeypatch.setattr(os, "fsync", dying(os.fsync, "fsync"))
    monkeypatch.setattr(os, "replace", dying(os.replace, "replace"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw + b" ",
        lambda raw: raw.replace(b"epoch-1", b"epoch-2", 1),
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[:20],
        lambda raw: b"",
        lambda raw: b"\0" * len(raw),
        lambda raw: b"{}",
    ],
)
def test_a_damaged_journal_is_refused_with_what_to_do_and_is_left_as_it_is(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "phone"
    FileJournal(path).save(record_of(2))
    path.write_bytes(damage(path.read_bytes()))
    damaged = path.read_bytes()
    with pytest.raises(JournalDamaged, match="keep the file") as caught:
        FileJournal(path).load()
    assert caught.value.code == "journal_damaged"
    assert path.read_bytes() == damaged


def test_no_single_bit_can_turn_without_being_noticed(tmp_path: Path) -> None:
    path = tmp_path / "phone"
    FileJournal(path).save(JournalRecord(epoch=EPOCH, last_settled=3))
    raw = path.read_bytes()
    for position in range(8 * len(raw)):
        turned = bytearray(raw)
        turned[position // 8] ^= 1 << position % 8
        path.write_bytes(turned)
        with pytest.raises(JournalDamaged):
            FileJournal(path).load()


def test_a_journal_of_another_version_is_refused_and_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "phone"
    FileJournal(path).save(record_of(2))
    path.write_bytes(path.read_bytes().replace(b"auricle-journal 1 ", b"auricle-journal 2 ", 1))
    with pytest.raises(JournalDamaged, match="another version"):
        FileJournal(path).load()


def test_a_second_phone_on_the_same_journal_is_kept_out(tmp_path: Path) -> None:
    path = tmp_path / "phone"
    with FileJournal(path), pytest.raises(JournalInUse), FileJournal(path):
        pass
    with FileJournal(path) as journal:
        journal.save(record_of(2))


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "phone"
    with pytest.raises(JournalUnavailable, match="cannot be written"):
        FileJournal(path).save(JournalRecord())
    with pytest.raises(JournalUnavailable, match="cannot be opened"), FileJournal(path):
        pass
    assert FileJournal(path).load() == JournalRecord()


def test_a_record_holds_a_whole_offer_and_it_comes_back_equal(tmp_path: Path) -> None:
    offer = make_offer(make_pair())
    FileJournal(tmp_path / "phone").save(JournalRecord().begun(JournalEntry(offer, ())))
    entry = FileJournal(tmp_path / "phone").load().in_flight
    assert entry is not None
    assert entry.offer == offer
