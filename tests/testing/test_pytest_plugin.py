"""The pytest plugin: inert until asked, a test for each contract, a fixture; and the example."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

import jaxconv
from tests.support.processes import forked

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "example"

CONTRACTS = """
import jax.numpy as jnp

import jaxconv as jc


@jc.contract("b h -> b (h+1)//2")
def half(x):
    return x[:, ::2]


@jc.contract("b h -> b h//2")
def broken(x):
    return x[:, ::2]
"""
INTERRUPTED = """
import contextlib

import jaxconv as jc

calls = []


@jc.contract("b h -> b h")
def interrupted(x):
    calls.append(1)
    with contextlib.suppress(BaseException):
        return x if x.shape[1] > 3 else x + 1
    if len(calls) == 1:
        raise KeyboardInterrupt
    return x
"""
BY_HAND = """
import jaxconv as jc


def test_proven(prove):
    verdict = prove(jc.max_pool, "b h w c", returns="b h//2 w//2 c", where="h >= 2 and w >= 2")
    assert verdict.ok


def test_refuted(prove):
    prove(jc.flatten, "b h w c", returns="b h*w")


def test_misread(prove):
    prove(jc.flatten, "b h -")
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "shaped").mkdir()
    (tmp_path / "shaped" / "__init__.py").write_text("")
    (tmp_path / "shaped" / "nets.py").write_text(CONTRACTS)
    return tmp_path


def run(program, *arguments, cwd):
    """Run a program of this environment, as a user would."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV"))}
    # Plugins that are installed would be rewritten if they were not imported yet.
    environment["PYTEST_ADDOPTS"] = "-W ignore::pytest.PytestAssertRewriteWarning"
    return forked("-m", program, *arguments, cwd=cwd, env=environment)


def failures(said):
    """What pytest says of the failures."""
    return re.split("=+ (?:FAILURES|short test summary info) =+\n", said)[1]


def test_the_entry_point_names_the_module_outside_the_package():
    (found,) = entry_points(group="pytest11", name="jaxconv")
    assert found.value == "jaxconv_pytest", "install this checkout again: pip install -e ."


def test_without_the_option_nothing_is_loaded(project):
    says = "import sys; print([m for m in ('jax', 'jaxconv', 'islpy') if m in sys.modules])"
    (project / "test_it.py").write_text(f"def test_it():\n    {says}\n")
    command = [sys.executable, "-m", "pytest", "-sq"]
    env = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    done = subprocess.run(
        command, cwd=project, env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("[]\n."), done.stdout
    assert done.returncode == 0


@pytest.mark.skipif("JAXCONV_CHECK_TYPES" not in os.environ, reason="there is no such hook")
def test_the_import_hook_of_our_own_tests_still_sees_the_package():
    assert "beartype" in type(jaxconv.__spec__.loader).__module__


def test_an_interrupt_while_a_contract_is_proven_ends_the_session(project):
    (project / "shaped" / "nets.py").write_text(INTERRUPTED)
    done = run("pytest", "--contracts", "shaped", cwd=project)
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout


def test_each_contract_is_a_test_and_a_failure_prints_the_verdict(project):
    done = run("pytest", "-v", "--contracts", "shaped", cwd=project)
    assert done.returncode == 1
    assert re.search(
        r"^shaped.nets::half PASSED .*\nshaped.nets::broken FAILED ", done.stdout, re.M
    )
    assert "1 failed, 1 passed" in done.stdout
    assert failures(done.stdout) == (
        f"{' contract of broken ':_^80}\n"
        "refuted: accepts h a multiple of 2, returns (b, h//2)\n"
        "  fails at nets.py:12: for h = 1 the function returns 1 row, but the contract says 0 "
        "(axis 1 is (h + 1)//2, not h//2).\n"
        "    for h odd; first for b = 1, h = 1\n"
        "    Fix: fix the function, or change the contract to what it returns.\n"
    )


ALONE = [
    (("-k", "half", "--junitxml=out.xml"), 0, "1 passed, 1 deselected"),
    (("-k", "nothing"), 5, "2 deselected"),
    (("--collect-only", "-q"), 0, "shaped.nets::half\nshaped.nets::broken\n"),
]


@pytest.mark.parametrize(("options", "status", "part"), ALONE)
def test_contracts_are_chosen_as_tests_are(project, options, status, part):
    done = run("pytest", "--contracts", "shaped", *options, cwd=project)
    assert part in done.stdout
    assert done.returncode == status


def test_contracts_run_beside_tests_from_another_folder(project):
    (project / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (project / "sub").mkdir()
    (project / "sub" / "test_it.py").write_text("def test_it():\n    pass\n")
    given = ["--contracts", "../shaped/nets.py", "-k", "half or it"]
    done = run("pytest", *given, cwd=project / "sub")
    assert "2 passed, 1 deselected" in done.stdout
    assert done.returncode == 0


BAD_PACKAGES = [
    ("shapd", "There is no module 'shapd'.\n  Fix: write shaped.\n"),
    (
        "plain",
        "plain has no contract, and no function with shapes in its annotations.\n"
        "  Fix: put @jaxconv.contract(...) above a function in it",
    ),
    (
        "fails",
        "importing fails failed.\nTraceback (most recent call last):\n"
        '  File "FOLDER/fails.py", line 1, in <module>\n    import nobody\n'
        "ModuleNotFoundError: No module named 'nobody'\n",
    ),
]


def test_a_collection_error_is_reported_as_the_users_own(project):
    (project / "plain.py").write_text("")
    (project / "fails.py").write_text("import nobody\n")
    named = [f"--contracts={name}" for name, _ in BAD_PACKAGES]
    done = run("pytest", *named, cwd=project)
    said = done.stdout.replace(str(project), "FOLDER")
    for name, message in BAD_PACKAGES:
        assert re.search(f"_ ERROR collecting {name} _+\n{re.escape(message)}", said), said
    assert "jaxconv/" not in said
    assert done.returncode == 2


def test_a_model_that_cannot_be_made_fails_its_own_test_only(project):
    method = "\n\nclass Net:\n    def __init__(self):\n        raise KeyError(3)\n\n"
    method += "    @jc.contract('b -> b')\n    def call(self, x):\n        return x\n"
    with (project / "shaped" / "nets.py").open("a") as file:
        file.write(method)
    done = run("pytest", "--contracts", "shaped", "-k", "half or Net", cwd=project)
    assert "1 failed, 1 passed" in done.stdout
    said = failures(done.stdout).replace(str(project), "FOLDER")
    assert said == (
        f"{' contract of Net.call ':_^80}\n"
        "calling Net failed.\nTraceback (most recent call last):\n"
        '  File "FOLDER/shaped/nets.py", line 19, in __init__\n    raise KeyError(3)\nKeyError: 3\n'
    )


def test_the_fixture_proves_or_prints_the_verdict(project):
    (project / "test_by_hand.py").write_text(BY_HAND)
    done = run("pytest", cwd=project)
    assert "2 failed, 1 passed" in done.stdout
    refuted, misread = re.split("_+ test_misread _+\n", failures(done.stdout))
    assert refuted == (
        f"{' test_refuted ':_^80}\n"
        "refuted: accepts c = 1, returns (b, c*h*w)\n"
        "  fails: for h = 1, w = 1, c = 2 the function returns 2 rows, but the contract says 1 "
        "(axis 1 is c*h*w, not h*w).\n"
        "    for c >= 2; first for b = 1, h = 1, w = 1, c = 2\n"
        "    Fix: write c*h*w there in the contract, or fix the function.\n"
    )
    assert '>       prove(jc.flatten, "b h -")\n' in misread
    assert "The spec cannot be read: this is not a formula." in misread
    assert "jaxconv/" not in misread.replace("/jaxconv/testing/pytest_plugin.py:", "")
    assert done.returncode == 1


@pytest.fixture
def example(tmp_path):
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
    return folder


def commands(text):
    """The commands that a text shows, in order."""
    found = re.findall(r"^(?: *- run: )? *((?:jaxconv|pytest) [^|]*?)(?: \|\|.*)?$", text, re.M)
    return [shlex.split(line) for line in found]


def commands_of_workflow():
    """The commands that the workflow of the example runs, also by way of the action."""
    workflow = yaml.safe_load((EXAMPLE / ".github" / "workflows" / "shapes.yml").read_text())
    action = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"][-1]["run"]
    for step in workflow["jobs"]["shapes"]["steps"]:
        if step.get("uses") == "./vendor/jaxconv":
            check = commands(action)[0]
            at = check.index("${arguments[@]}")
            yield [*check[:at], *shlex.split(step["with"]["targets"]), *check[at + 1 :]]
        elif "run" in step:
            yield from commands(step["run"])


@pytest.mark.slow
def test_the_example_passes_as_its_workflow_runs_it(example):
    checks, tests = commands_of_workflow()
    done = run(*checks, cwd=example)
    last = "4 of 4 proven; 1 function without shapes."
    assert (done.returncode, done.stdout.splitlines()[-1], done.stderr) == (0, last, "")
    done = run(*tests, cwd=example)
    assert (done.returncode, done.stderr) == (0, "")
    assert "6 passed" in done.stdout


def test_the_readme_of_the_example_runs_the_same():
    for_ci = ("--cache", "--format", "github")
    shown = [[word for word in line if word not in for_ci] for line in commands_of_workflow()]
    assert commands((EXAMPLE / "README.md").read_text()) == shown


# A file of the example, what is changed in it, the line that is blamed, and how.
SLIPS = [
    (
        "classifier.py",
        ("nnx.Linear(64, 10,", "nnx.Linear(32, 10,"),
        "return self.head(",
        "head: TypeError: dot_general requires contracting dimensions to have the same shape",
    ),
    (
        "classifier.py",
        ("(32, 64, (3, 3), strides=2,", "(32, 64, (3, 3),"),
        '@jc.contract("b h w 3 -> b (h+7)//8',
        "for w = 5 the function returns 2 columns, but the contract says 1 (axis 2 is (w + 3)//4, ",
    ),
    (
        "unet.py",
        ("join(bottom, down2)", "join(bottom, down1)"),
        "join(bottom, down1)",
        "join: axis 1 of large is h, but the contract says 2*h",
    ),
]


def slip(example, file, change):
    """Break a copy of the example."""
    path = example / "shapes_example" / file
    text = path.read_text()
    assert text.count(change[0]) == 1
    path.write_text(text.replace(*change))
    return path.read_text().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(("file", "change", "line", "message"), SLIPS)
def test_a_slip_in_the_example_is_marked_at_its_line(example, file, change, line, message):
    lines = slip(example, file, change)
    number = 1 + next(i for i, found in enumerate(lines) if line in found)
    done = run(*next(commands_of_workflow()), cwd=example)
    (said,) = [at for at in done.stdout.splitlines() if message in at][:1]
    assert said.startswith(
        f"::error file=shapes_example/{file},line={number},title=shapes_example."
    )
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.slow
def test_a_slip_in_the_example_fails_its_tests(example):
    slip(example, *SLIPS[0][:2])
    done = run(*[*commands_of_workflow()][1], cwd=example)
    assert "2 failed, 4 passed" in done.stdout
    shown, _, _ = done.stdout.partition("short test summary info")  # which is longer in CI
    assert shown.count("  fails at classifier.py:28: head: TypeError: dot_general") == 2
    assert done.returncode == 1
