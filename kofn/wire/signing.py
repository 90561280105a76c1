"""Signatures of programs: a worker runs what its master signed for, and nothing else.

A master signs a program's content hash, so a signature is worth something for that program only:
whoever sends it again makes a worker run what its master wanted run. Ed25519 keys in PEM.
Imports its library when it is used: most clusters sign nothing.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

CONTEXT = b"kofn program "  # a key that signs other things, too, never signs a program by that


class KeyFileError(ValueError):
    """A key's file cannot be used; says which, why, and what is accepted."""


def signing_key(file: Path) -> "Ed25519PrivateKey":
    """A master's key; raises KeyFileError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _read(file)
    try:
        key = load_pem_private_key(data, password=None)
    except (TypeError, ValueError) as error:
        raise _refused(file, "a private", str(error)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _refused(file, "a private", "it is of another kind")
    return key


def trusted_key(file: Path) -> "Ed25519PublicKey":
    """The key by which a worker knows its master's signatures; raises KeyFileError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = _read(file)
    try:
        key = load_pem_public_key(data)
    except ValueError as error:
        raise _refused(file, "a public", str(error)) from error
    if not isinstance(key, Ed25519PublicKey):
        raise _refused(file, "a public", "it is of another kind")
    return key


def sign(key: "Ed25519PrivateKey", program: str) -> bytes:
    """The signature of a program, by its content hash."""
    return key.sign(CONTEXT + program.encode())


def is_signed(key: "Ed25519PublicKey", program: str, signature: bytes) -> bool:
    """Whether the owner of the private key signed for this program."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, CONTEXT + program.encode())
    except InvalidSignature:
        return False
    return True


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise KeyFileError(
            f"key file {file}: cannot be read: {error.strerror or error}."
        ) from error


def _refused(file: Path, kind: str, why: str) -> KeyFileError:
    return KeyFileError(
        f"key file {file}: must be {kind} Ed25519 key in PEM, as `openssl genpkey -algorithm "
        f"ed25519` and `openssl pkey -pubout` write them: {why}."
    )
