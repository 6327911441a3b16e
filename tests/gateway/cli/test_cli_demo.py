from __future__ import annotations

import socket
from importlib import resources
from pathlib import Path

import pytest

from gateway.cli import demo_samples
from gateway.cli.bundle import collect
from gateway.cli.demo_node import DemoNode, free_port
from gateway.cli.demo_samples import SAMPLES, SHOTS, Sample, Shot
from gateway.cli.output import CliError
from gateway.cli.project import load_project


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.script)
def test_every_sample_is_a_project_of_the_name_it_is_deployed_under(sample: Sample) -> None:
    with resources.as_file(resources.files("gateway.cli") / "samples") as samples:
        project = load_project(samples / sample.directory, None)
        names = [module.name for module in collect(project)]
    assert project.name == sample.script
    assert project.name == sample.tenant or project.name.startswith(sample.tenant + "-")
    assert names[0] == "entry.py"
    assert project.ignored == ()


def test_the_samples_are_four_under_three_plans_and_each_is_asked() -> None:
    assert len(SAMPLES) == 4
    assert len({sample.plan for sample in SAMPLES}) == 3
    assert {shot.script for shot in SHOTS} == {sample.script for sample in SAMPLES}


def test_a_sample_whose_framework_is_missing_is_not_runnable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo_samples, "find_spec", lambda name: None)
    assert [sample.script for sample in SAMPLES if sample.runnable] == ["hello", "burner"]


def test_requests_are_shown_as_commands() -> None:
    shot = Shot(script="a", path="/x", json={"n": 1})
    assert (
        shot.as_curl(80)
        == """curl -H 'Host: a.localhost' --json '{"n":1}' 'http://127.0.0.1:80/x'"""
    )


def test_a_busy_port_is_avoided() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        taken = busy.getsockname()[1]
        assert free_port(taken) != taken
    assert free_port(taken, avoid=taken) != taken


def test_a_node_that_cannot_start_is_told_with_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho the barrier is missing >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr("gateway.cli.demo_node.sys.executable", str(broken))
    with DemoNode(tmp_path, insecure=False) as node:
        with pytest.raises(CliError, match="the barrier is missing"):
            node.wait_ready()
        assert not node.running
