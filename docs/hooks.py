"""What MkDocs does not do by itself: run the pages' code, take sections from elsewhere, and more.

A line ``{{ readme: A tour }}`` stands for that section of README.md, and ``{{ command: maps }}``
for the options of that command, so that neither is written twice. Links that lead out of ``docs/``
lead to copies of those files.
"""

import argparse
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from jaxconv.cli.main import command_line  # noqa: E402
from tests.support import documents  # noqa: E402

LOG = logging.getLogger("mkdocs.hooks")
FETCHED = re.compile(
    r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^\s>]+"
)
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)")
DIRECTIVE = re.compile(r"^\{\{ (\w+): (.+) \}\}$", re.MULTILINE)
RESULTS = ROOT / "experiments/results"  # what pages link to beside docs/


def on_pre_build(config: MkDocsConfig) -> None:
    """In a strict build, hold all pages to what their code does."""
    for page in documents.pages() if config.strict else ():
        LOG.info("Running the code of %s", page.path.name)
        for problem in page.problems():
            LOG.warning(problem)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside ``docs/`` that pages link to."""
    for path in sorted(RESULTS.iterdir()):
        name = str(path.relative_to(ROOT))
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Fill in what stands elsewhere, and mend the links that then lead out of ``docs/``."""
    home = Path(config.docs_dir) / page.file.src_uri
    markdown = LINK.sub(lambda link: "](" + _inside(home.parent / link[1], home.parent), markdown)
    return DIRECTIVE.sub(lambda found: DIRECTIVES[found[1]](found[2], home.parent), markdown)


def on_post_page(output: str, page: Page, **_: Any) -> None:
    """Hold pages to asking no other host for anything when they are read."""
    for fetched in FETCHED.findall(output):
        LOG.warning("%s asks another host: %s", page.file.src_uri, fetched)


def _inside(target: Path, start: Path) -> str:
    """The link to a file of the repository, from a folder of ``docs/``."""
    path = Path(os.path.normpath(target)).relative_to(ROOT)
    place = path.relative_to("docs") if path.parts[0] == "docs" else path
    return os.path.relpath(ROOT / "docs" / place, start)


def _readme(heading: str, start: Path) -> str:
    """A section of README.md with its heading, or what stands above the first one."""
    above, *sections = re.split(r"^(?=## )", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    named = {section.splitlines()[0][3:]: section for section in sections} | {"top": above}
    return LINK.sub(lambda link: "](" + _inside(ROOT / link[1], start), named[heading])


def _command(name: str, _: Path) -> str:
    """A command's usage and its options, as a table."""
    parser = _commands()[name]
    usage = parser.format_usage().removeprefix("usage: ")
    rows = [f"| {_taken(action)} | {_told(action)} |" for action in _options(parser)]
    table = "\n".join(["| option | what it does |", "|---|---|", *rows])
    return f"{parser.description}\n\n```bash\n{usage}```\n\n{table}\n\n{parser.epilog or ''}"


def _commands() -> dict[str, argparse.ArgumentParser]:
    choices = (action.choices for action in command_line()._actions)
    return next(found for found in choices if isinstance(found, dict))


def _options(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    return (action for action in parser._actions if action.dest != "help")


def _taken(action: argparse.Action) -> str:
    value: Any = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    if not action.option_strings:
        return f"`{action.metavar or action.dest}`"
    if action.choices:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    return f"`{action.option_strings[0]} {value}`".replace(" `", "`")


def _told(action: argparse.Action) -> str:
    """What an option is, and what it is where it is not given."""
    more = "required" if action.required and action.option_strings else _default(action.default)
    text = (action.help or "") % {"default": action.default}
    parts = [text] if "default:" in text else [text, more]
    return "; ".join(filter(None, parts)).replace("|", "\\|")


def _default(value: Any) -> str:
    plain = value[0] if isinstance(value, tuple) else value
    return f"default: `{plain}`" if isinstance(plain, str | int) and plain is not False else ""


DIRECTIVES = {"readme": _readme, "command": _command}
