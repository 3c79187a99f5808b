"""Visits."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "visit",
        sa.Column("visit", sa.Text(), nullable=False),
        sa.Column("clinic", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("patient", sa.Text(), nullable=False),
        sa.Column("professional", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.Double(), nullable=False),
        sa.Column("due_at", sa.Double()),
        sa.Column("live_device", sa.Text()),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("visit", name="pk_visit"),
        sa.UniqueConstraint("live_device", name="uq_visit_live_device"),
    )
    op.create_index("ix_visit_device_starts_at", "visit", ["device", "starts_at"])
    op.create_index("ix_visit_clinic_professional_starts_at", "visit", ["clinic", "professional", "starts_at"])
    op.create_index("ix_visit_clinic_patient_starts_at", "visit", ["clinic", "patient", "starts_at"])
    op.create_index("ix_visit_due_at", "visit", ["due_at"])
