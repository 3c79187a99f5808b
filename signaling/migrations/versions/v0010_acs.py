"""Who is who in Azure Communication Services, and what is open there for visits."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "acs_identity",
        sa.Column("clinic", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("mark", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("visit", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("clinic", "person", name="pk_acs_identity"),
        sa.UniqueConstraint("clinic", "mark", name="uq_acs_identity_clinic_mark"),
    )
    op.create_table(
        "acs_visit",
        sa.Column("visit", sa.Text(), nullable=False),
        sa.Column("thread", sa.Text(), nullable=False),
        sa.Column("due_at", sa.Double()),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("visit", name="pk_acs_visit"),
    )
    op.create_index("ix_acs_visit_thread", "acs_visit", ["thread"])
    op.create_index("ix_acs_visit_due_at", "acs_visit", ["due_at"])
