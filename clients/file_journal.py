"""A phone's journal as a file: what ``save`` returned from is there after a crash at any instruction.

The whole record is written beside the old one, forced to the disk, and put in its place in one step; a first line
holds version, length and checksum. A file that does not fit its own first line is refused and never begun anew:
an empty journal would let a delivery be written twice. What the record means is ``clients.journal``. Read
``FileJournal.save`` first.
"""

import hashlib
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from clients.journal import JournalRecord
from protocol.errors import AuricleError

if sys.platform != "win32":
    import fcntl

__all__ = ["FileJournal", "JournalDamaged", "JournalInUse", "JournalUnavailable"]

_MAGIC: Final = b"auricle-journal"
_VERSION: Final = b"1"
_WHAT_TO_DO: Final = (
    "What the aids hold is not in doubt, what was done to them is: keep the file, have the aids read back in the "
    "clinic, and only then start with another --journal"
)


class JournalDamaged(AuricleError):
    """The file is not what was saved. The phone must not start with it, nor without it."""

    code = "journal_damaged"


class JournalInUse(AuricleError):
    """Another phone process has the journal open."""

    code = "journal_in_use"


class JournalUnavailable(AuricleError):
    """The record could not be saved: the old one is still in place."""

    code = "journal_unavailable"


class FileJournal:
    """Keeps one ``JournalRecord`` in ``path``; as a context manager it keeps other processes out meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._new = path.with_name(f"{path.name}.new")
        self._lock = -1

    def __enter__(self) -> Self:
        """Raises JournalInUse, or JournalUnavailable when the folder cannot be written to."""
        if sys.platform == "win32":
            return self
        try:
            self._lock = os.open(self._path.with_name(f"{self._path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise JournalInUse("another phone has this journal open") from None
        except OSError as error:
            raise JournalUnavailable(f"the journal cannot be opened: {error.strerror}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def load(self) -> JournalRecord:
        """The record that was saved last, an empty one when there is no file. Raises JournalDamaged."""
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return JournalRecord()
        except OSError as error:
            raise JournalUnavailable(f"the journal cannot be read: {error.strerror}") from None
        return _unpacked(raw)

    def save(self, record: JournalRecord) -> None:
        """Replace the record; on return it is on the disk. Raises JournalUnavailable, then nothing has changed."""
        try:
            with open(self._new, "wb", opener=_private) as file:
                file.write(_packed(record))
                file.flush()
                os.fsync(file.fileno())
            os.replace(self._new, self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            raise JournalUnavailable(f"the journal cannot be written: {error.strerror}") from None


def _packed(record: JournalRecord) -> bytes:
    body = msgspec.json.encode(record)
    return b" ".join((_MAGIC, _VERSION, str(len(body)).encode(), _checksum(body))) + b"\n" + body


def _unpacked(raw: bytes) -> JournalRecord:
    head, found, body = raw.partition(b"\n")
    words = head.split(b" ")
    if not found or len(words) != 4 or words[0] != _MAGIC:
        raise JournalDamaged(f"this file is no journal of a phone, or its beginning is lost. {_WHAT_TO_DO}")
    if words[1] != _VERSION:
        raise JournalDamaged("this journal is of another version of the program: use the one that wrote it")
    if words[2:] != [str(len(body)).encode(), _checksum(body)]:
        raise JournalDamaged(f"the journal is damaged. {_WHAT_TO_DO}")
    try:
        return msgspec.json.decode(body, type=JournalRecord)
    except msgspec.DecodeError:
        # Whole, but not understood. The reason is not shown: it may quote what an aid holds.
        raise JournalDamaged("this journal was written by another program: use the one that wrote it") from None


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync_folder(folder: Path) -> None:
    """The new name is on the disk only when the folder is; Windows keeps folders in order by itself."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
