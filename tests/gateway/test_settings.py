"""The configuration: what is read from where, and what is said when it is wrong."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Config
from gateway.errors import ConfigError
from gateway.settings import load_config


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "routing.yaml"


def load(file: Path, text: str) -> Config:
    file.write_text(text, encoding="utf-8")
    return load_config(None, {}, {})


def message(file: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file, text)
    return str(caught.value)


def test_without_a_file_the_defaults_work(file: Path) -> None:
    assert load_config(None, {}, {}) == Config()


def test_an_empty_file_and_empty_sections_are_defaults(file: Path) -> None:
    assert load(file, "# nothing\n") == Config()
    assert load(file, "runtime:\n  # packages: []\nlisten:\n") == Config()


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read"):
        load_config(tmp_path / "absent.yaml", {}, {})


def test_what_is_written_is_read(file: Path) -> None:
    config = load(
        file,
        """\
listen: {host: "::", port: 80}
queue_seconds: 2
default_plan: big
plans:
  big: {cpu_ms: 100, subrequests: 0}
routing:
  base_domain: Apps.Bücher.example
  trusted_proxies: [10.0.0.0/8, "::1"]
""",
    )
    assert (config.listen.host, config.listen.port, config.queue_seconds) == ("::", 80, 2.0)
    assert list(config.plans) == ["big"]
    assert config.plan(None).limits.cpu_ms == 100
    assert config.routing.base_domain == "apps.xn--bcher-kva.example"
    assert config.routing.trusted_proxies == ("10.0.0.0/8", "::1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "plans:\n  free:\n    cpu_mz: 1\n",
            "3: unknown key 'cpu_mz' in plans.free; did you mean 'cpu_ms'?",
        ),
        ("\nlissen: {}\n", "2: unknown key 'lissen'; did you mean 'listen'?"),
        ("sandbox: {zzz: 1}", "1: unknown key 'zzz' in sandbox; known: minimum_level, cgroups"),
        ("listen:\n  port: '80'\n", "2: listen.port: expected whole number, got '80'"),
        ("listen:\n  port: yes\n", "2: listen.port: expected whole number, got True"),
        ("listen:\n  port: [1]\n", "2: listen.port: expected one whole number"),
        ("listen:\n  host: 2026-01-01\n", "2: listen.host: expected text"),
        ("listen:\n  port:\n", "2: listen.port: expected whole number, got None"),
        ("listen: 80", "1: listen: expected a mapping"),
        ("- listen", "1: expected a mapping"),
        ("listen:\n  port: 1\n  port: 2\n", "3: listen: key 'port' repeats routing.yaml:2"),
        ("plans:\n  1: {}\n", "2: plans: key 1 is not text; put it in quotes"),
        ("egress:\n  allow: 10.0.0.0/8\n", "2: egress.allow: expected a list"),
        ("egress:\n  allow:\n  - 10.0.0.0/8\n  - 10.0.0.1/8\n", "4: egress.allow.1: not a network"),
        ("routing:\n  trusted_proxies: [proxy]\n", "2: routing.trusted_proxies.0: not a network"),
        ("listen:\n  port: 65536\n", "2: listen.port: 65536 is no port"),
        ("listen:\n  host: ''\n", "2: listen.host: must not be empty"),
        ("listen:\n  port: 9\napi:\n  port: 9\n", "4: api.port: the control API must not share"),
        ("plans: {}", "1: plans: must name at least one plan"),
        ("plans:\n", "1: plans: expected a mapping"),
        ("plans:\n  pro: {}\n", "1: default_plan: 'free' is not one of the plans: pro"),
        ("default_plan: gold\n", "1: default_plan: 'gold' is not one of the plans"),
        (
            "plans:\n  free:\n    wall_ms: -1\n",
            "3: plans.free.wall_ms: -1 is out of range; use at least 1",
        ),
        ("plans:\n  free:\n    subrequests: -1\n", "3: plans.free.subrequests: -1 is out of range"),
        ("plans:\n  free: {}\n  Pro Max: {}\n", "3: plans.Pro Max: a plan's name"),
        ("server:\n  processes: 0\n", "2: server.processes: 0 is out of range; use 1 to 64"),
        ("server:\n  processes: 65\n", "2: server.processes: 65 is out of range; use 1 to 64"),
        ("queue_seconds: .inf\n", "1: queue_seconds: inf is out of range"),
        ("queue_seconds: .nan\n", "1: queue_seconds: nan is out of range"),
        ("egress:\n  timeout_seconds: 0\n", "2: egress.timeout_seconds: 0.0 is out of range"),
        (
            "sandbox:\n  minimum_level: none\n",
            "2: sandbox.minimum_level: use one of: full, namespaces, landlock",
        ),
        ("routing:\n  base_domain: a_b\n", "2: routing.base_domain: 'a_b': host: not a host name"),
        (
            "routing:\n  base_domain: a.example:80\n",
            "2: routing.base_domain: 'a.example:80': give a host name without port",
        ),
        ("routing:\n  tenant_header: 'X Tenant'\n", "2: routing.tenant_header: a header name"),
        (
            "http:\n  proxy_protocol: true\n",
            "2: http.proxy_protocol: needs routing.trusted_proxies",
        ),
        ("http:\n  proxy_protocol: v2\n", "2: http.proxy_protocol: expected true or false"),
        ("access_log:\n  path: ../x\n", "2: access_log.path: must lie below"),
        ("data_dir: ''\n", "1: data_dir: must not be empty"),
        ("default_namespace: a/b\n", "1: default_namespace: a namespace is"),
        ("listen:\n\tport: 1\n", "2: not YAML: "),
        ("listen: !!python/object/apply:os.system [id]\n", "1: listen: expected a mapping"),
        ("data_dir: !!python/name:os.system x\n", "1: data_dir: "),
        ("a: 1\n---\nb: 1\n", "2: not YAML: "),
    ],
)
def test_every_mistake_is_named_with_its_line(file: Path, text: str, said: str) -> None:
    assert message(file, text).startswith(f"routing.yaml:{said}")


def test_more_processes_than_instances_are_no_mistake(file: Path) -> None:
    file.write_text("server: {processes: 8}\n")
    assert load_config(None, {}, {}).server.processes == 8


def test_bytes_that_are_no_text(file: Path) -> None:
    file.write_bytes(b"data_dir: \xff\n")
    with pytest.raises(ConfigError, match=r"routing.yaml: not UTF-8 text \(byte 10\)"):
        load_config(None, {}, {})


def test_environment_over_file_and_options_over_both(file: Path) -> None:
    file.write_text("listen: {port: 1}\ndata_dir: from-file\nqueue_seconds: 7\n")
    config = load_config(
        None,
        {
            "WAYPOST_LISTEN__PORT": "2",
            "WAYPOST_DATA_DIR": "from-env",
            "WAYPOST_EGRESS__ALLOW_PRIVATE": "true",
            "WAYPOST_EGRESS__ALLOW": "10.0.0.0/8, ::1",
            "WAYPOST_PLANS__FREE__CPU_MS": "33",
            "PATH": "/bin",
        },
        {"listen.port": 3, "data_dir": None, "access_log.path": Path("a.log")},
    )
    assert config.listen.port == 3
    assert config.data_dir == "from-env"
    assert config.queue_seconds == 7.0
    assert config.egress.allow_private
    assert config.egress.allow == ("10.0.0.0/8", "::1")
    assert config.plans["free"].cpu_ms == 33
    assert config.plans["free"].concurrency == 20
    assert config.access_log.path == "a.log"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("WAYPOST_LISTEN__PORT", "http", "WAYPOST_LISTEN__PORT: expected whole number, got 'http'"),
        ("WAYPOST_LISTEN__PORT", "70000", "WAYPOST_LISTEN__PORT: listen.port: 70000 is no port"),
        ("WAYPOST_LISTEN__PROT", "1", "WAYPOST_LISTEN__PROT: unknown setting 'prot'; did you mean"),
        ("WAYPOST_LISTEN", "1", "WAYPOST_LISTEN: 'listen' has parts"),
        ("WAYPOST_PLANS__GOLD__CPU_MS", "1", "WAYPOST_PLANS__GOLD__CPU_MS: unknown setting 'gold'"),
        ("WAYPOST_PLANS__FREE", "1", "WAYPOST_PLANS__FREE: 'free' has parts"),
        ("WAYPOST_DATA_DIR__X", "1", "WAYPOST_DATA_DIR__X: unknown setting 'x'"),
    ],
)
def test_a_wrong_variable_is_named(file: Path, name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, {name: value}, {})
    assert str(caught.value).startswith(said)


def test_a_wrong_option_is_named(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"option listen\.port: expected whole number"):
        load_config(None, {}, {"listen.port": "80"})
    with pytest.raises(ConfigError, match=r"option listne\.port: unknown setting 'listne'"):
        load_config(None, {}, {"listne.port": 80})


def test_foreign_variables_are_told_and_secrets_are_not(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        env = {"WAYPOST_SERVICE_HOST": "10.0.0.1", "WAYPOST_OPERATOR_TOKEN": "s3cret"}
        assert load_config(None, env, {}) == Config()
    assert [getattr(record, "variable", "") for record in caplog.records] == [
        "WAYPOST_SERVICE_HOST"
    ]


@given(st.text(max_size=60) | st.text("listenporta:{}[]-&*!? \n1'\"", max_size=60))
def test_any_text_is_a_configuration_or_a_named_mistake(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "routing.yaml"
    path.write_text(text.encode("utf-8", "replace").decode(), encoding="utf-8")
    try:
        config = load_config(path, {}, {})
    except ConfigError as error:
        named = str(error)
    else:
        named = str(path)
        assert isinstance(config, Config)
    assert named.startswith(str(path))
