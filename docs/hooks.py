"""Hooks for MkDocs: include text from elsewhere, and warn about what other hosts would load.

A line ``{{ readme: A tour }}`` is replaced by that section of README.md, and a line
``{{ command: maps }}`` by the options of that command, so that neither is written twice. A link
that leads out of ``docs/`` leads to a copy of that file on the site.
"""

import argparse
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from jaxconv.cli.program import command_line  # noqa: E402

LOG = logging.getLogger("mkdocs.hooks")
EXTERNAL = re.compile(
    r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^\s>]+"
)
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)")
DIRECTIVE = re.compile(r"^\{\{ (\w+): (.+) \}\}$", re.MULTILINE)
# Files outside docs/ that are pages, or that pages link to.
OUTSIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "experiments/results/*")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside ``docs/`` that pages link to."""
    for path in sorted(path for pattern in OUTSIDE for path in ROOT.glob(pattern)):
        name = str(path.relative_to(ROOT))
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Replace directives, and rewrite links that lead out of ``docs/``."""
    folder = (Path(config.docs_dir) / page.file.src_uri).parent
    source = Path(page.file.abs_src_path or folder / "generated").parent
    markdown = LINK.sub(lambda link: "](" + _site_link(source / link[1], folder), markdown)
    return DIRECTIVE.sub(lambda match: DIRECTIVES[match[1]](match[2], folder), markdown)


def on_post_page(output: str, page: Page, **_: Any) -> None:
    """Warn about a page that loads anything from another host."""
    for element in EXTERNAL.findall(output):
        LOG.warning("%s loads from another host: %s", page.file.src_uri, element)


def _site_link(target: Path, folder: Path) -> str:
    """Return the link to a file of the repository, from a page in a folder of ``docs/``."""
    path = Path(os.path.normpath(target)).relative_to(ROOT)
    on_site = path.relative_to("docs") if path.parts[0] == "docs" else path
    return os.path.relpath(ROOT / "docs" / on_site, folder)


def _readme_section(heading: str, folder: Path) -> str:
    """Return a section of README.md with its heading; "top" is the text above the first one."""
    above, *sections = re.split(r"^(?=## )", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    named = {section.splitlines()[0][3:]: section for section in sections} | {"top": above}
    return LINK.sub(lambda link: "](" + _site_link(ROOT / link[1], folder), named[heading])


def _command_table(name: str, _: Path) -> str:
    """Return a command's description and usage, and its options as a table."""
    subparsers = (action.choices for action in command_line()._actions)
    commands = next(choices for choices in subparsers if isinstance(choices, dict))
    parser: argparse.ArgumentParser = commands[name]
    usage = parser.format_usage().removeprefix("usage: ")
    options = (action for action in parser._actions if action.dest != "help")
    rows = [f"| {_option_syntax(option)} | {_option_help(option)} |" for option in options]
    table = "\n".join(["| option | meaning |", "|---|---|", *rows])
    return f"{parser.description}\n\n```bash\n{usage}```\n\n{table}\n\n{parser.epilog or ''}"


def _option_syntax(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{action.metavar or action.dest}`"
    value: Any = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    if action.choices:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    return f"`{action.option_strings[0]} {value}`".replace(" `", "`")


def _option_help(action: argparse.Action) -> str:
    """Return the help of an option, and whether it is required or its default."""
    text = (action.help or "") % {"default": action.default}
    default = action.default[0] if isinstance(action.default, tuple) else action.default
    more = ""
    if action.required and action.option_strings:
        more = "required"
    elif isinstance(default, str | int) and default is not False and "default:" not in text:
        more = f"default: `{default}`"
    return "; ".join(filter(None, (text, more))).replace("|", "\\|")


DIRECTIVES = {"readme": _readme_section, "command": _command_table}
