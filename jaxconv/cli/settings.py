"""The settings of ``jaxconv check``, in ``[tool.jaxconv]`` of the nearest pyproject.toml."""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from jaxconv.cli.user_code import TargetError
from jaxconv.prover.explore import TIMEOUT

STATUSES = ("refuted", "tested")


@dataclass(frozen=True)
class Settings:
    """What applies to each function that is checked.

    Attributes:
        where: a condition on the sizes, for functions that have all its names.
        exclude: patterns of names that are left out, such as ``pkg.old.*`` or ``pkg:helper``.
        seconds: for each function, after which what is left is not decided.
        fail: which verdicts fail the run: "refuted", "tested" or both.
    """

    where: str = ""
    exclude: tuple[str, ...] = ()
    seconds: float = TIMEOUT
    fail: tuple[str, ...] = STATUSES


DEFAULTS = Settings()


def read_settings(folder: Path) -> Settings:
    """Read the settings that apply in a folder.

    Args:
        folder: where the search for pyproject.toml begins, upwards.

    Returns:
        The settings; the defaults where there are none.

    Raises:
        TargetError: the file cannot be read, or has a setting that does not exist or fit.
    """
    path = project_folder(folder) / "pyproject.toml"
    if not path.is_file():
        return DEFAULTS
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("jaxconv", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TargetError(f"{path} cannot be read: {error}.\n  Fix: correct the file.") from None
    if not isinstance(table, dict):
        raise _wrong(path, "tool.jaxconv is not a table", "write [tool.jaxconv]")
    names = [field.name for field in fields(Settings)]
    if unknown := [name for name in table if name not in names]:
        raise _wrong(path, f"there is no setting {unknown[0]}", f"use {', '.join(names)}")
    values: dict[str, Any] = dict(table)
    for name, kind, fix in (
        ("where", str, 'write a condition, such as where = "h >= 32"'),
        ("seconds", int | float, "write a number, such as seconds = 20"),
    ):
        if name in values and (not isinstance(values[name], kind) or values[name] is True):
            raise _wrong(path, f"{name} is {values[name]!r}", fix)
    for name, fix in (
        ("exclude", 'write patterns, such as exclude = ["pkg.old.*"]'),
        ("fail", 'write some of fail = ["refuted", "tested"]'),
    ):
        if name in values:
            value = values[name]
            is_fitting = isinstance(value, list) and all(isinstance(one, str) for one in value)
            if not is_fitting or (name == "fail" and set(value) - set(STATUSES)):
                raise _wrong(path, f"{name} is {value!r}", fix)
            values[name] = tuple(value)
    return Settings(**values)


def project_folder(folder: Path) -> Path:
    """Find the nearest folder with a pyproject.toml.

    Args:
        folder: where the search begins, upwards.

    Returns:
        The folder; that where the search begins if there is none.
    """
    parents = (folder, *folder.parents)
    return next((one for one in parents if (one / "pyproject.toml").is_file()), folder)


def _wrong(path: Path, wrong: str, fix: str) -> TargetError:
    return TargetError(f"In {path}, {wrong}.\n  Fix: {fix}.")
