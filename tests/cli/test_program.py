"""The program: its help, version and exit status, as users start it."""

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import jax
import pytest

import jaxconv
from jaxconv.cli.command import commands
from jaxconv.cli.program import cache_programs
from tests.support.command_line import run
from tests.support.processes import UNREAD, forked

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_installed_command_runs_and_prints_names_of_files_as_they_are(folder):
    (folder / "photo.jpg").rename("IMG[bold]é.jpg")
    command = os.path.join(os.path.dirname(sys.executable), "jaxconv")
    given = ["maps", "IMG[bold]é.jpg", "--model", "jaxconv:VGG(((4,),), head=None)"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([command, *given], env=environment, capture_output=True, check=True)
    assert done.stderr == b""
    assert rb" on IMG[bold]\xe9.jpg" in done.stdout
    assert done.stdout.endswith(b"wrote IMG[bold]\\xe9-maps.png\n")
    assert (folder / "IMG[bold]é-maps.png").exists()


def test_importing_jaxconv_loads_nothing_heavy():
    heavy = "matplotlib PIL onnx huggingface_hub safetensors platformdirs orbax"
    code = f"import sys, jaxconv; print([m for m in {heavy.split()!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_missing_extra_is_a_sentence(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert run("maps", "photo.jpg") == 2
    said = capsys.readouterr().err
    assert said.startswith("jaxconv maps: the package PIL is not installed.\n  Fix: python -m")


FULL = {
    "Python": MemoryError(),
    "JAX": jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."),
}


@pytest.mark.parametrize("name", FULL)
def test_full_memory_is_a_sentence(folder, capsys, monkeypatch, name):
    def fail(*_):
        raise FULL[name]

    monkeypatch.setattr("jaxconv.cli.maps.outline", fail)
    assert run("maps", "photo.jpg") == 2
    assert capsys.readouterr().err == (
        "jaxconv maps: out of memory. Fix: pass a smaller --size, or fewer --layer.\n"
    )


def test_a_cache_that_cannot_be_made_is_not_used(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXCONV_CACHE", str(tmp_path / "file" / "cache"))
    before = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        cache_programs()
        assert jax.config.jax_compilation_cache_dir is None  # type: ignore[attr-defined]
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="of Linux")
def test_output_on_a_full_disk_is_a_sentence():
    command = [sys.executable, "-m", "jaxconv", "shape", "8x8x3", "--filters=1", "--kernel=1"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "jaxconv shape: the output cannot be written: No space left on device. Fix: write it "
        "elsewhere.\n",
    )


def test_another_error_of_jax_is_not_hidden(folder, monkeypatch):
    def fail(*_):
        raise jax.errors.JaxRuntimeError("INTERNAL: a mistake")

    monkeypatch.setattr("jaxconv.cli.maps.outline", fail)
    with pytest.raises(jax.errors.JaxRuntimeError, match="a mistake"):
        run("maps", "photo.jpg")


def test_a_reader_may_stop_early():
    command = ["jaxconv", "shape", "8x8x3", "--filters=1", "--kernel=1"]
    done = forked("-c", UNREAD, *command)
    assert (done.returncode, done.stderr) == (0, "")


def program(*arguments):
    """Run ``python -m jaxconv`` as a user does."""
    return forked("-m", "jaxconv", *arguments)


def test_a_bare_jaxconv_prints_help():
    done = program()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: jaxconv [-h] [--version] COMMAND ...\n")
    assert done.stdout == program("--help").stdout
    listed = re.findall(r"^    (\w+) {2,}", done.stdout, re.MULTILINE)
    assert listed == [*commands()]
    order = ["maps", "neuron", "explore", "shape", "summary", "draw", "check"]
    assert [name for name in listed if name in order] == order
    assert "  vgg16     VGG of 13 convolutions\n" in done.stdout


def test_the_version_is_that_of_the_installed_package():
    done = program("--version")
    assert (done.returncode, done.stdout) == (0, f"jaxconv {metadata.version('jaxconv')}\n")
    assert jaxconv.__version__ == metadata.version("jaxconv")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert jaxconv.__version__ == project["version"], (
        "install this checkout again: pip install -e ."
    )


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'jaxconv' has no attribute 'conf'"):
        jaxconv.conf  # noqa: B018


def test_an_unknown_command_is_refused():
    done = program("mops")
    assert done.returncode == 2
    assert "invalid choice: 'mops'" in done.stderr


def test_a_missing_module_of_ours_is_not_called_an_extra(folder, monkeypatch):
    def fail(_):
        raise ModuleNotFoundError("lost", name="jaxconv.plotting.figures")

    monkeypatch.setattr("jaxconv.cli.maps.outline", fail)
    with pytest.raises(ModuleNotFoundError, match="lost"):
        run("maps", "photo.jpg")
