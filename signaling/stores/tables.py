"""The tables of what the server keeps beside the device log. Columns are what is searched; the rest is packed."""

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

from fitting.log_sql.tables import NAMING

__all__ = [
    "METADATA",
    "acs_identity",
    "acs_visit",
    "assignment",
    "audiogram",
    "bind_code",
    "call_record",
    "chat_message",
    "chat_reader",
    "consent",
    "patient",
    "push_token",
    "registered_device",
    "rest_answer",
    "visit",
]

METADATA: Final = MetaData(naming_convention=NAMING)

# ``version`` is that of ``record``, so that a change can be held to the one that it was thought of on.
registered_device = Table(
    "registered_device",
    METADATA,
    Column("device", Text, primary_key=True),
    Column("clinic", Text, nullable=False),
    Column("patient", Text, nullable=False),
    Column("record", LargeBinary, nullable=False),
    Column("version", BigInteger, nullable=False, server_default="1"),
    Index(None, "clinic", "patient"),
)

patient = Table(
    "patient",
    METADATA,
    Column("clinic", Text, nullable=False),
    Column("patient", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("name", Text),
    PrimaryKeyConstraint("clinic", "patient"),
)


def _decisions(name: str) -> Table:
    """Decisions are only ever added: ``n`` counts those about one subject, and the newest stands."""
    return Table(
        name,
        METADATA,
        Column("clinic", Text, nullable=False),
        Column("owner", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("n", BigInteger, nullable=False),
        Column("holds", Boolean, nullable=False),
        Column("decided_by", Text, nullable=False),
        Column("role", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("at", Double, nullable=False),
        PrimaryKeyConstraint("clinic", "owner", "subject", "n"),
    )


# Of a device, about a person; of a patient, about a scope.
assignment = _decisions("assignment")
consent = _decisions("consent")

# A code that is live has one of the places of its device, so that there are never more of them than places.
bind_code = Table(
    "bind_code",
    METADATA,
    Column("code_hash", LargeBinary, primary_key=True),
    Column("clinic", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("patient", Text, nullable=False),
    Column("place", Integer),
    Column("made_by", Text, nullable=False),
    Column("made_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("bound_by", Text),
    Column("bound_at", Double),
    Column("phone", Text),
    UniqueConstraint("device", "place"),
    Index(None, "clinic", "patient"),
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

# ``at`` is when the phone brought it, ``parked_at`` when its platform called it dead.
push_token = Table(
    "push_token",
    METADATA,
    Column("device", Text, primary_key=True),
    Column("platform", Text, nullable=False),
    Column("token", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("parked_at", Double),
)

# ``due_at``: when time alone brings something about, missing when it is over. ``live_device``: while it is live.
visit = Table(
    "visit",
    METADATA,
    Column("visit", Text, primary_key=True),
    Column("clinic", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("patient", Text, nullable=False),
    Column("professional", Text, nullable=False),
    Column("starts_at", Double, nullable=False),
    Column("due_at", Double),
    Column("live_device", Text),
    Column("version", BigInteger, nullable=False),
    Column("record", LargeBinary, nullable=False),
    UniqueConstraint("live_device"),
    Index(None, "device", "starts_at"),
    Index(None, "clinic", "professional", "starts_at"),
    Index(None, "clinic", "patient", "starts_at"),
    Index(None, "due_at"),
)

# ``n`` counts per visit from 1, so that there is one order for everybody.
chat_message = Table(
    "chat_message",
    METADATA,
    Column("visit", Text, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("id", Text, nullable=False),
    Column("participant", Text, nullable=False),
    Column("client_id", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("text", Text, nullable=False),
    Column("attachments", LargeBinary, nullable=False),
    PrimaryKeyConstraint("visit", "n"),
    UniqueConstraint("visit", "participant", "client_id"),
)

# ``push_due_at``: when the phone of a reader is to be woken, missing when it is not.
chat_reader = Table(
    "chat_reader",
    METADATA,
    Column("visit", Text, nullable=False),
    Column("participant", Text, nullable=False),
    Column("read_to", BigInteger, nullable=False),
    Column("push_due_at", Double),
    Column("tries", Integer, nullable=False),
    Column("pushed_at", Double, nullable=False),
    PrimaryKeyConstraint("visit", "participant"),
    Index(None, "push_due_at"),
)

# ``part``: empty for the call itself, else the pod that tells how good it was. ``at``: its end.
call_record = Table(
    "call_record",
    METADATA,
    Column("call_id", Text, nullable=False),
    Column("part", Text, nullable=False),
    Column("visit", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("record", LargeBinary, nullable=False),
    PrimaryKeyConstraint("call_id", "part"),
    Index(None, "visit", "at"),
)

# ``mark``: a keyed hash of what ``sealed`` holds. ``visit``: for which the newest token was given.
acs_identity = Table(
    "acs_identity",
    METADATA,
    Column("clinic", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("mark", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("visit", Text, nullable=False),
    PrimaryKeyConstraint("clinic", "person"),
    UniqueConstraint("clinic", "mark"),
)

# ``due_at``: when it is to be looked at, missing when nothing is open any more.
acs_visit = Table(
    "acs_visit",
    METADATA,
    Column("visit", Text, primary_key=True),
    Column("thread", Text, nullable=False),
    Column("due_at", Double),
    Column("version", BigInteger, nullable=False),
    Column("record", LargeBinary, nullable=False),
    Index(None, "thread"),
    Index(None, "due_at"),
)
