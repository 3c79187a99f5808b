"""What is written in visits."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "chat_message",
        sa.Column("visit", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("participant", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("attachments", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("visit", "n", name="pk_chat_message"),
        sa.UniqueConstraint("visit", "participant", "client_id", name="uq_chat_message_visit_participant_client_id"),
    )
    op.create_table(
        "chat_reader",
        sa.Column("visit", sa.Text(), nullable=False),
        sa.Column("participant", sa.Text(), nullable=False),
        sa.Column("read_to", sa.BigInteger(), nullable=False),
        sa.Column("push_due_at", sa.Double()),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("pushed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("visit", "participant", name="pk_chat_reader"),
    )
    op.create_index("ix_chat_reader_push_due_at", "chat_reader", ["push_due_at"])
