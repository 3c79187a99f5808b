"""The schema over time: one file per step in ``versions``, run by Alembic, over the tables of every ring.

PostgreSQL gets the steps as one script of SQL, SQLite gets them on a connection; so a step may hold no data in its
hands and asks nothing of the database. This module must not import Alembic: a server that starts only compares names.
"""

from typing import Final

__all__ = ["REVISIONS"]

# Oldest first; the last one is what this version of the program needs.
REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010")
