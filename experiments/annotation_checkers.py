"""Compare what tools say of twenty functions with jaxtyping annotations.

The tools are jaxconv, jaxtyc, Pyrefly, and jaxtyping with beartype at run time. Their answers
become a section of docs/comparison.md.
"""

import argparse
import ast
import functools
import inspect
import json
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import beartype
import jax
import jax.numpy as jnp
import jaxtyping

import jaxconv as jc
from experiments import annotated_functions

OUT = Path("docs/comparison.md")
START, END = "<!-- annotated functions -->", "<!-- end of annotated functions -->"
USUAL = {"b": 2, "h": 32, "w": 32, "c": 3, "d": 8, "r": 4, "n": 16, "m": 24, "e": 5}
# The wrong functions, and the sizes for which they are wrong.
WRONG = {
    "every_second_floor": "h or w odd",
    "padded_to_even": "h even",
    "squeezed": "b = 1 or c = 1",
    "scaled_rows": "h other than w, except h = 1",
    "mirrored": "h other than w",
    "stem": "h < 7 or w < 7",
    "down_and_up": "h odd",
    "patches": "h or w no multiple of 4",
    "channels_first": "all except h = w = c",
    "row_means": "all except h = c",
}
STUBS, IMPORTED_FOR_PYREFLY = "jax-pyrefly-stubs", "from shape_extensions import static_jaxtyping"
ACCEPTS, REFUSES, SILENT = "accepts", "refuses", "no answer"

Answers = dict[str, str]


def functions() -> dict[str, Callable[..., Any]]:
    """Return the twenty functions by name."""
    values = vars(annotated_functions).items()
    module = annotated_functions.__name__
    return {n: f for n, f in values if inspect.isfunction(f) and f.__module__ == module}


def by_jaxconv() -> Answers:
    """Prove each function for every size."""
    words = {"proven": ACCEPTS, "refuted": REFUSES, "tested": SILENT}
    return {name: words[jc.check(fn).status] for name, fn in functions().items()}


def by_running() -> Answers:
    """Call each function once, with sizes as a test has them, under jaxtyping and beartype."""
    answers = {}
    for name, fn in functions().items():
        checked = jaxtyping.jaxtyped(fn, typechecker=beartype.beartype)
        hints = [hint for key, hint in fn.__annotations__.items() if key != "return"]
        try:
            checked(*(jnp.ones(_shape(hint.dim_str)) for hint in hints))
        except (jaxtyping.TypeCheckError, TypeError, ValueError):
            answers[name] = REFUSES
        else:
            answers[name] = ACCEPTS
    return answers


def _shape(dims: str) -> tuple[int, ...]:
    return tuple(eval(dim, {}, dict(USUAL)) for dim in dims.split())


def by_jaxtyc(program: str, folder: Path) -> Answers:
    """Give each function to jaxtyc, in a file of its own.

    Args:
        program: path of jaxtyc.
        folder: with a file for each function.

    Returns:
        The answers; none where it ends with an error of its own.
    """
    answers = {}
    for name in functions():
        command = [program, "check", "--format", "json", f"{name}.py"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        try:
            report = json.loads(done.stdout)
        except ValueError:
            answers[name] = SILENT
            continue
        checked = ACCEPTS if report["functions_checked"] else SILENT
        answers[name] = REFUSES if report["diagnostics"] else checked
    return answers


def by_pyrefly(program: str, folder: Path) -> Answers:
    """Give all functions to Pyrefly, with the decorator that lets it read their annotations.

    Args:
        program: path of Pyrefly; the Python beside it has the stubs.
        folder: with a file for each function.

    Returns:
        The answers; none where it does not know a formula of an annotation.
    """
    declared = Path(tempfile.mkdtemp(dir=folder))
    for name, fn in functions().items():
        dims = " ".join(hint.dim_str for hint in fn.__annotations__.values())
        sizes = " ".join(dict.fromkeys(re.findall(r"[a-z]+", dims)))
        source = (folder / f"{name}.py").read_text()
        decorator = f'@static_jaxtyping("{sizes}")\ndef {name}('
        source = source.replace(f"def {name}(", decorator)
        (declared / f"{name}.py").write_text(f"{IMPORTED_FOR_PYREFLY}\n{source}")
    python = f"--python-interpreter-path={_python_of(program)}"
    files = [f"{name}.py" for name in functions()]
    # Without a configuration, Pyrefly does not compare what is returned with the annotation.
    command = [program, "check", "--preset", "default", python, "--output-format", "json", *files]
    done = subprocess.run(command, cwd=declared, capture_output=True, text=True, check=False)
    answers = dict.fromkeys(functions(), ACCEPTS)
    for error in json.loads(done.stdout)["errors"]:
        name, is_unread = Path(error["path"]).stem, error["name"] == "invalid-annotation"
        answers[name] = SILENT if is_unread or answers[name] == SILENT else REFUSES
    return answers


def _python_of(program: str) -> Path:
    return Path(program).with_name("python")


def _stubs_of(program: str) -> str:
    """The version of the stubs for JAX that Pyrefly reads."""
    code = f"from importlib.metadata import version; print(version('{STUBS}'))"
    command = [_python_of(program), "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def write_files(folder: Path) -> None:
    """Write a file for each function, with the imports that it needs.

    Args:
        folder: where they are written.
    """
    source = inspect.getsource(annotated_functions)
    body = ast.parse(source).body
    kinds = (ast.Import, ast.ImportFrom, ast.Assign)
    parts = [ast.get_source_segment(source, one) for one in body if isinstance(one, kinds)]
    head = "\n".join(filter(None, parts))
    for name, fn in functions().items():
        (folder / f"{name}.py").write_text(f"{head}\n\n\n{inspect.getsource(fn)}")


def compare(tools: str | None) -> tuple[dict[str, Answers], dict[str, float]]:
    """Ask all tools.

    Args:
        tools: the folders with the programs jaxtyc and pyrefly, separated as those of the PATH;
            None looks for them on the PATH. A program that is not there is left out.

    Returns:
        The answers by tool, with its version, and how many seconds each took.
    """
    answers: dict[str, Answers] = {}
    seconds: dict[str, float] = {}

    def ask(name: str, call: Callable[[], Answers]) -> None:
        start = time.monotonic()
        answers[name] = call()
        seconds[name] = time.monotonic() - start

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_files(folder)
        ask("jaxconv", by_jaxconv)
        if program := shutil.which("jaxtyc", path=tools):
            ask(f"jaxtyc {_version(program)}", functools.partial(by_jaxtyc, program, folder))
        if program := shutil.which("pyrefly", path=tools):
            name = f"pyrefly {_version(program)} + {STUBS} {_stubs_of(program)}"
            ask(name, functools.partial(by_pyrefly, program, folder))
        typing, bear = version("jaxtyping"), version("beartype")
        ask(f"jaxtyping {typing} + beartype {bear}", by_running)
    return answers, seconds


def _version(program: str) -> str:
    """The version of a program, which one of two ways of asking tells."""
    for how in ("--version", "version"):
        done = subprocess.run([program, how], capture_output=True, text=True, check=False)
        if found := re.search(r"\d+\.\d+[\w.]*", done.stdout):
            return found[0]
    return ""


SECTION = """\
## Twenty functions with jaxtyping annotations

Made by `python -m experiments.annotation_checkers --tools FOLDERS` with Python {python}, jax {jax}
from the functions of `experiments/annotated_functions.py`. The annotations of ten are right
for every size, and those of ten are wrong for some or all sizes. jaxtyc and Pyrefly get a file for
each function. jaxtyping with beartype checks at run time: each function is called once, as in a
test, with {usual}.

jaxtyc traces with JAX's symbolic dimensions. If the annotation of a result has a division or a
remainder, it fails with an internal exception, which counts as no answer. It refuses `squeezed`
because symbolic dimensions do not support `squeeze`.

Pyrefly has the stubs that its authors publish as `jax-pyrefly-stubs`, which need Python 3.12 or
later, and its preset `default`. It reads a function under `@static_jaxtyping("b h w c")`, which
is added here. As sizes it knows names, `name+1` and `name-1`; that it refuses other formulas
counts as no answer. `pyrefly-jax-stubs` 0.10.2.2, by another author, is for Pyrefly's own syntax:
with it, Pyrefly 1.3.0.dev4 accepts all twenty functions.

{table}

Seconds for all twenty functions; the times of jaxconv and of the run-time checks do not include the
start of Python, and the machine was busy: {seconds}.
"""


def section(answers: Mapping[str, Answers], seconds: Mapping[str, float]) -> str:
    """Write the section.

    Args:
        answers: by tool.
        seconds: that each tool took.

    Returns:
        Markdown.
    """
    rows = [["function", "wrong for", *answers], ["---"] * (2 + len(answers))]
    for name in functions():
        given = [one[name] for one in answers.values()]
        shown = [f"**{a}**" if is_wrong(name, a) else a for a in given]
        rows.append([f"`{name}`", WRONG.get(name, "-"), *shown])
    names = [*functions()]
    wrong = [sum(is_wrong(n, one[n]) for n in names) for one in answers.values()]
    silent = [sum(one[n] == SILENT for n in names) for one in answers.values()]
    for what, counts in (("wrong answers", wrong), ("no answer", silent)):
        rows.append([f"**{what}**", "", *(f"**{count} of {len(names)}**" for count in counts)])
    return SECTION.format(
        python=platform.python_version(),
        jax=jax.__version__,
        usual="sizes such as b = 2, h = w = 32, c = 3",
        table="\n".join(f"| {' | '.join(row)} |" for row in rows),
        seconds=", ".join(f"{tool} {spent:.1f}" for tool, spent in seconds.items()),
    )


def is_wrong(name: str, answer: str) -> bool:
    """Whether an answer is wrong; no answer is not.

    Args:
        name: of the function.
        answer: of a tool.
    """
    return answer == (ACCEPTS if name in WRONG else REFUSES)


def main() -> None:
    """Ask the tools, and write the section into the page."""
    parser = argparse.ArgumentParser(prog="python -m experiments.annotation_checkers")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--tools", help="folders with jaxtyc and pyrefly; default: the PATH")
    options = parser.parse_args()
    text = section(*compare(options.tools))
    before, _, rest = options.out.read_text().partition(START)
    after = rest.partition(END)[2] or "\n"
    options.out.write_text(f"{before}{START}\n\n{text}\n{END}{after}")
    print(text)


if __name__ == "__main__":
    main()
