"""Script uploads: multipart bodies as wrangler and Cloudflare's SDKs really send them.

What differs between clients, all of it accepted: the metadata is a field, a file part, or
flattened into ``metadata[…]`` fields; it comes first or last; a module's name is its part's
filename, else the part's own name; the content type may not say multipart at all.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.api.errors import BadBody, BodyTooLong
from gateway.api.unflatten import unflatten
from gateway.model.script import Module

METADATA: Final = "metadata"
MAX_METADATA: Final = 1 << 20
"""Longest metadata, bytes."""
MAX_FIELDS: Final = 2000
"""Parts that are not modules."""
MAX_PART_HEADERS: Final = 8192
_FIRST_LINE: Final = 4096
_FILES: Final = re.compile(r"files\[(.+)\]")
_DOTTED: Final = re.compile(r"\[[^\[\]]*\]|\.([^.\[\]]+)")
_SNIFF: Final = re.compile(
    rb"--([^\r\n]{1,200})\r\ncontent-disposition:\s*form-data", re.IGNORECASE
)


@dataclass(slots=True)
class Form:
    """A parsed upload."""

    metadata: bytes | dict[str, Any] | None = None
    """JSON text, or the tree of flattened fields."""
    modules: list[Module] = field(default_factory=list)


@dataclass(slots=True)
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    filename: str | None = None
    content: bytearray = field(default_factory=bytearray)
    header_bytes: int = 0

    @property
    def is_untyped(self) -> bool:
        """Whether nothing is said of its content, as of plain fields."""
        return b"content-type" not in self.headers


async def parse_upload(
    content_type: str, body: AsyncIterator[bytes], *, max_modules: int, flat_key: str = METADATA
) -> Form:
    """Read a multipart upload. Raises BadBody or BodyTooLong.

    The total length is the caller's to cap, in ``body``.
    """
    head = b""
    async for chunk in body:
        head += chunk
        if len(head) >= _FIRST_LINE:
            break
    reader = _Reader(max_modules, flat_key)
    try:
        parser = MultipartParser(_boundary(content_type, head), reader.callbacks())
        parser.write(head)
        async for chunk in body:
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise BadBody(f"the multipart body cannot be read: {error}", fix="send it whole") from None
    return reader.form()


def _boundary(content_type: str, head: bytes) -> bytes:
    kind, options = parse_options_header(content_type)
    if kind.startswith(b"multipart/") and options.get(b"boundary"):
        return options[b"boundary"]
    sniffed = _SNIFF.match(head)
    if sniffed is None:
        raise BadBody(
            "the body is not multipart/form-data",
            fix="send a part named metadata and one part for each module",
        )
    return sniffed[1].rstrip(b" \t")


class _Reader:
    """Collects the parts that the parser announces."""

    def __init__(self, max_modules: int, flat_key: str) -> None:
        self._max_modules = max_modules
        self._flat_key = flat_key
        self._part = _Part()
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._form = Form()
        self._fields: list[tuple[str, str]] = []
        self._metadata_bytes = 0
        self._ended = False

    def callbacks(self) -> Any:
        """The functions that the parser calls."""
        return {
            "on_part_begin": self._on_part_begin,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_end": self._on_end,
        }

    def form(self) -> Form:
        """What was read. Raises BadBody when the body broke off."""
        if not self._ended:
            raise BadBody("the multipart body breaks off before its end", fix="send it whole")
        if self._form.metadata is None and self._fields:
            tree = unflatten(self._fields).get(self._flat_key)
            if isinstance(tree, Mapping):
                self._form.metadata = dict(tree)
        return self._form

    def _on_part_begin(self) -> None:
        self._part = _Part()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]
        self._count_header(end - start)

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]
        self._count_header(end - start)

    def _count_header(self, size: int) -> None:
        self._part.header_bytes += size
        if self._part.header_bytes > MAX_PART_HEADERS:
            raise BodyTooLong(f"the headers of a part are longer than {MAX_PART_HEADERS} bytes")

    def _on_header_end(self) -> None:
        self._part.headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _on_headers_finished(self) -> None:
        part = self._part
        _, options = parse_options_header(part.headers.get(b"content-disposition", b""))
        part.name = _decode_name(options.get(b"name", b""))
        filename = options.get(b"filename")
        part.filename = None if filename is None else _decode_name(filename)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        if self._is_metadata(part):
            self._metadata_bytes += end - start
            if self._metadata_bytes > MAX_METADATA:
                raise BodyTooLong(f"the metadata is longer than {MAX_METADATA} bytes")
        part.content += data[start:end]

    def _on_part_end(self) -> None:
        part = self._part
        if part.name == self._flat_key:
            self._form.metadata = bytes(part.content)
        elif self._is_metadata(part):
            if len(self._fields) >= MAX_FIELDS:
                raise BodyTooLong(f"more than {MAX_FIELDS} fields")
            name = _bracketed(part.name)
            self._fields.append((name, part.content.decode("utf-8", "replace")))
        else:
            self._add_module(part)

    def _add_module(self, part: _Part) -> None:
        if len(self._form.modules) >= self._max_modules:
            raise BodyTooLong(f"more than {self._max_modules} modules", fix="upload fewer files")
        name = _module_name(part)
        if not name:
            raise BadBody("a part has neither a name nor a filename", fix="name every module")
        media_type = part.headers.get(b"content-type", b"").decode("latin-1")
        self._form.modules.append(Module(name, media_type, bytes(part.content)))

    def _is_metadata(self, part: _Part) -> bool:
        key = self._flat_key
        if part.name == key or part.name.startswith(f"{key}["):
            return True
        # a file may be called metadata.py
        return part.filename is None and part.name.startswith(f"{key}.") and part.is_untyped

    def _on_end(self) -> None:
        self._ended = True


def _bracketed(name: str) -> str:
    """``settings.a[].b`` as ``settings[a][][b]``: one SDK writes dots."""
    return _DOTTED.sub(lambda step: f"[{step[1]}]" if step[1] else step[0], name)


def _module_name(part: _Part) -> str:
    """The file's name; one SDK sends its last step only, and the whole as ``files[NAME]``."""
    filename = part.filename or part.name
    named = _FILES.fullmatch(part.name)
    if named is not None and named[1].endswith(f"/{filename}"):
        return named[1]
    return filename


def _decode_name(raw: bytes) -> str:
    """A part's name: UTF-8, with the three escapes that browsers and undici write."""
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BadBody("the name of a part is not UTF-8", fix="encode names as UTF-8") from None
    return name.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")
