"""The files around the package: workflows, templates, and the versions that they name."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from jaxconv.cli.program import command_line
from tests.support.documents import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TEMPLATES = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = [
    name.rpartition(" ")[2] for name in PROJECT["classifiers"] if re.search(r"Python :: 3\.", name)
]


def jobs(path):
    return yaml.safe_load(path.read_text())["jobs"]


def commands(path):
    """Return each command of a workflow as words, with those of its matrix."""
    for job in jobs(path).values():
        matrix = job.get("strategy", {}).get("matrix", {}).get("include", [{}])
        for step in job.get("steps", []):
            for entry in matrix if "run" in step else ():
                text = re.sub(r"\$\{\{ matrix\.(\w+) \}\}", lambda m, e=entry: e[m[1]], step["run"])
                yield from (shlex.split(line) for line in text.splitlines())


def test_there_are_workflows_for_tests_documents_and_releases():
    assert [path.stem for path in WORKFLOWS] == ["docs", "release", "tests"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_each_command_of_a_workflow_exists(path):
    for program, *arguments in commands(path):
        if program == "bash":
            assert (ROOT / arguments[0]).is_file(), arguments[0]
        elif program == "pip":
            extras = re.findall(r"\.\[(\w+)\]", " ".join(arguments))
            assert extras
            assert set(extras) <= set(PROJECT["optional-dependencies"])
        else:
            assert program == "mkdocs"


def test_the_workflow_tests_each_supported_python_as_ci_does():
    matrix = jobs(ROOT / ".github/workflows/tests.yml")["tests"]["strategy"]["matrix"]["include"]
    assert [entry["python"] for entry in matrix] == PYTHONS
    assert [*commands(ROOT / ".github/workflows/tests.yml")] == [
        # The oldest Python also tests the lowest versions.
        ["bash", ".ci/run", *([f"python{python}"] if python != PYTHONS[0] else [])]
        for python in PYTHONS
    ]


def test_only_supported_pythons_are_set_up():
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    for path in WORKFLOWS:
        for text in re.findall(r'python-version: "(.+)"', path.read_text()):
            assert text in PYTHONS


def test_a_release_is_published_only_after_all_its_checks():
    release = jobs(ROOT / ".github/workflows/release.yml")
    assert sorted(release["publish"]["needs"]) == sorted(set(release) - {"publish"})
    assert release["publish"]["permissions"] == {"id-token": "write"}  # and no stored token
    assert ["bash", ".ci/newest"] in [*commands(ROOT / ".github/workflows/release.yml")]
    called = release["tests"]["uses"]
    assert (ROOT / called).is_file()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_issue_templates_are_forms(path):
    form = yaml.safe_load(path.read_text())
    if path.stem != "config":
        assert {"name", "description", "body"} <= set(form)
        assert all({"type", "attributes"} <= set(part) for part in form["body"])


def test_pre_commit_runs_the_same_ruff():
    (hooks,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert f"ruff=={hooks['rev'].removeprefix('v')}" in PROJECT["optional-dependencies"]["test"]


def test_all_files_name_the_same_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == PROJECT["version"]
    assert cited["license"] == PROJECT["license"]
    released = re.findall(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == PROJECT["version"]


def test_the_placeholder_address_stands_in_one_file():
    files = [path for suffix in ("md", "yml", "cff", "toml") for path in ROOT.glob(f"*.{suffix}")]
    files += [*(ROOT / "docs").rglob("*.md"), *WORKFLOWS, *TEMPLATES]
    named = [path.name for path in files if "example.org" in path.read_text()]
    assert named in ([], ["pyproject.toml"])


NETS = """
import jaxconv as jc


@jc.contract("b h -> b h//2")
def halves(x):
    return x[:, ::2]
"""


@pytest.mark.slow
def test_the_action_marks_lines_and_keeps_what_it_has_proven(tmp_path):
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    *_, check = action["runs"]["steps"]
    (tmp_path / "nets.py").write_text(NETS)
    inputs = {"targets": "nets.py", "options": '--where "h >= 2"', "sarif": "found.sarif"}
    env = os.environ | {
        name: inputs[re.fullmatch(r"\$\{\{ inputs\.(\w+) \}\}", value)[1]]
        for name, value in check["env"].items()
    }
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    env["GITHUB_STEP_SUMMARY"] = str(tmp_path / "summary.md")
    command = ["bash", "-e", "-o", "pipefail", "-c", check["run"]]
    run = subprocess.run(
        command, check=False, cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert run.returncode == 1, run.stderr
    assert run.stdout.startswith("::error file=nets.py,line=5,title=nets%3Ahalves::at nets.py:5: ")
    assert "for h = 3 the function" in run.stdout  # as --where says
    (result,) = json.loads((tmp_path / "found.sarif").read_text())["runs"][0]["results"]
    assert result["ruleId"] == "refuted"
    assert "| `nets:halves` | refuted |" in (tmp_path / "summary.md").read_text()
    assert len([*(tmp_path / ".jaxconv_cache").glob("*.json")]) == 1
    assert set(inputs) | {"install", "folder"} == set(action["inputs"])


@pytest.mark.parametrize(
    ("install", "words"), [("", []), ('-e ".[test]"', ["-e", ".[test]"]), ("a 'b c'", ["a", "b c"])]
)
def test_the_action_installs_what_it_is_given(tmp_path, install, words):
    first, *_ = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    search = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": search, "INSTALL": install, "GITHUB_ACTION_PATH": "/jaxconv"}
    command = ["bash", "-e", "-o", "pipefail", "-c", first["run"]]
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["-m", "pip", "install", "/jaxconv", *words]


def test_the_hook_for_other_projects_runs_a_command_that_exists():
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    program, command, *options = shlex.split(hook["entry"])
    assert program in PROJECT["scripts"]
    parsed = command_line().parse_args([command, "a_package", *options])
    assert parsed.cache
