"""TLS: the files of an encrypted connection, checked before anything is dialled or served.

What a handshake would refuse later, on the other side and in few words, is refused here at once:
a file that is missing, a key of another certificate, a date that has passed. Also says what to do
when a handshake fails after all. Does not make certificates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:  # a client without TLS needs none of it
    from cryptography import x509

# Names of a folder's files: those of a Kubernetes secret for TLS, and what cert-manager writes.
CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"

# What grpc 1.85 says of handshakes that failed, and what to do; the first that is found counts.
# A test watches each of them.
_HINTS = (
    ("certificate has expired", "the other side's certificate has expired; it must be renewed"),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "the other side's certificate is not by the authority given here; name the right one",
    ),
    (
        "Hostname Verification Check failed",
        "the other side's certificate is for another name than the one dialled; give the "
        "certificate's as peer name",
    ),
    ("WRONG_VERSION_NUMBER", "the other side speaks no TLS; leave TLS out or turn it on there"),
)
_HUNG_UP = "Socket closed"
_HUNG_UP_HINT = (
    "the other side hung up while connecting: it may speak TLS only, or want a client certificate "
    "by an authority that it knows"
)


class TlsError(ValueError):
    """A file of TLS cannot be used; says which, why, and what is accepted."""


@dataclass(frozen=True)
class Tls:
    """Files of an encrypted connection, in PEM; the same form on both sides.

    Attributes:
        certificate: own certificate chain. A server must have one; a client that has one shows it.
        key: private key of `certificate`, without a passphrase.
        authority: certificates that vouch for the other side. On a server: clients must show a
            certificate (mutual TLS). On a client: None trusts gRPC's default roots.
        peer_name: name that the server's certificate must carry, where it is not the name dialled.

    Raises:
        TlsError: a certificate without its key, or the other way round; a file that cannot be
            read, a key that does not fit, a certificate that is not valid today.
    """

    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None
    peer_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise TlsError("TLS needs 'certificate' and 'key' together, or neither.")
        if self.certificate is not None and self.key is not None:
            _check_own(self.certificate, self.key)
        if self.authority is not None:
            # A bundle may well hold one that is past its time beside those that count.
            problems = [_date_problem(each) for each in _certificates(self.authority)]
            if all(problems):
                raise TlsError(f"TLS file {self.authority}: {problems[0]}")

    @classmethod
    def in_folder(cls, folder: Path, peer_name: str | None = None) -> "Tls":
        """The files tls.crt and tls.key, ca.crt, or all three of a folder; raises TlsError."""
        paths = {name: folder / name for name in (CERTIFICATE, KEY, AUTHORITY)}
        there = {name: path for name, path in paths.items() if path.exists()}
        if not there:
            raise TlsError(
                f"TLS folder {folder}: must have {CERTIFICATE} and {KEY}, {AUTHORITY}, or all "
                "three; it has none of them."
            )
        return cls(there.get(CERTIFICATE), there.get(KEY), there.get(AUTHORITY), peer_name)

    def client_credentials(self) -> grpc.ChannelCredentials:
        """For dialling."""
        return grpc.ssl_channel_credentials(
            root_certificates=_content(self.authority),
            private_key=_content(self.key),
            certificate_chain=_content(self.certificate),
        )

    def server_credentials(self) -> grpc.ServerCredentials:
        """For listening; raises TlsError when there is no certificate."""
        key, certificate = _content(self.key), _content(self.certificate)
        if key is None or certificate is None:
            raise TlsError("A TLS server needs 'certificate' and 'key'.")
        return grpc.ssl_server_credentials(
            [(key, certificate)],
            root_certificates=_content(self.authority),
            require_client_auth=self.authority is not None,
        )

    def channel_options(self) -> tuple[tuple[str, str], ...]:
        """What `peer_name` asks of a channel."""
        return (("grpc.ssl_target_name_override", self.peer_name),) if self.peer_name else ()


def refused_handshake(message: str) -> str | None:
    """What to do about a connection that failed by TLS, for sure; None for other failures."""
    return next((hint for mark, hint in _HINTS if mark in message), None)


def hung_up(message: str) -> str | None:
    """What to do about a connection that the other side closed at once, perhaps for TLS."""
    return _HUNG_UP_HINT if message.endswith(_HUNG_UP) else None


def _content(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(f"TLS file {path}: cannot be read: {error.strerror or error}.") from error


def _certificates(path: Path) -> Sequence["x509.Certificate"]:
    from cryptography import x509

    content = _content(path) or b""
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise TlsError(f"TLS file {path}: must be certificates in PEM: {error}.") from error


def _check_own(certificate: Path, key: Path) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    chain, content = _certificates(certificate), _content(key) or b""
    try:
        private = load_pem_private_key(content, password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:  # TypeError: a passphrase
        raise TlsError(
            f"TLS file {key}: must be a private key in PEM without a passphrase: {error}."
        ) from error
    if private.public_key() != chain[0].public_key():
        raise TlsError(f"TLS file {key}: is not the key of the certificate {certificate}.")
    for each in chain:
        if problem := _date_problem(each):
            raise TlsError(f"TLS file {certificate}: {problem}")


def _date_problem(certificate: "x509.Certificate") -> str | None:
    """Why a certificate is not valid now; None when it is."""
    now = datetime.now(UTC)
    name = certificate.subject.rfc4514_string() or "without a name"
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if end < now:
        return f"certificate {name} has expired, {_date(end)}; put a new one in its place."
    if begin > now:
        return f"certificate {name} is valid from {_date(begin)} on only; is the clock right?"
    return None


def _date(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
