"""What the phone remembers, as values."""

from clients.journal import EarPlan, JournalEntry, JournalRecord, MemoryJournal, Notice
from clients.phone_core import report_on
from clients.virtual_aid.memory import factory_image
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import AttachAnswer, ReportedState, Settled
from tests.clients.offers import BANDS_HZ, DEVICE, EPOCH, attach_answer, make_offer, make_pair


def plan(ear: Ear) -> EarPlan:
    return EarPlan(ear, factory_image(ear, BANDS_HZ), "before", "target")


def entry_of(seq: int = 1, fence: int = 1) -> JournalEntry:
    return JournalEntry(make_offer(make_pair(), seq=seq, fence=fence), (plan("left"), plan("right")))


def test_a_new_journal_knows_nothing() -> None:
    assert MemoryJournal().load() == JournalRecord("", 0, 0, None, ())


def test_a_journal_outlives_the_phone_that_wrote_it() -> None:
    journal = MemoryJournal()
    record = JournalRecord().begun(entry_of())
    journal.save(record)
    assert journal.load() == record
    assert journal.saves == 1


def test_the_fence_only_rises() -> None:
    record = JournalRecord().begun(entry_of(fence=7)).begun(entry_of(fence=3))
    assert record.fence_max == 7


def test_ears_are_worked_on_right_first_and_each_until_its_end() -> None:
    entry = entry_of()
    assert [plan.ear for plan in entry.open_plans()] == ["right", "left"]
    phases = [entry.phase]
    states: tuple[ReportedState, ...] = ("writing", "indeterminate", "confirmed")
    for ear in EARS:
        for state in states:
            entry = entry.reported(report_on(entry.offer, entry.reports, state, ear))
            phases.append(entry.phase)
            assert entry.has_ended(ear) == (state == "confirmed")
    assert entry.open_plans() == ()
    assert list(dict.fromkeys(phases)) == [
        "received",
        "writing:right",
        "verified:right",
        "writing:left",
        "verified:left",
    ]
    assert [report.n for report in entry.reports] == [1, 2, 3, 4, 5, 6]


def test_only_so_many_ended_deliveries_are_remembered() -> None:
    record = JournalRecord(epoch=EPOCH)
    for seq in range(1, 6):
        entry = entry_of(seq)
        record = record.finished(entry.reported(report_on(entry.offer, (), "received")), max_ended=3)
    assert [ended.seq for ended in record.ended] == [3, 4, 5]
    assert record.reports_of(EPOCH, 2) is None
    assert record.reports_of("another", 4) is None
    assert [report.seq for report in record.reports_of(EPOCH, 4) or ()] == [4]


def test_settled_never_goes_back_and_another_log_says_nothing() -> None:
    record = JournalRecord().attached(attach_answer(from_seq=5))
    assert record.last_settled == 4
    assert record.settled(Settled(device=DEVICE, epoch=EPOCH, seq=6)).last_settled == 6
    assert record.settled(Settled(device=DEVICE, epoch=EPOCH, seq=2)).last_settled == 4
    assert record.settled(Settled(device=DEVICE, epoch="another", seq=9)) == record


def test_an_attach_answer_that_settled_has_overtaken_does_not_go_back() -> None:
    record = JournalRecord(epoch=EPOCH, last_settled=6)
    assert record.attached(attach_answer(from_seq=6)).last_settled == 6


def test_another_log_sets_the_numbers_anew() -> None:
    record = JournalRecord(epoch=EPOCH, last_settled=6, fence_max=4)
    answer = AttachAnswer(epoch="another", from_seq=3, generation=1, resume="reset")
    assert record.attached(answer) == JournalRecord(epoch="another", last_settled=2, fence_max=4)
    ahead = AttachAnswer(epoch=EPOCH, from_seq=3, generation=1, resume="ahead")
    assert record.attached(ahead).last_settled == 2


def test_what_is_noted_again_while_it_is_being_told_is_still_to_be_told() -> None:
    record = JournalRecord().noticed(Notice("reboot", 1))
    being_told = record.notices[0]
    record = record.noticed(Notice("reboot", 1)).told(being_told)
    assert [notice.cause for notice in record.notices] == ["reboot"]
    assert record.told(record.notices[0]).notices == ()
