from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli.bundle import collect
from gateway.cli.output import CliError
from gateway.cli.project import load_project
from gateway.cli.upload import Upload


def make(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_jsonc_and_toml_say_the_same(tmp_path: Path) -> None:
    jsonc = make(
        tmp_path / "a",
        {
            "wrangler.jsonc": '{"name": "x", "main": "src/entry.py", // main\n'
            '"compatibility_date": "2026-01-01", "vars": {"A": "1", "B": {"c": 2}}, '
            '"limits": {"cpu_ms": 5},}',
            "src/entry.py": "",
        },
    )
    toml = make(
        tmp_path / "b",
        {
            "wrangler.toml": 'name = "x"\nmain = "src/entry.py"\n'
            'compatibility_date = "2026-01-01"\n'
            '[vars]\nA = "1"\nB = {c = 2}\n[limits]\ncpu_ms = 5\n',
            "src/entry.py": "",
        },
    )
    first, second = load_project(jsonc, None), load_project(toml, None)
    assert first.config == second.config
    metadata = Upload(project=first, modules=[]).metadata()
    assert metadata == {
        "main_module": "entry.py",
        "bindings": [
            {"name": "A", "type": "plain_text", "text": "1"},
            {"name": "B", "type": "json", "json": {"c": 2}},
        ],
        "keep_bindings": ["secret_text"],
        "compatibility_date": "2026-01-01",
        "limits": {"cpu_ms": 5},
    }


def test_command_line_wins_over_the_configuration(tmp_path: Path) -> None:
    root = make(tmp_path, {"wrangler.json": '{"name": "x", "vars": {"A": "1"}}', "app.py": ""})
    project = load_project(root, "other")
    upload = Upload(project=project, modules=[], variables={"A": "2"}, secrets={"S": "s"})
    assert project.name == "other"
    assert upload.metadata()["bindings"] == [
        {"name": "A", "type": "plain_text", "text": "2"},
        {"name": "S", "type": "secret_text", "text": "s"},
    ]


def test_without_configuration_the_usual_main_and_the_directory_name_serve(tmp_path: Path) -> None:
    root = make(tmp_path / "my-site", {"app.py": "", "notes.txt": ""})
    project = load_project(root, None)
    assert (project.name, project.main.name) == ("my-site", "app.py")


def test_what_the_platform_does_not_serve_is_named(tmp_path: Path) -> None:
    text = '{"main": "a.py", "kv_namespaces": [{"binding": "KV"}], "routes": [], "$schema": "s"}'
    root = make(tmp_path, {"wrangler.jsonc": text, "a.py": ""})
    assert load_project(root, "x").ignored == ("kv_namespaces",)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "found nothing to deploy"),
        ({"wrangler.jsonc": '{\n"name": }'}, "wrangler.jsonc:2:9"),
        ({"wrangler.jsonc": '{"main": 7}'}, "$.main"),
        ({"wrangler.jsonc": '{"main": "gone.py"}'}, "gone.py does not exist"),
        ({"wrangler.toml": "name ="}, "wrangler.toml"),
        (
            {"wrangler.jsonc": '{"name": "No Way", "main": "a.py"}', "a.py": ""},
            "'No Way' cannot be",
        ),
    ],
)
def test_mistakes_are_named_where_they_stand(
    tmp_path: Path, files: dict[str, str], said: str
) -> None:
    root = make(tmp_path / "proj", files)
    root.mkdir(exist_ok=True)
    with pytest.raises(CliError) as caught:
        load_project(root, None)
    assert said in caught.value.message
    assert caught.value.status == 2


def test_a_bundle_holds_the_source_tree_and_nothing_else(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        {
            "wrangler.jsonc": '{"name": "x", "main": "src/entry.py"}',
            "README.md": "not below src",
            "src/entry.py": "import pkg.a",
            "src/pkg/a.py": "",
            "src/templates/index.html": "<p>",
            "src/.env": "SECRET=1",
            "src/.hidden/x.py": "",
            "src/__pycache__/entry.cpython-311.pyc": "",
            "src/stale.pyc": "",
            "src/env/pyvenv.cfg": "",
            "src/env/lib/x.py": "",
            "src/node_modules/x/index.js": "",
            "python_modules/idna/core.py": "",
        },
    )
    (root / "src/logo.png").write_bytes(b"\x89PNG\x00")
    modules = {module.name: module.content_type for module in collect(load_project(root, None))}
    assert modules == {
        "entry.py": "text/x-python",
        "pkg/a.py": "text/x-python",
        "templates/index.html": "text/plain",
        "logo.png": "application/octet-stream",
        "python_modules/idna/core.py": "text/x-python",
    }


def test_main_module_in_the_project_directory_leaves_the_configuration_behind(
    tmp_path: Path,
) -> None:
    root = make(tmp_path, {"wrangler.toml": 'main = "entry.py"', "entry.py": "", "b.py": ""})
    assert [m.name for m in collect(load_project(root, "x"))] == ["entry.py", "b.py"]


def test_a_single_file_goes_up_alone(tmp_path: Path) -> None:
    make(tmp_path, {"my_app.py": "", "other.py": ""})
    project = load_project(tmp_path / "my_app.py", None)
    assert project.name == "my-app"
    assert [module.name for module in collect(project)] == ["my_app.py"]


def test_a_link_out_of_the_project_is_refused(tmp_path: Path) -> None:
    (tmp_path / "private.key").write_text("secret")
    root = make(tmp_path / "proj", {"app.py": ""})
    (root / "harmless.txt").symlink_to(tmp_path / "private.key")
    with pytest.raises(CliError, match="leaves the project"):
        collect(load_project(root, None))


def test_a_link_to_a_directory_outside_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", {"x.py": ""})
    root = make(tmp_path / "proj", {"app.py": ""})
    (root / "vendored").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CliError, match="leaves the project"):
        collect(load_project(root, None))


def test_a_link_that_goes_round_ends(tmp_path: Path) -> None:
    root = make(tmp_path, {"app.py": "", "pkg/a.py": ""})
    (root / "pkg/loop").symlink_to(root)
    assert [m.name for m in collect(load_project(root, "x"))] == ["app.py", "pkg/a.py"]
