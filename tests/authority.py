"""A throw-away authority that nobody knows, and the certificates that it signs, as files."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["Authority"]

MONTH = timedelta(days=30)


class Authority:
    """``ca_file`` in ``folder``, which holds everything, trusts it."""

    def __init__(self, folder: Path, name: str = "throw-away") -> None:
        self._folder, self._name, self._key = folder, name, _key()
        root = self._signed(name, self._key, [], datetime.now(UTC) + timedelta(days=400), is_authority=True)
        self.ca_file = folder / f"{name}.pem"
        self.ca_file.write_bytes(root.public_bytes(serialization.Encoding.PEM))

    def certificate(
        self, stem: str, *hosts: str, good_for: timedelta = MONTH, purposes: Sequence[x509.ObjectIdentifier] = ()
    ) -> tuple[Path, Path]:
        """One made out to these names and addresses: its file and that of its key, written over what was there.

        ``purposes`` that it may be shown for; none: any.
        """
        key = _key()
        leaf = self._signed(hosts[0], key, hosts, datetime.now(UTC) + good_for, purposes, is_authority=False)
        certificate_file, key_file = self._folder / f"{stem}.pem", self._folder / f"{stem}.key"
        certificate_file.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        key_file.write_bytes(key.private_bytes(*private))
        return certificate_file, key_file

    def _signed(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        hosts: list[str] | tuple[str, ...],
        until: datetime,
        purposes: Sequence[x509.ObjectIdentifier] = (),
        *,
        is_authority: bool,
    ) -> x509.Certificate:
        public = key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named(self._name))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(until - timedelta(days=500))
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if hosts:
            names = x509.SubjectAlternativeName([_general(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
