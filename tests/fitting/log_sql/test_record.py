"""What is written down of a device: everything that it holds, readable by versions to come."""

from dataclasses import fields
from itertools import count
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from fitting import log_attaching, log_commands, log_sessions
from fitting.log_parts import Entry, Fresh
from fitting.log_rows import DeviceRows
from fitting.log_sql import packed, record
from fitting.log_sql.tables import METADATA, device_head
from fitting.log_truth import AidTruth
from fitting.log_values import Delivery, LastEnd, LiveSession, LogLimits, Moment
from protocol.contract.base import EARS
from protocol.contract.devices import AttachDevice, Report
from protocol.errors import Unavailable
from tests.contracts.device_log_bench import BOTH_LOUDER, DEVICE, FRESH, LIMITS, START, digest, images, registered
from tests.fitting.log_sql.proposals import proposal

# What of the rows has a column of its own, is packed, or is known from elsewhere when they are read back.
COLUMNS = {"device", "epoch", "fence", "generation", "attached", "last_seq", "last_n", "last_hash"}
PACKED = {
    "aids",
    "head",
    "lease",
    "last_terminal",
    "entries",
    "soft",
    "live",
    "active",
    "alarms",
    "read_due",
    "last_end",
    "question",
    "taken_back",
    "wish",
}
SPREAD = {"truth": {"ears", "images", "battery", "unidentified"}}
# What a field holds that an older version knows by less.
LATER = {"read_due_of"}
TRANSIENT = {
    "pending": "the numbers of the entries",
    "keys": "asked for in the table of keys",
    "fresh": "written down",
    "limits": "configuration",
}


def busy() -> DeviceRows:
    """Rows with something in every field: one delivery half done, one waiting, a lease, words not written down."""
    numbers = count(1)
    rows = DeviceRows(DEVICE, "e-1", registered(), LIMITS)
    new_id = lambda: f"id-{next(numbers)}"  # noqa: E731  # a name for it would say no more
    told: dict[str, Any] = {ear: images(FRESH, ear, battery=80) for ear in EARS}
    log_attaching.attach(
        rows, START, AttachDevice(device=DEVICE, epoch="", last_terminal=0, fence_max=0, **told), new_id
    )
    log_sessions.acquire(rows, START, session="s-1", holder="ann")
    log_sessions.open_session(rows, START, fence=1, holder="ann")
    for key, after in (("k-1", BOTH_LOUDER), ("k-2", FRESH)):
        log_commands.append(rows, START, proposal(rows, key, after), new_id)
    log_commands.next_offer(rows, START, 1)
    reports: list[tuple[Any, Any]] = [("received", UNSET), ("indeterminate", "left"), ("confirmed", "right")]
    for n, (state, ear) in enumerate(reports, 1):
        report = Report(
            device=DEVICE,
            epoch="e-1",
            seq=1,
            attempt=1,
            n=n,
            state=state,
            ear=ear,
            digest=digest(BOTH_LOUDER, "right") if state == "confirmed" else UNSET,
        )
        log_commands.report(rows, START, report, generation=1, new_id=new_id, ended=None)
    # A volatile change is copied nowhere; what is said of one is kept like any other's.
    rows.entries[1].copied.add("right")
    rows.read_due, rows.truth.unidentified = {"left"}, {"right"}
    rows.last_end = LastEnd("stop", 1, "ann", "id-2")
    rows.question, rows.taken_back, rows.wish = 1, 1, 2
    assert rows.soft
    assert rows.live is not None
    assert rows.active
    assert rows.alarms
    assert len(rows.entries) == 2
    return rows


def written(rows: DeviceRows) -> record.Write:
    return record.write_of(rows, rows.take(), record.Place(2, 3, "w-1", "one", "e-1", START))


def read_back(rows: DeviceRows, log_epoch: str = "e-1") -> DeviceRows:
    write = written(rows)
    revisions = {row[0]: record.revision_of((row[0], *row[3:])) for row in write.revisions}
    assert set(write.head.refs.split()) <= set(revisions)
    return record.rows_of(write.head, revisions, log_epoch, LIMITS)


def seen(rows: DeviceRows) -> dict[str, object]:
    """Everything but what is written elsewhere, in a form that compares."""
    values = {name: value for name, value in vars(rows).items() if name not in {"keys", "fresh", "truth"}}
    return values | vars(rows.truth)


def test_rows_come_back_as_they_were() -> None:
    rows = busy()
    expected = seen(rows)
    assert seen(read_back(rows)) == expected


def test_every_field_of_the_rows_is_written_or_said_not_to_be() -> None:
    rows = busy()
    assert set(vars(rows)) == COLUMNS | PACKED | set(SPREAD) | set(TRANSIENT)
    assert set(device_head.columns.keys()) == set(record.HeadRow.__struct_fields__) >= COLUMNS
    fields_of_working = set(packed.Working.__struct_fields__) - {"format"}
    assert fields_of_working == PACKED | LATER | set().union(*SPREAD.values())
    assert set(vars(AidTruth())) == SPREAD["truth"]


def test_what_an_older_version_says_of_both_ears_together_is_taken_of_each() -> None:
    rows = busy()
    rows.alarms.add("locked")
    rows.read_due, rows.truth.unidentified = {"left"}, {"right"}
    write = written(rows)
    older = msgspec.msgpack.decode(write.head.working)
    assert older["read_due"] is True
    older.pop("read_due_of")
    older.pop("unidentified")
    head = msgspec.structs.replace(write.head, working=msgspec.msgpack.encode(older))
    revisions = {row[0]: record.revision_of((row[0], *row[3:])) for row in write.revisions}
    again = record.rows_of(head, revisions, "e-1", LIMITS)
    assert (again.read_due, again.truth.unidentified) == ({"right", "left"}, {"right", "left"})


def test_every_field_of_a_delivery_and_of_its_entry_is_written() -> None:
    assert set(packed.EntryRecord.__struct_fields__) == {field.name for field in fields(Entry)}
    assert set(Delivery.__struct_fields__) == set(packed.DeliveryRecord.__struct_fields__) | {"device"}


def test_every_field_of_live_work_is_written() -> None:
    assert set(LiveSession.__struct_fields__) == set(packed.LiveRecord.__struct_fields__)
    assert set(Moment.__struct_fields__) == set(packed.MomentRecord.__struct_fields__)


def test_a_row_of_each_table_has_a_value_for_each_column() -> None:
    write = written(busy())
    for name, rows in (
        ("revision", write.revisions),
        ("delivery", write.deliveries),
        ("event", write.events),
        ("idempotency", write.keys),
    ):
        assert rows
        assert {len(row) + 1 for row in rows} == {len(METADATA.tables[name].columns)}


@pytest.mark.parametrize("struct", [packed.Working, packed.EntryRecord, packed.DeliveryRecord])
def test_a_field_that_is_unknown_here_does_not_keep_rows_from_being_read(struct: type[msgspec.Struct]) -> None:
    rows = busy()
    kept = msgspec.msgpack.decode(written(rows).head.working)
    parts = {packed.Working: kept, packed.EntryRecord: kept["entries"][0]}
    parts.get(struct, kept["entries"][0]["delivery"])["of_a_newer_version"] = 1
    assert msgspec.convert(kept, packed.Working).last_terminal == 0


def test_keys_are_forgotten_after_every_so_many_revisions() -> None:
    rows = busy()
    rows.limits = LogLimits(max_keys=64)
    assert rows.head is not None
    fresh = Fresh(revisions=[rows.head])
    writes = (record.write_of(rows, fresh, record.Place(n, n, "w", "one", "e-1", START)) for n in range(1, 7))
    assert [write.kept_keys for write in writes] == [None, 64, None, 64, None, 64]


def test_rows_of_a_format_that_is_not_known_are_not_guessed_at() -> None:
    write = written(busy())
    newer = msgspec.msgpack.decode(write.head.working) | {"format": packed.FORMAT + 1}
    head = msgspec.structs.replace(write.head, working=msgspec.msgpack.encode(newer))
    with pytest.raises(Unavailable, match="format 2"):
        record.rows_of(head, {}, "e-1", LIMITS)


def test_another_database_gives_its_epoch_to_the_rows() -> None:
    assert read_back(busy(), "e-2").epoch == "e-2"
