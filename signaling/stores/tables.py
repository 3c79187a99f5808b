"""The tables of what the server keeps beside the device log. Columns are what is searched; the rest is packed."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

from fitting.log_sql.tables import NAMING

__all__ = ["METADATA", "audiogram", "registered_device", "rest_answer"]

METADATA: Final = MetaData(naming_convention=NAMING)

registered_device = Table(
    "registered_device",
    METADATA,
    Column("device", Text, primary_key=True),
    Column("clinic", Text, nullable=False),
    Column("patient", Text, nullable=False),
    Column("record", LargeBinary, nullable=False),
)

# ``number`` counts per device from 1, so that one of two that are added at once is the newest for everybody.
audiogram = Table(
    "audiogram",
    METADATA,
    Column("device", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False),
    Column("record", LargeBinary, nullable=False),
    UniqueConstraint("device", "id"),
    ForeignKeyConstraint(["device"], ["registered_device.device"]),
)

# ``at`` is when the key was claimed; ``answer`` is missing while its request is being carried out.
rest_answer = Table(
    "rest_answer",
    METADATA,
    Column("clinic", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("request_hash", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("answer", LargeBinary),
    PrimaryKeyConstraint("clinic", "author", "key"),
)
Index("ix_rest_answer_at", rest_answer.c.at)
