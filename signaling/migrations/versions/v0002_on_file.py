"""Loudness levels, stable gains and red flags in the packed record of a device; no table changes.

A step all the same: an older server would read such a record without them and judge changes less strictly than what is
on file, so it must refuse the database. Records that were stored before stay as they are.
"""

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing but the number."""
