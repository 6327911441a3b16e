"""Uploads in every form that real clients send."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.errors import BadBody, BodyTooLong
from gateway.api.multipart import Form, parse_upload
from gateway.api.unflatten import unflatten

pytestmark = pytest.mark.anyio

BOUNDARY = "----formdata-undici-0123"


def part(disposition: str, content: str, content_type: str = "") -> str:
    kind = f"\r\nContent-Type: {content_type}" if content_type else ""
    return (
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}{kind}\r\n\r\n{content}\r\n"
    )


def body(*parts: str) -> bytes:
    return ("".join(parts) + f"--{BOUNDARY}--\r\n").encode()


async def chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def parse(
    data: bytes, content_type: str = f"multipart/form-data; boundary={BOUNDARY}", size: int = 65536
) -> Form:
    return await parse_upload(content_type, chunks(data, size), max_modules=5)


METADATA = part('name="metadata"', '{"main_module":"a.py"}')
MODULE = part('name="a.py"; filename="a.py"', "x = 1", "text/x-python")


@pytest.mark.parametrize("size", [1, 7, 65536])
async def test_wrangler(size: int) -> None:
    form = await parse(body(METADATA, MODULE), size=size)
    assert form.metadata == b'{"main_module":"a.py"}'
    assert [(module.name, module.content_type, module.content) for module in form.modules] == [
        ("a.py", "text/x-python", b"x = 1")
    ]


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('name="0"; filename="pkg/a.py"', "pkg/a.py"),
        ('name="files"; filename="a.py"', "a.py"),
        ('name="files[]"; filename="a.py"', "a.py"),
        ('name="files[pkg/a.py]"; filename="a.py"', "pkg/a.py"),
        ('name="files[pkg/b.py]"; filename="a.py"', "a.py"),
        ('name="files[pkga.py]"; filename="a.py"', "a.py"),
        ('name="a.py"', "a.py"),
        ('name="x"; filename="./e2-ü note.txt"', "./e2-ü note.txt"),
        ('name="x"; filename="a%22b%0D%0A%41.py"', 'a"b\r\n%41.py'),
    ],
)
async def test_module_names(disposition: str, name: str) -> None:
    form = await parse(body(METADATA, part(disposition, "")))
    assert [module.name for module in form.modules] == [name]


async def test_metadata_as_a_file_and_last() -> None:
    metadata = part('name="metadata"; filename="metadata"', "{}", "application/json")
    form = await parse(body(MODULE, metadata))
    assert form.metadata == b"{}"
    assert len(form.modules) == 1


async def test_flattened_metadata_below_a_wrong_content_type() -> None:
    fields = [
        part('name="metadata[main_module]"', "a.py"),
        part('name="metadata[tags][]"', "one"),
        part('name="metadata[tags][]"', "two"),
        part('name="metadata[bindings][][name]"', "A"),
        part('name="metadata[bindings][][type]"', "plain_text"),
        part('name="metadata[bindings][][name]"', "B"),
        part('name="metadata[limits][cpu_ms]"', "5"),
    ]
    form = await parse(body(*fields, MODULE), "application/javascript", size=3)
    assert form.metadata == {
        "main_module": "a.py",
        "tags": ["one", "two"],
        "bindings": [{"name": "A", "type": "plain_text"}, {"name": "B"}],
        "limits": {"cpu_ms": "5"},
    }
    assert [module.name for module in form.modules] == ["a.py"]


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"x = 1", "text/x-python"),
        (b"", "multipart/form-data"),
        (b"", f"multipart/form-data; boundary={BOUNDARY}"),
        (body(METADATA, MODULE)[:-30], f"multipart/form-data; boundary={BOUNDARY}"),
        (b"nonsense", f"multipart/form-data; boundary={BOUNDARY}"),
        (body(METADATA), "multipart/form-data; boundary=" + "b" * 500),
        (body(part('name=""', "")), f"multipart/form-data; boundary={BOUNDARY}"),
    ],
)
async def test_what_cannot_be_read_says_so(data: bytes, content_type: str) -> None:
    with pytest.raises(BadBody):
        await parse(data, content_type)


async def test_a_name_that_is_not_utf8() -> None:
    data = body(part('name="x"; filename="QQ"', "")).replace(b"QQ", b"\xff\xfe")
    with pytest.raises(BadBody, match="UTF-8"):
        await parse(data)


@pytest.mark.parametrize(
    "data",
    [
        body(*[part(f'name="m{number}.py"', "") for number in range(6)]),
        body(part('name="metadata"', "x" * ((1 << 20) + 1))),
        body(
            part('name="metadata[a]"', "x" * (1 << 19)), part('name="metadata[b]"', "x" * (1 << 20))
        ),
        body(*[part(f'name="metadata[k{number}]"', "") for number in range(2001)]),
    ],
)
async def test_caps(data: bytes) -> None:
    with pytest.raises(BodyTooLong):
        await parse(data)


async def test_endless_part_headers() -> None:
    data = f"--{BOUNDARY}\r\nX: ".encode() + b"a" * 100_000
    with pytest.raises((BodyTooLong, BadBody)):
        await parse(data)


@given(st.binary(max_size=400))
async def test_any_bytes_give_a_form_or_a_plain_refusal(data: bytes) -> None:
    hostile = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=".encode() + data
    try:
        await parse(hostile, size=50)
    except (BadBody, BodyTooLong):
        pass


@pytest.mark.parametrize(
    "fields",
    [
        [("a", "1"), ("a", "2")],
        [("a", "1"), ("a[b]", "2")],
        [("a[]", "1"), ("a[b]", "2")],
        [("[a]", "1")],
        [("a[b", "1")],
        [("a" + "[b]" * 50, "1")],
    ],
)
async def test_fields_that_clash(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(BadBody):
        unflatten(fields)


async def test_arrays_in_arrays() -> None:
    fields = [
        ("a[][t][]", "1"),
        ("a[][t][]", "2"),
        ("a[][n]", "x"),
        ("a[][n]", "y"),
        ("b[][]", "z"),
    ]
    assert unflatten(fields) == {"a": [{"t": ["1", "2"], "n": "x"}, {"n": "y"}], "b": [["z"]]}


async def test_a_module_may_be_called_like_the_metadata() -> None:
    module = part('name="metadata.py"; filename="metadata.py"', "x = 1", "text/x-python")
    form = await parse(body(METADATA, module))
    assert form.metadata == b'{"main_module":"a.py"}'
    assert [item.name for item in form.modules] == ["metadata.py"]


async def test_dots_in_place_of_brackets() -> None:
    fields = {"metadata.main_module": "a.py", "metadata.bindings[].json.a[]": "1"}
    form = await parse(body(*(part(f'name="{name}"', text) for name, text in fields.items())))
    assert form.metadata == {"main_module": "a.py", "bindings": [{"json": {"a": ["1"]}}]}
