"""The tables of the device log: the one schema that migrations create and that statements are compiled from.

Times are Unix seconds by the database's clock. What is a value of the contract is kept as MessagePack of its typed
struct, so that there is one way to read it; what is searched, sorted or compared has a column of its own. This module
must not know how a statement is run. Read ``device_head`` first: its ``version`` orders all writes to a device.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

__all__ = ["METADATA", "NAMING", "delivery", "device_head", "event", "idempotency", "log_meta", "outbox", "revision"]

NAMING: Final = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(referred_table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}
METADATA: Final = MetaData(naming_convention=NAMING)


def _of_device() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["device"], ["device_head.device"])


# ``written`` names the write that made this version, so that its writer knows it again after a lost answer.
# ``carrier`` is the process that attached the phone last. ``refs`` are the revisions that ``working`` names,
# ``log_epoch`` is the database's own when it was written.
device_head = Table(
    "device_head",
    METADATA,
    Column("device", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("written", Text, nullable=False),
    Column("epoch", Text, nullable=False),
    Column("log_epoch", Text, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("carrier", Text, nullable=False),
    Column("attached", Boolean, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("lease_until", Double),
    Column("last_seq", BigInteger, nullable=False),
    Column("last_n", BigInteger, nullable=False),
    Column("last_hash", Text, nullable=False),
    Column("revisions", BigInteger, nullable=False),
    Column("due_at", Double),
    Column("refs", Text, nullable=False),
    Column("working", LargeBinary, nullable=False),
)
# Only what time alone may end is looked for, and most devices have nothing of it.
Index(
    "ix_device_head_due",
    device_head.c.due_at,
    sqlite_where=device_head.c.due_at.is_not(None),
    postgresql_where=device_head.c.due_at.is_not(None),
)

revision = Table(
    "revision",
    METADATA,
    Column("device", Text, nullable=False),
    Column("revision_id", Text, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("seq", BigInteger),
    Column("parent", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("digests", LargeBinary, nullable=False),
    Column("safety", LargeBinary, nullable=False),
    Column("vendor", LargeBinary),
    PrimaryKeyConstraint("device", "revision_id"),
    UniqueConstraint("device", "n"),
    _of_device(),
)

delivery = Table(
    "delivery",
    METADATA,
    Column("device", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("revision_id", Text, nullable=False),
    Column("base_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("code", Text),
    Column("ended_at", Double),
    Column("record", LargeBinary, nullable=False),
    PrimaryKeyConstraint("device", "seq"),
    _of_device(),
)

event = Table(
    "event",
    METADATA,
    Column("device", Text, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("seq", BigInteger),
    Column("ear", Text),
    Column("code", Text),
    Column("digest", Text),
    Column("actor", Text, nullable=False),
    Column("text", Text),
    Column("hash", Text, nullable=False),
    PrimaryKeyConstraint("device", "n"),
    _of_device(),
    sqlite_with_rowid=False,
)

# ``n`` orders the keys of a device, so that the oldest beyond the bound are forgotten.
idempotency = Table(
    "idempotency",
    METADATA,
    Column("device", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("request_hash", Text, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    PrimaryKeyConstraint("device", "key"),
    UniqueConstraint("device", "n"),
    _of_device(),
)

outbox = Table(
    "outbox",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("device", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("leased_by", Text),
    Column("leased_until", Double),
    _of_device(),
)
Index("ix_outbox_due", outbox.c.due_at)

log_meta = Table(
    "log_meta",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
