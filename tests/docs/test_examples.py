"""The example files do what they say: nodes start under them with every barrier."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.settings import load_config
from sandbox import ladder
from sandbox.jail.seccomp_policy import POLICY
from sandbox.jail.syscall_numbers import NUMBERS

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
CONFINED = Path(__file__).with_name("confined.py")
KNOWN = set(NUMBERS["x86_64"]) | set(NUMBERS["aarch64"])
BUILDS_THE_JAIL = {
    "mount", "umount2", "pivot_root", "unshare", "setns", "sethostname", "keyctl", "seccomp",
    "capset",
}  # fmt: skip
BREAKS_THE_JAIL = {
    "restrictnamespaces", "protecthostname", "protectproc", "procsubset", "privateusers",
    "protectcontrolgroups", "systemcallfilter",
}  # fmt: skip


def unit() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(delimiters=("=",), comment_prefixes=("#",))
    parser.read(EXAMPLES / "waypost.service")
    return parser


def profile() -> Any:
    return json.loads((EXAMPLES / "seccomp-oci.json").read_text())


def names(action: str) -> set[str]:
    groups = [group for group in profile()["syscalls"] if group["action"] == action]
    return {name for group in groups for name in group["names"]}


def pod(name: str = "kubernetes.yaml") -> Any:
    document = yaml.safe_load((EXAMPLES / name).read_text())
    return document["spec"]["template"]["spec"]


def test_the_unit_delegates_and_takes_no_barrier_away() -> None:
    service = unit()["Service"]
    assert service["Delegate"] == "yes"
    assert service["User"] not in ("", "root")
    assert not BREAKS_THE_JAIL & set(service)
    assert "waypost serve" in service["ExecStart"]


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    text = (EXAMPLES / "waypost.service").read_text()
    # It checks that the program exists, which on this machine lies elsewhere.
    (tmp_path / "waypost.service").write_text(text.replace("/opt/waypost/bin/waypost", "/bin/true"))
    done = subprocess.run(
        [program, "verify", "--man=no", str(tmp_path / "waypost.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_oci_profile_names_system_calls_once() -> None:
    listed = [name for group in profile()["syscalls"] for name in group["names"]]
    assert set(listed) <= KNOWN
    assert len(listed) == len(set(listed))
    assert profile()["defaultAction"] == "SCMP_ACT_ERRNO"


def test_the_oci_profile_allows_what_instances_may_and_little_else_that_is_dangerous() -> None:
    allowed = names("SCMP_ACT_ALLOW")
    for group in POLICY.allow:
        assert set(group.names.split()) <= allowed, group.reason
    dangerous = {name for group in POLICY.kill for name in group.names.split()}
    ids = {name for name in dangerous if name.startswith("set") and name.endswith(("id", "groups"))}
    assert dangerous & allowed <= BUILDS_THE_JAIL | ids | {"setfsuid", "setfsgid"}


def test_the_pod_gives_no_privilege_and_takes_no_barrier_away() -> None:
    spec = pod()
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"]["type"] == "Localhost"
    assert spec["securityContext"]["appArmorProfile"]["type"] == "Unconfined"
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    # The control API is not for the cluster's network.
    assert [port["containerPort"] for port in container["ports"]] == [8787]


def test_the_restricted_pod_is_what_its_profile_admits_and_asks_for_less() -> None:
    """The rest of it is tests/isolation/test_hosts.py: nodes start, and hold, on such hosts."""
    spec = pod("kubernetes-restricted.yaml")
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "appArmorProfile" not in spec["securityContext"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert load_config(None, environment, {}).sandbox.minimum_level == ladder.LANDLOCK


@pytest.mark.isolation
@pytest.mark.parametrize("way", ["oci", "systemd"])
def test_a_node_so_confined_has_every_barrier(jail_level: str, way: str) -> None:
    if os.geteuid():
        pytest.skip("only root can confine a process in this way")
    if jail_level != ladder.FULL:
        pytest.skip(f"this host offers {jail_level} only")
    allowed = sorted(names("SCMP_ACT_ALLOW")) if way == "oci" else []
    done = subprocess.run(
        [sys.executable, str(CONFINED), way],
        input=json.dumps(allowed),
        capture_output=True,
        text=True,
        check=False,
        cwd=CONFINED.parents[2],
        env={"PYTHONPATH": str(CONFINED.parents[2])},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"level": ladder.FULL, "uid": 10001, "threads": True}
