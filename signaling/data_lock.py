"""One server at a time in a data folder: two would share a database and know nothing of each other.

A fitter at one and a phone at the other would never meet. Read ``DataLock.take`` first.
"""

import fcntl
import os
from pathlib import Path
from typing import Self

from .config_error import ConfigError

__all__ = ["DataLock"]


class DataLock:
    """Held until ``close``, or until this process ends, however it does."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, data: Path) -> Self:
        """Make the folder, for its owner alone, and take it.

        Raises:
            ConfigError: another server has it, or it cannot be made.
        """
        try:
            data.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(data / "auricle.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot use the data folder {data}: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise ConfigError(f"data: another server runs in {data}") from None
        return cls(descriptor)

    def close(self) -> None:
        """Give it back."""
        os.close(self._descriptor)
