"""What the database says of itself: an identity that changes when its history may have been lost.

Phones compare it with the one they know. This module must not know how it is kept. Read ``epoch_of`` first.
"""

import hashlib
from typing import Final

__all__ = ["DATABASE_ID", "RESTORES", "epoch_of"]

# Names in ``log_meta``. ``RESTORES`` is raised by whoever puts an older copy back in place.
DATABASE_ID: Final = "database_id"
RESTORES: Final = "restores"


def epoch_of(*parts: object) -> str:
    """One opaque id of all the parts that an identity has."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:24]
