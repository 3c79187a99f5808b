"""``auricle recording``: what is there, one of them in the clear for whoever has the key, and away with it.

Works on the folder alone, without a server. Read ``run``.
"""

import sys
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from media.recording import RecordingMistake, opened, read

from .config import Config
from .config_error import ConfigError

__all__ = ["run"]

EXIT_NOT_WHOLE: Final = 1
_SUFFIX: Final = ".auricle"


def run(config: Config, options: Namespace) -> int:
    """0: done. 1: the recording is not whole, and what could be proved of it was written. Raises ConfigError."""
    if options.recording == "decrypt":
        return _decrypt(config, options.file, options.output)
    folder = options.folder or (Path(config.recordings) if config.recordings else None)
    if folder is None:
        raise ConfigError("recordings: name a folder with --folder or AURICLE_RECORDINGS")
    if options.recording == "list":
        return _list(folder)
    return _delete(folder, options.visit)


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


def _delete(folder: Path, visit: str) -> int:
    deleted = 0
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            with path.open("rb") as file:
                is_of_visit = read(file).visit == visit
        except (OSError, RecordingMistake):
            continue
        if is_of_visit:
            path.unlink(missing_ok=True)
            print(path.stem)
            deleted += 1
    print(f"{deleted} deleted", file=sys.stderr)
    return 0


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
