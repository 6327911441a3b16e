"""Secrets at rest: AES-256-GCM under a key that is not in the database.

A keyring holds one current key, which seals, and older ones, which only open. A key's id is the
head of its SHA-256, so that what was sealed names its key without telling it. What is sealed is
bound to what it belongs to: moved to another row, it does not open.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import ConfigError

KEY_BYTES: Final = 32
VARIABLE: Final = "WAYPOST_SECRETS_KEY"
"""Environment variable with the keys in base64, the current one first, separated by commas."""
_NONCE: Final = 12


class KeyTrouble(ConfigError):
    """The keys of the secrets are missing, unreadable, wrong, or open to others."""


class Sealed(NamedTuple):
    """Ciphertext, and the key that opens it."""

    key_id: str
    blob: bytes


class Keyring:
    """Seals with the first key, opens with any."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise KeyTrouble(f"the keys of the secrets must be {KEY_BYTES} bytes each, in base64")
        self.current = key_id(keys[0])
        self._keys = {key_id(key): key for key in keys}

    def __repr__(self) -> str:
        return f"<Keyring current={self.current} of {len(self._keys)}>"

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all keys, the current one first."""
        return tuple(self._keys)

    def seal(self, text: bytes, belongs_to: str) -> Sealed:
        """Encrypt under the current key."""
        nonce = secrets.token_bytes(_NONCE)
        cipher = AESGCM(self._keys[self.current])
        return Sealed(self.current, nonce + cipher.encrypt(nonce, text, belongs_to.encode()))

    def unseal(self, sealed: Sealed, belongs_to: str) -> bytes:
        """Decrypt. Raises KeyTrouble when the key is not here or the text was tampered with."""
        key = self._keys.get(sealed.key_id)
        if key is None:
            raise KeyTrouble(f"the key {sealed.key_id!r} that secrets were sealed with is missing")
        nonce, text = sealed.blob[:_NONCE], sealed.blob[_NONCE:]
        try:
            return AESGCM(key).decrypt(nonce, text, belongs_to.encode())
        except (InvalidTag, ValueError):
            raise KeyTrouble(f"sealed secrets of {belongs_to!r} have been damaged") from None

    def with_current(self, key: bytes) -> Keyring:
        """The same with another key in front."""
        return Keyring([key, *self._keys.values()])


class KeySource(Protocol):
    """Where the keys come from, and what a rotation means there."""

    def load(self, *, create: bool) -> Keyring:
        """The keys; ``create``: make the first one when there is none. Raises KeyTrouble."""

    def begin_rotation(self, ring: Keyring) -> Keyring:
        """The keyring to seal everything with again, kept safe before it is used."""

    def end_rotation(self, ring: Keyring) -> None:
        """Nothing is sealed with older keys any more."""


class KeyFile:
    """Keys in a file of mode 0600: base64, one a line, the current one first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._current: bytes | None = None

    def load(self, *, create: bool) -> Keyring:
        """Read the file, or make it with a new key."""
        if create and not self._path.exists():
            self._write([secrets.token_bytes(KEY_BYTES)])
        keys = self._read()
        self._current = keys[0]
        return Keyring(keys)

    def begin_rotation(self, ring: Keyring) -> Keyring:
        """A new key in front of the old ones, on disk before anything is sealed with it."""
        key = secrets.token_bytes(KEY_BYTES)
        self._write([key, *self._read()])
        self._current = key
        return ring.with_current(key)

    def end_rotation(self, ring: Keyring) -> None:
        """Only the current key stays in the file."""
        if self._current is not None:
            self._write([self._current])

    def _read(self) -> list[bytes]:
        try:
            found = self._path.stat()
            text = self._path.read_text("ascii", "replace")
        except OSError as error:
            raise KeyTrouble(
                f"the key file of the secrets, {self._path}, cannot be read ({error.strerror});"
                f" bring it back from your backup, or give the key in {VARIABLE}"
            ) from None
        if found.st_mode & 0o077:
            raise KeyTrouble(f"{self._path} may be read by others: chmod 600 {self._path}")
        return parse_keys(text.split(), str(self._path))

    def _write(self, keys: Iterable[bytes]) -> None:
        """Replace the file at once: after a crash there is the old one or the new one, whole."""
        temporary = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        text = "".join(base64.b64encode(key).decode() + "\n" for key in keys)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(temporary, flags, 0o600), "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._path)
            _sync(self._path.parent)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise KeyTrouble(f"{self._path} cannot be written: {error.strerror}") from None


class GivenKeys:
    """Keys that the operator gives in the environment; a rotation seals again with the first."""

    def __init__(self, text: str) -> None:
        self._text = text

    def load(self, *, create: bool) -> Keyring:
        """The keys as given."""
        return Keyring(parse_keys(self._text.replace(",", " ").split(), VARIABLE))

    def begin_rotation(self, ring: Keyring) -> Keyring:
        """The same: the operator put the new key in front before this node started."""
        return ring

    def end_rotation(self, ring: Keyring) -> None:
        """The operator removes the old keys."""


def key_id(key: bytes) -> str:
    """What names a key without telling it."""
    return sha256(b"waypost secrets key\0" + key).hexdigest()[:16]


def parse_keys(words: Iterable[str], source: str) -> list[bytes]:
    """Keys in base64. Raises KeyTrouble, never showing one."""
    keys = []
    for number, word in enumerate(words, 1):
        try:
            key = base64.b64decode(word, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != KEY_BYTES:
            raise KeyTrouble(
                f"{source}: key {number} is not {KEY_BYTES} bytes in base64;"
                " make one with: openssl rand -base64 32"
            )
        keys.append(key)
    if not keys:
        raise KeyTrouble(f"{source} holds no key; make one with: openssl rand -base64 32")
    return keys


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
