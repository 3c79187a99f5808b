"""The folder of a running server: sockets that its processes reach each other by, and a lock that says it is taken.

Read ``RunFolder.take`` first.
"""

import fcntl
import os
from pathlib import Path
from typing import Final, Self

from signaling.config_error import ConfigError

__all__ = ["RunFolder"]

# The longest path of a socket that every system takes, and the longest name of one in here.
_MAX_PATH_BYTES: Final = 103
_LONGEST_NAME: Final = "worker-255.sock"


class RunFolder:
    """Taken until ``close``, or until this process ends."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def take(cls, data: Path) -> Self:
        """Make ``run`` in the data folder, for its owner alone, and take it.

        Raises:
            ConfigError: another server has it, it cannot be made, or its path is too long for a socket.
        """
        path = data.absolute() / "run"
        if len(os.fsencode(path / _LONGEST_NAME)) > _MAX_PATH_BYTES:
            raise ConfigError(f"data: {path} is too long for the sockets in it: workers need a shorter data folder")
        try:
            data.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.mkdir(exist_ok=True, mode=0o700)
            path.chmod(0o700)
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot use the folder {path}: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise ConfigError(f"data: another server with workers runs in {data}") from None
        for socket in path.glob("*.sock"):
            socket.unlink(missing_ok=True)
        return cls(path, lock)

    def close(self) -> None:
        """Give it back."""
        os.close(self._lock)
