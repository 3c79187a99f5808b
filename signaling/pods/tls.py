"""TLS between pods: what this one shows the others, and what theirs is held to. Each side shows a certificate.

The files are read again when they have changed: certificates are renewed under processes that run. Must not know who
asks whom for what; that a pod is the one that was asked is shown by signatures, inside. Read ``PodTls`` first.
"""

import os
import ssl
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

from cryptography import x509

from signaling.config_error import ConfigError
from signaling.log import LogBook

__all__ = ["PodTls", "TlsFiles"]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the chain that a pod shows, its key, and the authorities that the others' must be signed by."""

    internal_cert_file: str
    internal_key_file: str
    internal_ca_file: str


class PodTls:
    """``server`` and ``client`` are for each role; both go by what the files held when they were last read.

    ``name`` is what each certificate must be made out to; empty: to the host of the address that is asked.
    ``expires`` is told until when ours is good, as Unix time.
    """

    def __init__(self, files: TlsFiles, *, name: str, log: LogBook, expires: Callable[[float], None]) -> None:
        self.name = name
        self.server, self.client = _contexts()
        self._files, self._log, self._expires = files, log, expires
        self._seen = _stamps(files)
        if field := next((field for field, path in _named(files) if not Path(path).is_file()), None):
            raise ConfigError(f"{field}: there is no such file")
        try:
            self._read()
        except (OSError, ValueError) as error:
            raise ConfigError(f"internal_cert_file: {_why(error)}") from None

    def refresh(self) -> None:
        """Read the files again if they have changed; what cannot be used changes nothing, and is told."""
        seen = _stamps(self._files)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._read()
        except (OSError, ValueError) as error:
            self._log.internal_certificate_unusable(cause=_why(error))
        else:
            self._log.internal_certificate_renewed()

    def _read(self) -> None:
        """Raises OSError, ValueError."""
        # What does not fit must not reach those in use by halves.
        for contexts in (_contexts(), (self.server, self.client)):
            for context in contexts:
                # Never a question on a terminal.
                context.load_cert_chain(self._files.internal_cert_file, self._files.internal_key_file, password="")
                context.load_verify_locations(self._files.internal_ca_file)
        ours = x509.load_pem_x509_certificate(Path(self._files.internal_cert_file).read_bytes())
        self._expires(ours.not_valid_after_utc.timestamp())


def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.verify_mode = ssl.CERT_REQUIRED
    for context in (server, client):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    return server, client


def _named(files: TlsFiles) -> Iterable[tuple[str, str]]:
    return zip(TlsFiles.__slots__, astuple(files), strict=True)


def _stamps(files: TlsFiles) -> tuple[tuple[int, int, int], ...] | None:
    """What differs when one of them is another; None: one is not there just now."""
    try:
        found = [os.stat(path) for path in astuple(files)]
    except OSError:
        return None
    return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)


_NOT_PEM: Final = "what is in it cannot be read"


def _why(error: OSError | ValueError) -> str:
    """In words that hold nothing of the files."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or _NOT_PEM).lower().replace("_", " ")
    return (error.strerror or _NOT_PEM) if isinstance(error, OSError) else _NOT_PEM
