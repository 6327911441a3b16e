"""The files of a bundle."""

from __future__ import annotations

import pytest

from gateway.catalog.errors import BadUpload, NoJavaScript, UploadTooLarge
from gateway.catalog.modules import canonical_name, check_modules, find_main, media_type
from gateway.config import Upload
from gateway.model.script import Module

LIMITS = Upload(max_mb=1, max_modules=3)


def module(name: str, content: bytes = b"", kind: str = "text/x-python") -> Module:
    return Module(name, kind, content)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../a.py",
        "a/../../b.py",
        "a//b.py",
        "a/./b.py",
        "a/",
        "a\\b.py",
        "a\0.py",
        "a\r\nX: y.py",
        "a" * 256,
        "\ud800.py",
        ".",
        "././a.py",
    ],
)
def test_unsafe_names(name: str) -> None:
    with pytest.raises(BadUpload):
        canonical_name(name)


def test_names_are_canonical() -> None:
    assert canonical_name("./pkg/ä b.py") == "pkg/ä b.py"
    names = [item.name for item in check_modules([module("./a.py"), module("b/c.py")], LIMITS)]
    assert names == ["a.py", "b/c.py"]


@pytest.mark.parametrize(
    "names", [["a.py", "./a.py"], ["a", "a/b.py"], ["a/b", "a/b/c/d.py"], ["a/b/c.py", "a"]]
)
def test_clashing_names(names: list[str]) -> None:
    with pytest.raises(BadUpload):
        check_modules([module(name) for name in names], LIMITS)


def test_size_and_count() -> None:
    check_modules([module("a", b"x" * (1 << 20))], LIMITS)
    with pytest.raises(UploadTooLarge):
        check_modules([module("a", b"x" * (1 << 20)), module("b", b"x")], LIMITS)
    with pytest.raises(UploadTooLarge):
        check_modules([module(str(number)) for number in range(4)], LIMITS)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("text/x-python; charset=utf-8", "text/x-python"),
        ("Application/JavaScript+Module", "application/javascript+module"),
        ("", "application/octet-stream"),
        ("text/html\r\nX: y", "application/octet-stream"),
        ("<script>", "application/octet-stream"),
    ],
)
def test_media_types(given: str, stored: str) -> None:
    assert media_type(given) == stored


def test_main_module() -> None:
    modules = [
        module("entry.py", kind="application/octet-stream"),
        module("a.txt"),
        module("index.mjs", kind="application/octet-stream"),
        module("worker", kind="application/javascript+module"),
    ]
    assert find_main(modules, "./entry.py") is modules[0]
    for name, error in [
        ("none.py", BadUpload),
        ("a.txt", BadUpload),
        ("index.mjs", NoJavaScript),
        ("worker", NoJavaScript),
    ]:
        with pytest.raises(error):
            find_main(modules, name)
    for stored in modules[2:]:
        assert find_main(modules, stored.name, javascript=True) is stored
