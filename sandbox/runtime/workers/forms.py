"""Blob, File and FormData, and the two encodings of a form."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from email.message import Message
from typing import Any, Literal
from urllib.parse import parse_qsl

BlobValue = Any
BlobEnding = Literal["transparent", "native"]


class Blob:
    """Immutable bytes with a type."""

    def __init__(
        self,
        blob_parts: Iterable[BlobValue] | str | bytes,
        content_type: str | None = None,
        endings: BlobEnding | None = None,
    ) -> None:
        if isinstance(blob_parts, str | bytes):
            blob_parts = [blob_parts]
        data = b"".join(_part(part) for part in blob_parts)
        self._data = data.replace(b"\r\n", b"\n") if endings == "native" else data
        self.content_type = content_type or ""

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self._data)

    def raw(self) -> bytes:
        """The content, without waiting."""
        return self._data

    async def bytes(self) -> bytes:
        """The content."""
        return self._data

    async def text(self) -> str:
        """The content as UTF-8."""
        return self._data.decode("utf-8", "replace")

    def slice(
        self, start: int | None = None, end: int | None = None, content_type: str | None = None
    ) -> Blob:
        """A part of the content as a Blob of its own."""
        return Blob([self._data[start:end]], content_type)


class File(Blob):
    """A Blob with a name."""

    def __init__(
        self,
        blob_parts: Iterable[BlobValue] | str | bytes,
        filename: str,
        content_type: str | None = None,
        endings: BlobEnding | None = None,
        last_modified: int | None = None,
    ) -> None:
        super().__init__(blob_parts, content_type, endings)
        self.name = filename
        self.last_modified = int(time.time() * 1000) if last_modified is None else last_modified


def _part(part: BlobValue) -> bytes:
    if isinstance(part, str):
        return part.encode()
    if isinstance(part, Blob):
        return part.raw()
    if isinstance(part, bytes | bytearray | memoryview):
        return bytes(part)
    raise TypeError(f"a blob part is str, bytes or Blob, not {type(part).__name__}")


FormDataValue = str | Blob


class FormData(MutableMapping[str, FormDataValue]):
    """The fields of a form, in order; a name may come more than once."""

    def __init__(self, fields: Mapping[str, FormDataValue] | None = None) -> None:
        self._fields: list[tuple[str, FormDataValue]] = []
        for name, value in (fields or {}).items():
            self.append(name, value)

    def append(self, name: str, value: FormDataValue, filename: str | None = None) -> None:
        """Add a field beside those of the same name."""
        if not isinstance(value, str | Blob):
            raise TypeError(f"a form field is str, Blob or File, not {type(value).__name__}")
        if isinstance(value, Blob) and (filename or not isinstance(value, File)):
            value = File([value], filename or "blob", value.content_type)
        self._fields.append((str(name), value))

    def get_all(self, name: str) -> list[FormDataValue]:
        """Return every value of that name."""
        return [value for key, value in self._fields if key == name]

    getAll = get_all  # noqa: N815 - Cloudflare's spelling

    def delete(self, name: str) -> None:
        """Remove every field of that name."""
        self._fields = [field for field in self._fields if field[0] != name]

    def __getitem__(self, name: str) -> FormDataValue:
        for key, value in self._fields:
            if key == name:
                return value
        raise KeyError(name)

    def __setitem__(self, name: str, value: FormDataValue) -> None:
        self.delete(name)
        self.append(name, value)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self.delete(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key for key, _ in self._fields))

    def __len__(self) -> int:
        return len({key for key, _ in self._fields})

    def encode(self) -> tuple[bytes, str]:
        """Return the multipart body and its Content-Type."""
        boundary = "----waypost" + secrets.token_hex(12)
        out: list[bytes] = []
        for name, value in self._fields:
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quote(name)}"'
            if isinstance(value, File):
                kind = value.content_type or "application/octet-stream"
                head += f'; filename="{_quote(value.name)}"\r\nContent-Type: {kind}'
            out.append(head.encode() + b"\r\n\r\n" + _part(value) + b"\r\n")
        out.append(f"--{boundary}--\r\n".encode())
        return b"".join(out), f"multipart/form-data; boundary={boundary}"


def _quote(text: str) -> str:
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


def parse_form(content_type: str, body: bytes) -> FormData:
    """Read a form. Raises TypeError when the Content-Type is not a form's, ValueError if broken."""
    message = Message()
    message["content-type"] = content_type
    kind = message.get_content_type()
    form = FormData()
    if content_type and kind == "application/x-www-form-urlencoded":
        text = body.decode("utf-8", "replace")
        for name, value in parse_qsl(text, keep_blank_values=True):
            form.append(name, value)
    elif kind == "multipart/form-data" and message.get_boundary():
        _parse_multipart(str(message.get_boundary()).encode(), body, form)
    else:
        raise TypeError(f"a body of type {content_type!r} is not a form")
    return form


def _parse_multipart(boundary: bytes, body: bytes, form: FormData) -> None:
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if len(parts) < 2 or not parts[-1].startswith(b"--"):
        raise ValueError("the multipart body does not end with its boundary")
    for part in parts[1:-1]:
        head, separator, content = part.lstrip(b" \t").removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if not separator:
            raise ValueError("a part of the multipart body has no end of its headers")
        message = Message()
        for line in head.decode("utf-8", "replace").split("\r\n"):
            name, _, value = line.partition(":")
            message[name.strip()] = value.strip()
        field = message.get_param("name", header="content-disposition")
        if not isinstance(field, str):
            raise ValueError("a part of the multipart body has no name")
        filename = message.get_param("filename", header="content-disposition")
        if filename is None:
            form.append(field, content.decode("utf-8", "replace"))
        else:
            kind = message.get("content-type", "application/octet-stream")
            form.append(field, File([content], str(filename), kind))
