"""``auricle recording``: what is there, one of them in the clear for whoever has the key, and away with it.

Works on the folder, without a server; what is deleted is first written down in the history of its device. Read ``run``.
"""

import asyncio
import sys
import time
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from fitting.log import DeviceLog
from media.recording import RecordingHead, RecordingMistake, opened, read

from .config import MEMORY, Config
from .config_error import ConfigError
from .metrics import Metrics
from .schema import require_current, sqlite_revision
from .storage import StorageContext, storage_of

__all__ = ["run"]

EXIT_NOT_WHOLE: Final = 1
_SUFFIX: Final = ".auricle"


def run(config: Config, options: Namespace) -> int:
    """0: done. 1: the recording is not whole, and what could be proved of it was written.

    Raises:
        ConfigError: what is configured or asked for cannot be done.
        Unavailable: the database is away; what it could not be told of is still there.
    """
    if options.recording == "decrypt":
        return _decrypt(config, options.file, options.output)
    folder = options.folder or (Path(config.recordings) if config.recordings else None)
    if folder is None:
        raise ConfigError("recordings: name a folder with --folder or AURICLE_RECORDINGS")
    if options.recording == "list":
        return _list(folder)
    return _delete(config, folder, options.visit)


def _list(folder: Path) -> int:
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            with path.open("rb") as file:
                head = read(file)
        except (OSError, RecordingMistake) as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            continue
        began = datetime.fromtimestamp(head.began_at_s, UTC).isoformat(timespec="seconds")
        print(f"{head.recording} {head.visit} {began} {path.stat().st_size} bytes, key {head.key_id}")
    return 0


def _delete(config: Config, folder: Path, visit: str) -> int:
    found = list[tuple[Path, RecordingHead]]()
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        with suppress(OSError, RecordingMistake), path.open("rb") as file:
            head = read(file)
            if head.visit == visit:
                found.append((path, head))
    if found:
        asyncio.run(_delete_all(config, found))
    print(f"{len(found)} deleted", file=sys.stderr)
    return 0


async def _delete_all(config: Config, found: list[tuple[Path, RecordingHead]]) -> None:
    async with _history(config) as log:
        for path, head in found:
            # Rather one too many in the history than one that went without a trace.
            await log.note(head.device, "device", "recording_deleted", actor="operator", text=head.recording)
            path.unlink(missing_ok=True)
            print(head.recording)


@asynccontextmanager
async def _history(config: Config) -> AsyncIterator[DeviceLog]:
    """Of all devices. Raises ConfigError, Unavailable."""
    if config.database_url == MEMORY:
        raise ConfigError("database_url: a deletion is written down, and memory keeps nothing")
    if not config.database_url:
        # A database that is made here would be the wrong one.
        require_current(sqlite_revision(config.sqlite_file))
    storage = storage_of(StorageContext(config, time.time, time.monotonic, Metrics(), lambda _, __: None))
    await storage.open()
    try:
        yield storage.log
    finally:
        await storage.close()


def _decrypt(config: Config, file: Path, output: Path) -> int:
    if not config.recording_keys:
        raise ConfigError("recording_key: set AURICLE_RECORDING_KEY")
    try:
        with file.open("rb") as sealed, output.open("xb") as plain:
            for piece in opened(sealed, config.recording_keys):
                plain.write(piece)
    except RecordingMistake as error:
        print(f"auricle: {file.name}: {error}", file=sys.stderr)
        return EXIT_NOT_WHOLE
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}") from None
    return 0
