"""``waypost demo``: a node, four tenants' samples, a request to each, and what came back."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import httpx
import typer
from rich.text import Text

from gateway.cli.bundle import collect
from gateway.cli.demo_node import DemoNode
from gateway.cli.demo_samples import SAMPLES, SHOTS, Sample, Shot
from gateway.cli.demo_tail import Tails
from gateway.cli.output import CliError, Output
from gateway.cli.project import load_project
from gateway.cli.scripts import script_path
from gateway.cli.serve import InsecureOption
from gateway.cli.session import Session, examples, offline
from gateway.cli.text import one_line
from gateway.cli.trace import render
from gateway.cli.upload import Upload, send

_TAIL_SECONDS = 5.0
_WATCH_SECONDS = 0.5


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "demo", epilog=examples("waypost demo", "waypost demo --exit"), rich_help_panel="Node"
    )(demo)


@offline
def demo(
    session: Session,
    leave: Annotated[
        bool, typer.Option("--exit", help="End after showing instead of serving on.")
    ] = False,
    insecure_no_sandbox: InsecureOption = False,
) -> None:
    """Start a node in a temporary directory, deploy samples under three plans, show them at work.

    Serves on until Ctrl-C on a terminal. Ends with status 1 when anything was not as it should be.
    """
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _interrupt)
    try:
        with tempfile.TemporaryDirectory(
            prefix="waypost-demo-", ignore_cleanup_errors=True
        ) as made:
            with DemoNode(Path(made), insecure=insecure_no_sandbox) as node:
                wrong = _Demo(session.output, node).run(serve_on=not leave and _on_terminal())
    except KeyboardInterrupt:
        session.output.note("Stopped; everything it made is gone.")
        return
    if wrong:
        raise CliError("not everything was as it should be: " + "; ".join(wrong))


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


class _Demo:
    """One run: prints as it goes, and collects what was not as expected."""

    def __init__(self, output: Output, node: DemoNode) -> None:
        self._output = output
        self._node = node
        self._wrong: list[str] = []
        self._shown: list[dict[str, Any]] = []

    def run(self, *, serve_on: bool) -> list[str]:
        """Tell the whole story; returns what was wrong."""
        self._start()
        samples = self._deploy()
        tails = Tails(self._node.target, [sample.script for sample in samples])
        tails.start()
        self._shoot({sample.script for sample in samples}, tails)
        self._next_steps(serve_on=serve_on)
        if self._output.json_mode:
            self._output.line({"requests": self._shown, "wrong": self._wrong})
        if serve_on:
            self._watch(tails)
        return self._wrong

    def _say(self, *parts: str | tuple[str, str]) -> None:
        if not self._output.json_mode:
            self._output.out.print(Text.assemble(*parts), soft_wrap=True)

    def _start(self) -> None:
        began = time.monotonic()
        self._say(("Starting a node", "bold"), " (its data goes away with it)")
        said = self._node.wait_ready()
        level = one_line(said.get("level") or said.get("sandbox") or "")
        took = f"ready in {time.monotonic() - began:.1f} s"
        self._say(("✓ ", "green"), took, f", sandbox: {level}" if level else "")

    def _deploy(self) -> list[Sample]:
        self._say("\n", ("Deploying", "bold"))
        samples = [sample for sample in SAMPLES if sample.runnable]
        for sample in SAMPLES:
            if not sample.runnable:
                self._say(
                    ("! ", "yellow"),
                    f"left out {sample.script}, {sample.what}; {sample.requires} is missing: ",
                    ("pip install 'waypost[demo]'", "bold"),
                )
        with self._node.client() as client, resources.as_file(_samples()) as directory:
            for sample in samples:
                client.put(f"/v1/tenants/{sample.tenant}", {"plan": sample.plan})
                project = load_project(directory / sample.directory, None)
                upload = Upload(project=project, modules=collect(project))
                path = script_path("platform", "production", sample.script)
                result = send(client, path, upload, lambda sent, total: None)
                self._deployed(sample, result)
        return samples

    def _deployed(self, sample: Sample, result: dict[str, Any]) -> None:
        started = f"started in {result.get('startup_time_ms', '?')} ms"
        self._say(
            ("✓ ", "green"),
            (f"http://{sample.script}.localhost:{self._node.port}/".ljust(40), "cyan"),
            f"{sample.what:<15}plan {sample.plan:<12}",
            (one_line(started), "dim"),
        )

    def _shoot(self, deployed: set[str], tails: Tails) -> None:
        self._say("\n", ("One request to each, and what its tenant sees in the tail", "bold"))
        base = f"http://127.0.0.1:{self._node.port}"
        with httpx.Client(base_url=base, trust_env=False, timeout=60.0) as http:
            for shot in SHOTS:
                if shot.script in deployed:
                    self._fire(http, shot, tails)

    def _fire(self, http: httpx.Client, shot: Shot, tails: Tails) -> None:
        host = f"{shot.script}.localhost:{self._node.port}"
        began = time.monotonic()
        try:
            answer = http.request(
                shot.method, shot.path, headers={"host": host}, json=shot.json, data=shot.form
            )
        except httpx.HTTPError as error:
            raise CliError(f"no answer from {shot.script}: {error}") from error
        took_ms = (time.monotonic() - began) * 1000
        item = tails.find(answer.headers.get("waypost-ray", ""), _TAIL_SECONDS)
        self._show(shot, answer, took_ms, item)
        self._check(shot, answer, item)

    def _show(
        self, shot: Shot, answer: httpx.Response, took_ms: float, item: dict[str, Any] | None
    ) -> None:
        self._say("\n", (f"$ {shot.as_curl(self._node.port)}", "dim"))
        style = "green" if answer.is_success else "yellow"
        self._say(
            (f"{answer.status_code} {answer.reason_phrase}", f"bold {style}"),
            (f"  {took_ms:.1f} ms", "dim"),
        )
        for name in ("waypost-ray", "waypost-outcome", "waypost-code"):
            if name in answer.headers:
                self._say((f"{name}: ", "dim"), one_line(answer.headers[name]))
        self._say(one_line(answer.text, length=160))
        if item is not None and not self._output.json_mode:
            self._output.out.print(Text("tail │ ", style="magenta"), end="")
            self._output.out.print(_margin(render(item)), soft_wrap=True)

    def _check(self, shot: Shot, answer: httpx.Response, item: dict[str, Any] | None) -> None:
        what = f"{shot.method} {shot.script}{shot.path}"
        outcome = item.get("outcome") if item else None
        facts = (
            ("status", answer.status_code, shot.status),
            ("waypost-code", answer.headers.get("waypost-code", ""), shot.code),
            ("outcome in the tail", outcome, shot.outcome),
        )
        for name, seen, expected in facts:
            if seen != expected:
                self._wrong.append(f"{what}: {name} was {seen!r}, expected {expected!r}")
        if shot.contains not in answer.text:
            self._wrong.append(f"{what}: the body lacks {shot.contains!r}")
        if "waypost-ray" not in answer.headers:
            self._wrong.append(f"{what}: no waypost-ray header")
        self._shown.append(
            {
                "request": what,
                "status": answer.status_code,
                "outcome": outcome,
                "cpu_ms": item.get("cpuTime") if item else None,
                "ray": answer.headers.get("waypost-ray"),
                "body": answer.text[:400],
            }
        )

    def _next_steps(self, *, serve_on: bool) -> None:
        self._say("\n", ("What next", "bold"))
        if not serve_on:
            self._say("  waypost serve             a node that stays; prints the operator's token")
            self._say("  waypost login             remember the token")
            self._say("  waypost init my-worker    a project; then waypost deploy my-worker")
            return
        if find := next((s for s in SAMPLES if s.requires == "fastapi" and s.runnable), None):
            url = f"http://{find.script}.localhost:{self._node.port}/docs"
            self._say("  Open ", (url, "cyan"), " in a browser")
        target = self._node.target
        self._say("  In another terminal, act as this node's operator:")
        self._say((f"  export WAYPOST_API={target.api} WAYPOST_TOKEN={target.token}", "bold"))
        self._say("  waypost init my-worker && waypost deploy my-worker && waypost tail my-worker")
        self._say("\n", ("Serving; requests appear below. Ctrl-C stops.", "bold"))

    def _watch(self, tails: Tails) -> None:
        """Show the tail until the person, or the node, ends it."""
        try:
            while self._node.running:
                item = tails.next(_WATCH_SECONDS)
                if item is not None and not self._output.json_mode:
                    self._output.out.print(render(item), soft_wrap=True)
        except KeyboardInterrupt:
            self._output.note("\nStopping …")
            raise
        self._wrong.append("the node ended by itself")


def _margin(text: Text) -> Text:
    return Text("\ntail │ ").join(text.split("\n"))


def _samples() -> Any:
    return resources.files("gateway.cli") / "samples"
