"""Hostile uploads: names, encodings and shadows, each answered by name and without any trace."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import pytest

from tests.support.node import LiveNode, live_node

pytestmark = [pytest.mark.isolation]

SERVE = "from workers import Response\nasync def on_fetch(r, env, ctx): return Response({})\n"
HELLO = SERVE.format("'hello'")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, jail_level: str) -> Iterator[LiveNode]:
    with live_node(tmp_path_factory.mktemp("bundles") / "state") as node:
        node.deploy("neighbour-one", HELLO)
        yield node
        assert node.request("neighbour-one").text == "hello"


NAMES = [
    "../x.py",
    "/etc/x.py",
    "a/../../x.py",
    "a//x.py",
    "a/./x.py",
    "..",
    ".",
    "",
    "a\\..\\x.py",
    "a\r\nb.py",
    "x" * 300 + ".py",
    "/".join(["d" * 50] * 100) + "/x.py",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_that_is_no_plain_path_is_refused(node: LiveNode, name: str) -> None:
    answer = node.upload(f"bundle-{NAMES.index(name)}", {"main.py": HELLO, name: "x = 1\n"})
    assert 400 <= answer.status_code < 500, answer.text
    assert node.request(f"bundle-{NAMES.index(name)}").status_code == 404


@pytest.mark.parametrize(
    "name",
    ["\uff4dain.py", "mäin.py", "𝓂.py", "\u202eyp.x.py", "con.py", " .py", "./x.py", "a\x00.py"],
)
def test_other_alphabets_are_only_names(node: LiveNode, name: str) -> None:
    answer = node.upload("bundle-alphabets", {"main.py": HELLO, name: "raise SystemExit\n"})
    if answer.status_code == 200:
        assert node.request("bundle-alphabets").text == "hello"
    else:
        assert 400 <= answer.status_code < 500, answer.text


def test_a_file_cannot_be_a_directory_too(node: LiveNode) -> None:
    answer = node.upload("bundle-both", {"main.py": HELLO, "a": "x", "a/b.py": "x = 1\n"})
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize(
    ("source", "served"),
    [
        (b"\xef\xbb\xbf" + HELLO.encode(), True),
        (b"# -*- coding: latin-1 -*-\n# \xe9\n" + HELLO.encode(), True),
        (b"# -*- coding: utf-7 -*-\n" + HELLO.encode(), False),
        (HELLO.encode("utf-16"), False),
        (b"# \xff\n" + HELLO.encode(), False),
        (HELLO.encode() + b"\0", False),
        (b"", False),
        (b"\x00" * 4096, False),
        (b"(" * 100_000, False),
        (b"x = " + b"-" * 500_000 + b"1\n", False),
        (b"x = " + b"9" * 500_000 + b"\n", False),
    ],
    ids=[
        "bom",
        "latin-1",
        "utf-7",
        "utf-16",
        "utf-8",
        "nul",
        "empty",
        "nuls",
        "deep",
        "long",
        "9s",
    ],
)
def test_sources_in_odd_encodings(node: LiveNode, source: bytes, served: bool) -> None:
    node.api.delete("/v1/scripts/bundle-source")
    answer = node.upload("bundle-source", {"main.py": source})
    if served:
        assert answer.status_code == 200, answer.text
        assert node.request("bundle-source").text == "hello"
    elif answer.status_code == 200:
        assert node.request("bundle-source").status_code in (200, 500, 503)
    else:
        assert answer.status_code == 400, answer.text


SHADOWS = ["json", "os", "asyncio", "socket", "ssl", "workers", "msgspec", "sandbox", "encodings"]


@pytest.mark.parametrize("shadowed", SHADOWS)
def test_a_module_that_shadows_ours_harms_its_own_worker_only(
    node: LiveNode, shadowed: str
) -> None:
    """Its own worker may fail; the one beside it, and its next version, do not."""
    modules: dict[str, str | bytes] = {
        "main.py": f"import {shadowed}\n{HELLO}",
        f"{shadowed}.py": "import sys\nsys.modules.clear()\nraise RuntimeError('shadow')\n",
        f"python_modules/{shadowed}/__init__.py": "raise RuntimeError('shadow')\n",
        "sitecustomize.py": "raise RuntimeError('site')\n",
        "usercustomize.py": "raise RuntimeError('site')\n",
        "python_modules/evil.pth": "import os; os._exit(3)\n",
    }
    answer = node.upload("bundle-shadow", modules)
    assert answer.status_code in (200, 400), answer.text
    assert node.request("neighbour-one").text == "hello"
    node.deploy("bundle-shadow", HELLO)
    assert node.request("bundle-shadow").text == "hello"


def test_too_many_modules_are_refused_before_they_are_kept(node: LiveNode) -> None:
    many: dict[str, str | bytes] = {f"m{number}.py": "" for number in range(10_000)}
    answer = node.upload("bundle-many", {"main.py": HELLO, **many})
    assert answer.status_code in (400, 413), answer.text
    assert node.request("bundle-many").status_code == 404


def test_as_many_modules_as_allowed_are_served(node: LiveNode) -> None:
    many: dict[str, str | bytes] = {f"d{n % 50}/m{n}.py": "" for n in range(1999)}
    answer = node.upload("bundle-full", {"main.py": HELLO, **many})
    assert answer.status_code == 200, answer.text
    assert node.request("bundle-full").text == "hello"


def test_a_bomb_in_an_archive_of_the_bundle_takes_the_tenants_own_memory(node: LiveNode) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.py", b"x = 1\n" + b"#" * (400 << 20))
    source = "import sys\nsys.path.insert(0, '/app/bomb.zip')\nimport bomb\n" + HELLO
    answer = node.upload("bundle-bomb", {"main.py": source, "bomb.zip": packed.getvalue()})
    assert answer.status_code == 400, answer.text
    assert node.request("neighbour-one").text == "hello"


ENDINGS = [
    "import os; os._exit(0)",
    "raise SystemExit(0)",
    "raise KeyboardInterrupt",
    "import threading, os; threading.Timer(0.05, os._exit, [0]).start()",
    "import sys; del sys.modules['__main__'], sys.modules[__name__]",
    "import sys; sys.modules[__name__] = None",
    "import sys; sys.setrecursionlimit(1)",
    "import sys; sys.meta_path.clear(); sys.path.clear(); sys.path_hooks.clear()",
    "import os\nfor fd in range(4): os.close(fd)",
    "import builtins; builtins.__import__ = None",
    "import gc; gc.freeze = gc.collect = None; gc.set_threshold(1)",
    "def __getattr__(name): raise SystemExit(name)",
    "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)",
    "import asyncio; asyncio.set_event_loop(None); asyncio.get_event_loop_policy = None",
]


@pytest.mark.parametrize("ending", ENDINGS, ids=range(len(ENDINGS)))
def test_what_happens_at_import_is_the_tenants_own_fault(node: LiveNode, ending: str) -> None:
    answer = node.upload("bundle-import", {"main.py": f"{HELLO}{ending}\n"})
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 200:
        assert node.request("bundle-import").status_code in (200, 500, 503)
    assert node.request("neighbour-one").text == "hello"
    node.deploy("bundle-import", HELLO)
    assert node.request("bundle-import").text == "hello"
