"""The signature of an output folder with a key of the user's: Ed25519 (RFC 8032), by the package `cryptography`.

`manifest.sig` has the 64 bytes that sign manifest.json, which in turn has the hash of every other file. So
``openssl pkeyutl -verify -pubin -inkey public.pem -rawin -in manifest.json -sigfile manifest.sig`` checks it as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceaug.errors import IntegrityError, UsageError
from faceaug.utils.files import inside, read_document, read_regular, write_bytes
from faceaug.utils.text import one_line

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE_NAME = "manifest.sig"
SIGN_INSTALL = "pip install 'faceaug[sign]'"


def write_signature(folder: Path, data: bytes, key: Ed25519PrivateKey) -> None:
    """Sign the bytes of a manifest and write the signature beside it.

    Raises
    ------
    OutputError
        When the folder cannot be written.
    """
    write_bytes(folder / SIGNATURE_NAME, key.sign(data))


def check_signature(folder: Path, data: bytes, key: Ed25519PublicKey) -> None:
    """Check the signature of a folder against the bytes of its manifest.

    Raises
    ------
    IntegrityError
        When there is none, or it is not one of these bytes with this key.
    """
    from cryptography.exceptions import InvalidSignature

    try:
        signature = read_regular(inside(folder, SIGNATURE_NAME))
    except FileNotFoundError as error:
        raise IntegrityError("is missing: the folder was not signed, or its signature was removed") from error
    except OSError as error:
        raise IntegrityError(f"cannot be read ({error.strerror or error})") from error
    try:
        key.verify(signature, data)
    except InvalidSignature as error:
        raise IntegrityError(
            "is no signature of this manifest with this key: manifest.json was changed, or another key signed it"
        ) from error


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read the key that signs, from PEM; UsageError where there is none."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = _read_key(path, "load_pem_private_key", "openssl genpkey -algorithm ed25519 -out key.pem", password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path} has a key of another kind: an Ed25519 key signs")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read the key that checks, from PEM; UsageError where there is none."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key = _read_key(path, "load_pem_public_key", "openssl pkey -in key.pem -pubout -out public.pem")
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{path} has a key of another kind: an Ed25519 key checks")
    return key


def _read_key(path: Path, load: str, remedy: str, **given: Any) -> object:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise UsageError(f"signatures need the package cryptography, which is not installed: {SIGN_INSTALL}") from error
    try:
        key: object = getattr(serialization, load)(read_document(path).encode(), **given)
    except OSError as error:
        raise UsageError(f"the key {path} cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # a passphrase is asked for by a TypeError
        raise UsageError(
            f"{path} has no such key in PEM without a passphrase ({one_line(error)}); '{remedy}' writes one"
        ) from error
    return key
