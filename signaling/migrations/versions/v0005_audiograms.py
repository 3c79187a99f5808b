"""Audiograms of a device's wearer, each added once and never changed.

An older server would judge by the one that came with the registration, so it must refuse the database.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "audiogram",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("device", "number", name="pk_audiogram"),
        sa.UniqueConstraint("device", "id", name="uq_audiogram_device_id"),
        sa.ForeignKeyConstraint(["device"], ["registered_device.device"], name="fk_audiogram_registered_device"),
    )
