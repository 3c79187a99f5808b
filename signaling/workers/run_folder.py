"""The folder of a running server: sockets that its processes reach each other by.

Read ``RunFolder.take`` first.
"""

import os
from pathlib import Path
from typing import Final, Self

from signaling.config_error import ConfigError
from signaling.data_lock import DataLock

__all__ = ["RunFolder"]

# The longest path of a socket that every system takes, and the longest name of one in here.
_MAX_PATH_BYTES: Final = 103
_LONGEST_NAME: Final = "worker-255.sock"


class RunFolder:
    """Taken until ``close``, or until this process ends."""

    def __init__(self, path: Path, lock: DataLock) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def take(cls, data: Path) -> Self:
        """Take the data folder, and make ``run`` in it, for its owner alone.

        Raises:
            ConfigError: another server has it, it cannot be made, or its path is too long for a socket.
        """
        path = data.absolute() / "run"
        if len(os.fsencode(path / _LONGEST_NAME)) > _MAX_PATH_BYTES:
            raise ConfigError(f"data: {path} is too long for the sockets in it: workers need a shorter data folder")
        lock = DataLock.take(data)
        try:
            path.mkdir(exist_ok=True, mode=0o700)
            path.chmod(0o700)
        except OSError as error:
            lock.close()
            raise ConfigError(f"cannot use the folder {path}: {error.strerror}") from None
        for socket in path.glob("*.sock"):
            socket.unlink(missing_ok=True)
        return cls(path, lock)

    def close(self) -> None:
        """Give it back."""
        self._lock.close()
