"""The device log and the registered devices: everything that a restart must not forget."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_PACKED = sa.LargeBinary()
_AT: sa.Double[float] = sa.Double()
_NUMBER = sa.BigInteger()


def upgrade() -> None:
    """Create all tables."""
    _devices()
    _history()
    _record()
    _outbox()
    _meta()


def _devices() -> None:
    op.create_table(
        "registered_device",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("clinic", sa.Text(), nullable=False),
        sa.Column("patient", sa.Text(), nullable=False),
        sa.Column("record", _PACKED, nullable=False),
        sa.PrimaryKeyConstraint("device", name="pk_registered_device"),
    )
    op.create_table(
        "device_head",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("version", _NUMBER, nullable=False),
        sa.Column("written", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Text(), nullable=False),
        sa.Column("log_epoch", sa.Text(), nullable=False),
        sa.Column("generation", _NUMBER, nullable=False),
        sa.Column("carrier", sa.Text(), nullable=False),
        sa.Column("attached", sa.Boolean(), nullable=False),
        sa.Column("fence", _NUMBER, nullable=False),
        sa.Column("lease_until", _AT),
        sa.Column("last_seq", _NUMBER, nullable=False),
        sa.Column("last_n", _NUMBER, nullable=False),
        sa.Column("last_hash", sa.Text(), nullable=False),
        sa.Column("revisions", _NUMBER, nullable=False),
        sa.Column("due_at", _AT),
        sa.Column("refs", sa.Text(), nullable=False),
        sa.Column("working", _PACKED, nullable=False),
        sa.PrimaryKeyConstraint("device", name="pk_device_head"),
    )
    waits = sa.text("due_at IS NOT NULL")
    op.create_index("ix_device_head_due", "device_head", ["due_at"], sqlite_where=waits, postgresql_where=waits)


def _history() -> None:
    op.create_table(
        "revision",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("revision_id", sa.Text(), nullable=False),
        sa.Column("n", _NUMBER, nullable=False),
        sa.Column("seq", _NUMBER),
        sa.Column("parent", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", _AT, nullable=False),
        sa.Column("content", _PACKED, nullable=False),
        sa.Column("digests", _PACKED, nullable=False),
        sa.Column("safety", _PACKED, nullable=False),
        sa.Column("vendor", _PACKED),
        sa.PrimaryKeyConstraint("device", "revision_id", name="pk_revision"),
        sa.UniqueConstraint("device", "n", name="uq_revision_device_n"),
        _of_device("revision"),
    )
    op.create_table(
        "delivery",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("seq", _NUMBER, nullable=False),
        sa.Column("revision_id", sa.Text(), nullable=False),
        sa.Column("base_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("code", sa.Text()),
        sa.Column("ended_at", _AT),
        sa.Column("record", _PACKED, nullable=False),
        sa.PrimaryKeyConstraint("device", "seq", name="pk_delivery"),
        _of_device("delivery"),
    )


def _record() -> None:
    op.create_table(
        "event",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("n", _NUMBER, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", _AT, nullable=False),
        sa.Column("seq", _NUMBER),
        sa.Column("ear", sa.Text()),
        sa.Column("code", sa.Text()),
        sa.Column("digest", sa.Text()),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("text", sa.Text()),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("device", "n", name="pk_event"),
        _of_device("event"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "idempotency",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("n", _NUMBER, nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("answer", _PACKED, nullable=False),
        sa.PrimaryKeyConstraint("device", "key", name="pk_idempotency"),
        sa.UniqueConstraint("device", "n", name="uq_idempotency_device_n"),
        _of_device("idempotency"),
    )


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", _NUMBER.with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("seq", _NUMBER, nullable=False),
        sa.Column("due_at", _AT, nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("leased_by", sa.Text()),
        sa.Column("leased_until", _AT),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        _of_device("outbox"),
    )
    op.create_index("ix_outbox_due", "outbox", ["due_at"])


def _meta() -> None:
    op.create_table(
        "log_meta",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_log_meta"),
    )
    # The database names itself, so that a script can be written without knowing it.
    is_sqlite = op.get_context().dialect.name == "sqlite"
    new_id = "lower(hex(randomblob(16)))" if is_sqlite else "replace(gen_random_uuid()::text, '-', '')"
    op.execute(f"INSERT INTO log_meta (name, value) SELECT 'database_id', {new_id}")


def _of_device(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["device"], ["device_head.device"], name=f"fk_{table}_device_head")
