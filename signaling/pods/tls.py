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
from urllib.parse import urlsplit

from cryptography import x509

from signaling.config_error import ConfigError
from signaling.log import LogBook

from .tls_trial import doubt

__all__ = ["PodTls", "TlsFiles"]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the chain that a pod shows, its key, and the authorities that the others' must be signed by."""

    internal_cert_file: str
    internal_key_file: str
    internal_ca_file: str


class PodTls:
    """``server`` is for all time, ``client`` for one connection; both go by what the files held when last read.

    ``name`` is what each certificate must be made out to; empty: to the host of the address that is asked.
    ``expires`` is told until when ours is good, as Unix time; ``refused`` of each that came and showed nothing good.
    """

    def __init__(
        self,
        files: TlsFiles,
        *,
        name: str,
        log: LogBook,
        expires: Callable[[float], None],
        refused: Callable[[], None],
    ) -> None:
        self.name = name
        self._files, self._log, self._expires = files, log, expires
        self._seen = _stamps(files)
        self._told: object = None
        self._host = name
        if field := next((field for field, path in _named(files) if not Path(path).is_file()), None):
            raise ConfigError(f"{field}: there is no such file")
        try:
            self._current, self.client = self._read()
        except (OSError, ValueError) as error:
            raise ConfigError(f"internal_cert_file: {_why(error)}") from None
        self.server = self._for_all_time(refused)

    def reached_at(self, address: str) -> None:
        """Where the others ask this pod. Tell if one that shows the same would not believe it.

        It goes on: what is wrong may be so in these files alone, or for a while.
        """
        self._host = self.name or urlsplit(address).hostname or ""
        self._examine()

    def refresh(self) -> None:
        """Read the files again if they have changed; what cannot be used changes nothing, and is told once."""
        seen = _stamps(self._files)
        if seen == self._seen:
            return
        try:
            self._current, self.client = self._read()
        except (OSError, ValueError) as error:
            # It is tried again: that a file could not be opened may have been for want of descriptors.
            why = _why(error)
            if self._told != (seen, why):
                self._told = seen, why
                self._log.internal_certificate_unusable(cause=why)
        else:
            self._seen, self._told = seen, None
            self._log.internal_certificate_renewed()
            self._examine()

    def _examine(self) -> None:
        if self._host and (cause := doubt(self._current, self.client, self._host)) is not None:
            self._log.internal_certificate_doubtful(cause=cause)

    def _read(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """New ones, whole: nobody is ever shown a certificate without its key. Raises OSError, ValueError."""
        files, contexts = self._files, (_server(), _client())
        for context in contexts:
            # Never a question on a terminal.
            context.load_cert_chain(files.internal_cert_file, files.internal_key_file, password="")
            context.load_verify_locations(files.internal_ca_file)
        ours = x509.load_pem_x509_certificate(Path(files.internal_cert_file).read_bytes())
        self._expires(ours.not_valid_after_utc.timestamp())
        return contexts

    def _for_all_time(self, refused: Callable[[], None]) -> ssl.SSLContext:
        """A listener keeps its context: this one has no certificate, and gives each handshake the current one."""

        class Handshake(ssl.SSLObject):
            """One that counts if it fails."""

            def do_handshake(self) -> None:
                try:
                    super().do_handshake()
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    raise
                except ssl.SSLError:
                    refused()
                    raise

        def greeted(handshake: ssl.SSLObject | ssl.SSLSocket, _: str | None, __: ssl.SSLContext) -> None:
            handshake.context = self._current

        context = _server()
        context.sslobject_class = Handshake
        context.sni_callback = greeted
        return context


def _server() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    # Nobody resumes: each connection shows its certificate.
    context.num_tickets = 0
    return context


def _client() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _named(files: TlsFiles) -> Iterable[tuple[str, str]]:
    return zip(TlsFiles.__slots__, astuple(files), strict=True)


def _stamps(files: TlsFiles) -> tuple[tuple[int, int, int], ...] | None:
    """What differs when one of them is another; None: one is not there just now."""
    try:
        found = [os.stat(path) for path in astuple(files)]
    except OSError:
        return None
    return tuple((one.st_ino, one.st_ctime_ns, one.st_size) for one in found)


_NOT_PEM: Final = "what is in it cannot be read"


def _why(error: OSError | ValueError) -> str:
    """In words that hold nothing of the files."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or _NOT_PEM).lower().replace("_", " ")
    return (error.strerror or _NOT_PEM) if isinstance(error, OSError) else _NOT_PEM
