"""Patients, who may fit which device, consents and bind codes; and a version of what is on file of a device.

Devices that were registered before keep those who may fit them: they are read from the registration.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_AT: sa.Double[float] = sa.Double()
_NUMBER = sa.BigInteger()


def upgrade() -> None:
    """Create the tables, and number what is on file."""
    op.add_column("registered_device", sa.Column("version", _NUMBER, server_default="1", nullable=False))
    op.create_index("ix_registered_device_clinic_patient", "registered_device", ["clinic", "patient"])
    op.create_table(
        "patient",
        sa.Column("clinic", sa.Text(), nullable=False),
        sa.Column("patient", sa.Text(), nullable=False),
        sa.Column("version", _NUMBER, nullable=False),
        sa.Column("created_at", _AT, nullable=False),
        sa.Column("name", sa.Text()),
        sa.PrimaryKeyConstraint("clinic", "patient", name="pk_patient"),
    )
    _decisions("assignment")
    _decisions("consent")
    op.create_table(
        "bind_code",
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("clinic", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("patient", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer()),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("made_at", _AT, nullable=False),
        sa.Column("expires_at", _AT, nullable=False),
        sa.Column("bound_by", sa.Text()),
        sa.Column("bound_at", _AT),
        sa.Column("phone", sa.Text()),
        sa.PrimaryKeyConstraint("code_hash", name="pk_bind_code"),
        sa.UniqueConstraint("device", "place", name="uq_bind_code_device_place"),
    )
    op.create_index("ix_bind_code_clinic_patient", "bind_code", ["clinic", "patient"])


def _decisions(table: str) -> None:
    op.create_table(
        table,
        sa.Column("clinic", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("n", _NUMBER, nullable=False),
        sa.Column("holds", sa.Boolean(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", _AT, nullable=False),
        sa.PrimaryKeyConstraint("clinic", "owner", "subject", "n", name=f"pk_{table}"),
    )
