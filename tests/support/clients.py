"""Cloudflare's own clients, as tests drive them: ``tests/e2e/clients/install.sh`` installs them."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def run(
    command: list[str], environment: dict[str, str], *, cwd: Path | None = None, stdin: str = ""
) -> str:
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd,
        input=stdin,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


ENTRY = """
from workers import Response, WorkerEntrypoint
from lib.words import WORD
import vendored

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response.json({
            "word": WORD,
            "vendored": vendored.NAME,
            "greeting": self.env.GREETING,
            "answer": self.env.ANSWER,
            "secret": getattr(self.env, "SECRET", None),
            "other": getattr(self.env, "OTHER", None),
        })
"""


class Tailing:
    """A ``wrangler tail`` that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self._process = process
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            with self._news:
                self.lines.append(line)
                self._news.notify_all()

    def wait_for(self, text: str) -> None:
        with self._news:
            said = self._news.wait_for(lambda: any(text in line for line in self.lines), 30)
        assert said, (text, self.lines)

    def close(self) -> None:
        self._thread.join()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Wrangler:
    """A project of a tenant's, and the command line in it."""

    def __init__(self, folder: Path, clients: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self._environment = environment
        self._command = [str(clients / "bin/node"), str(clients / "node_modules/.bin/wrangler")]
        self.write("lib/__init__.py", "")
        self.write("python_modules/vendored/__init__.py", 'NAME = "vendored"\n')
        self.write("entry.py", ENTRY)
        self.word("one")

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def word(self, word: str) -> None:
        self.write("lib/words.py", f'WORD = "{word}"\n')

    def configure(self, name: str, **more: Any) -> None:
        config = {
            "name": name,
            "main": "entry.py",
            "compatibility_date": "2026-01-01",
            "compatibility_flags": ["python_workers"],
            "workers_dev": False,
            "vars": {"GREETING": "hello", "ANSWER": 42},
            **more,
        }
        self.write("wrangler.jsonc", json.dumps(config))

    def __call__(self, *arguments: str, stdin: str = "", token: str | None = None) -> str:
        return run([*self._command, *arguments], self._with(token), stdin=stdin, cwd=self.folder)

    def fails(self, *arguments: str, token: str | None = None) -> str:
        """What it says when it cannot do that."""
        done = subprocess.run(
            [*self._command, *arguments],
            env=self._with(token),
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.folder,
            check=False,
            input="",
        )
        assert done.returncode == 1, done.stdout + done.stderr
        assert "malformed response" not in done.stderr
        return done.stdout + done.stderr

    @contextmanager
    def tail(self, *arguments: str) -> Iterator[Tailing]:
        """What ``wrangler tail`` prints while it runs."""
        process = subprocess.Popen(
            [*self._command, "tail", *arguments],
            env=self._environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        tailing = Tailing(process)
        try:
            yield tailing
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0, tailing.lines
        finally:
            process.kill()
            process.wait()
            tailing.close()

    def secrets(self) -> list[str]:
        return [item["name"] for item in json.loads(self("secret", "list"))]

    def _with(self, token: str | None) -> dict[str, str]:
        changed = {"CLOUDFLARE_API_TOKEN": token} if token else {}
        return {**self._environment, **changed}
