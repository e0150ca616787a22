"""Ed25519 keys: the one that signs on this machine, and the public ones whose signatures are believed here."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from driftline.errors import ArtifactError, ArtifactFault, DeploymentError
from driftline.platform.writing import make_directory, write

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
"""What a key may be called: its name is part of a file's name."""


@dataclass(frozen=True)
class TrustedKey:
    """A public key of the keyring. `id` follows from the key alone; `name` is for people."""

    id: str
    name: str
    file: Path
    public: Ed25519PublicKey


@dataclass(frozen=True)
class Keyring:
    """The keys under `directory`.

    signing.pem            the private key that signs on this machine, if it signs at all; mode 0600
    trusted/NAME-ID.pem    a public key whose signatures are believed; whoever may write here decides what is loaded
    """

    directory: Path

    def make(self, name: str) -> TrustedKey:
        """A new key that is trusted here, and signs here from now on. What the one before has signed stays trusted.

        Raises `DeploymentError`, as everything here does where files cannot be read or written.
        """
        # trusted first: killed in between, there is a public key that never signs, not a private one that nobody trusts
        private = Ed25519PrivateKey.generate()
        key = self._trust(private.public_key(), name)
        _write(self._signing, _private_pem(private), 0o600)
        return key

    def trust(self, file: Path, name: str | None = None) -> TrustedKey:
        """Believe from now on what the public key in `file` signs; `name` is that of the file unless given."""
        public = _public_in(file)
        return self._trust(public, name or _name_of(file, key_id(public)))

    def distrust(self, beginning: str) -> TrustedKey:
        """Believe no longer what the key has signed whose id begins so."""
        found = [key for key in self.trusted() if key.id.startswith(beginning)]
        if len(found) != 1:
            which = "no trusted key" if not found else f"more than one key ({', '.join(key.id for key in found)})"
            raise DeploymentError(f"{which} has an id that begins with {beginning!r}; `driftline keys list` shows them")
        with _told(found[0].file):
            found[0].file.unlink()
        return found[0]

    def trusted(self) -> list[TrustedKey]:
        """Every key whose signatures are believed, by name."""
        keys = []
        for file in sorted((self.directory / "trusted").glob("*.pem")):
            public = _public_in(file)
            keys.append(TrustedKey(key_id(public), _name_of(file, key_id(public)), file, public))
        return keys

    def signer(self) -> str | None:
        """The id of the key that signs here; None: the first signature will make one."""
        return key_id(self._private().public_key()) if self._signing.exists() else None

    def sign(self, data: bytes) -> str:
        """`ID:SIGNATURE`, both in hex. A machine without a key makes one, named after itself, and trusts it."""
        if not self._signing.exists():
            self._make_first()
        private = self._private()
        signer = key_id(private.public_key())
        if signer not in {key.id for key in self.trusted()}:
            raise DeploymentError(
                f"the key in {self._signing} is not trusted here, so nobody should rely on what it signs; "
                "`driftline keys make NAME` makes another"
            )
        return f"{signer}:{private.sign(data).hex()}"

    def verify(self, data: bytes, signature: str) -> None:
        """Raises `ArtifactError` unless `signature`, as `sign` gives it, is that of a trusted key over `data`."""
        signer, _, said = signature.partition(":")
        try:
            found = [key for key in self.trusted() if key.id == signer]
        except DeploymentError as error:  # without a keyring nobody is known
            raise ArtifactError(str(error), ArtifactFault.UNKNOWN_SIGNER) from error
        if not found:
            raise ArtifactError(
                f"key {signer} is not trusted in {self.directory}; if you know whose it is, "
                "give `driftline keys trust` the file with its public key",
                ArtifactFault.UNKNOWN_SIGNER,
            )
        try:
            found[0].public.verify(bytes.fromhex(said), data)
        except (InvalidSignature, ValueError) as error:
            raise ArtifactError(
                f"the signature is not that of key {signer} ({found[0].name}) over these bytes",
                ArtifactFault.BAD_SIGNATURE,
            ) from error

    @property
    def _signing(self) -> Path:
        return self.directory / "signing.pem"

    def _private(self) -> Ed25519PrivateKey:
        with _told(self._signing):
            data = self._signing.read_bytes()
        try:
            private = load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            private = None
        if not isinstance(private, Ed25519PrivateKey):
            raise DeploymentError(f"{self._signing} is no Ed25519 key; `driftline keys make NAME` replaces it")
        return private

    def _make_first(self) -> None:
        """As `make`, unless another process has been quicker: then its key is the one that signs."""
        host = socket.gethostname()
        with _told(self.directory), _locked(self.directory):
            if not self._signing.exists():
                self.make(host if NAME.fullmatch(host) else "local")

    def _trust(self, public: Ed25519PublicKey, name: str) -> TrustedKey:
        known = [key for key in self.trusted() if key.id == key_id(public)]
        if known:
            return known[0]
        if not NAME.fullmatch(name):
            raise DeploymentError(f"{name!r} cannot be a key's name: up to 64 letters, digits and . _ -")
        file = self.directory / "trusted" / f"{name}-{key_id(public)}.pem"
        _write(file, public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
        return TrustedKey(key_id(public), name, file, public)


def key_id(public: Ed25519PublicKey) -> str:
    """32 hex digits: the SHA-256 of the public key, shortened to 128 bits."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()[:32]


def _name_of(file: Path, id: str) -> str:
    return file.stem.removesuffix(f"-{id}")


def _public_in(file: Path) -> Ed25519PublicKey:
    with _told(file):
        data = file.read_bytes()
    try:
        public = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        public = None
    if not isinstance(public, Ed25519PublicKey):
        raise DeploymentError(f"{file} holds no public Ed25519 key in PEM, such as `driftline keys make` writes")
    return public


def _private_pem(private: Ed25519PrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, data: bytes, mode: int) -> None:
    with _told(path):
        write(path, data, mode)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Held by one process at a time; gone with it, however it ends."""
    make_directory(directory)
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DeploymentError(
            f"{path}: {error.strerror or error}; keys belong to the user who runs the workers, "
            "in the directory that DRIFTLINE_KEY_DIR names"
        ) from error
