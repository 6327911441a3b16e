"""What the code can do and what the documentation says: neither may run away from the other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import typer
import typer.main
import yaml

import gateway.accounts.errors
import gateway.api.errors
import gateway.catalog.errors
from gateway.cli.main import app
from gateway.config import DEFAULT_PLANS, Config
from gateway.errors import ControlError, LimitExceeded, Refusal
from gateway.model.plan import Limits
from gateway.settings import load_config
from gateway.telemetry.metrics import DEFINITIONS
from sandbox import Outcome

ROOT = Path(__file__).parents[2]
DOCS = {path.name: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
PAGES = {path: path.read_text() for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]}


def settings(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every setting as its dotted name and its last part."""
    for field in msgspec.structs.fields(struct):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from settings(field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field.name


def refusals(kind: type[Refusal]) -> Iterator[type[Refusal]]:
    """The gateway's refusals, leaving out the root."""
    for child in kind.__subclasses__():
        if child.__module__ == "gateway.errors":
            yield child
        yield from refusals(child)


def commands() -> Iterator[str]:
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        yield from (f"waypost {name} {leaf}" for leaf in inner) if inner else (f"waypost {name}",)


@pytest.mark.parametrize("name", [name for name, _ in settings(Config)])
def test_every_setting_is_in_the_reference(name: str) -> None:
    assert f"`{name}`" in DOCS["operate.md"]


@pytest.mark.parametrize("name", Limits.__struct_fields__)
def test_every_limit_is_in_the_reference_with_its_figures(name: str) -> None:
    figures = [getattr(DEFAULT_PLANS[plan], name) for plan in ("free", "pro", "enterprise")]
    row = "| `" + name + "` | " + " | ".join(map(str, figures)) + " |"
    assert row in DOCS["operate.md"]


def test_routing_yaml_as_shipped_changes_nothing() -> None:
    assert load_config(ROOT / "routing.yaml", {}, {}) == Config()


def test_routing_yaml_holds_every_setting() -> None:
    document = yaml.safe_load((ROOT / "routing.yaml").read_text())
    for dotted, _ in settings(Config):
        value = document
        for key in dotted.split("."):
            assert key in value, dotted
            value = value[key]
    for plan in document["plans"].values():
        assert set(plan) == set(Limits.__struct_fields__)


REFUSALS = {Refusal.code, *(kind.code for kind in refusals(Refusal))}


@pytest.mark.parametrize("code", sorted(REFUSALS))
def test_every_error_code_has_a_heading(code: str) -> None:
    assert f"\n## {code}\n" in DOCS["errors.md"]


@pytest.mark.parametrize("kind", list(refusals(Refusal)))
def test_the_table_of_errors_says_what_the_code_says(kind: type[Refusal]) -> None:
    if kind is LimitExceeded:
        return  # Never raised itself; its kinds have outcomes of their own.
    (row,) = [
        line for line in DOCS["errors.md"].splitlines() if line.startswith(f"| [`{kind.code}`]")
    ]
    _, _, status, outcomes, fault, _ = (cell.strip() for cell in row.split("|"))
    assert (status, fault) == (str(kind.status), kind.fault)
    assert f"`{kind.outcome}`" in outcomes


def test_no_heading_names_a_code_that_is_gone() -> None:
    assert set(re.findall(r"^## (\S+)$", DOCS["errors.md"], re.MULTILINE)) == REFUSALS


CONTROL_ERRORS = sorted(
    {
        (kind.word, kind.code, kind.status)
        for module in (gateway.accounts.errors, gateway.api.errors, gateway.catalog.errors)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, ControlError) and kind is not ControlError
    }
)


@pytest.mark.parametrize(("word", "code", "status"), CONTROL_ERRORS)
def test_every_error_of_the_control_api_is_in_its_table(word: str, code: int, status: int) -> None:
    rows = [line for line in DOCS["api.md"].splitlines() if f"`{word}`" in line.split(" | ")[0]]
    assert any(f"| {code} | {status} |" in row for row in rows), rows


@pytest.mark.parametrize("command", list(commands()))
def test_every_command_is_documented(command: str) -> None:
    assert f"`{command}`" in DOCS["operate.md"]


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_is_explained(outcome: Outcome) -> None:
    rows = [line for line in DOCS["operate.md"].splitlines() if line.startswith("| `")]
    assert any(f"`{outcome}`" in row.split(" | ")[0] for row in rows)


@pytest.mark.parametrize("name", [definition.name for definition in DEFINITIONS])
def test_every_metric_is_listed(name: str) -> None:
    assert f"`{name}`" in DOCS["operate.md"]


def test_no_metric_is_listed_that_is_gone() -> None:
    listed = set(re.findall(r"^\| .*", DOCS["operate.md"], re.MULTILINE))
    named = {name for row in listed for name in re.findall(r"`(waypost_\w+)`", row)}
    assert named == {definition.name for definition in DEFINITIONS}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]+)?\)", PAGES[path]):
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}
            assert anchor[1:] in slugs, anchor


def test_the_readme_has_its_two_lines() -> None:
    blocks = re.findall(r"```sh\n(.+?)\n```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks[0].endswith(".venv/bin/waypost demo")
    assert blocks[1].endswith(".venv/bin/pytest")
    assert "\n" not in blocks[0] + blocks[1]
