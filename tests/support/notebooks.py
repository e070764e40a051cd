"""The lesson as a notebook, which is made from its page: text is edited in the page alone.

A notebook shows by itself what its code prints and draws, so both are left out of it. A figure is
shown where the page saves it, and a result is shown, in colour, where the page prints it last.

    python -m tests.support.notebooks      # write the notebook of each page that has one
"""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.support.documents import BLOCK, ROOT, Page

PAGES = (Page(ROOT / "docs/feature-maps.md"),)
PICTURE = re.compile(r"^!\[[^]]*\]\(pictures/[^)]+\)\n+", re.MULTILINE)
AS_NOTEBOOK = (  # what code says in a page, and in a notebook
    (re.compile(r"^( *)figure\.savefig\(.*\)$", re.MULTILINE), r"\1plt.show()"),
    (re.compile(r"\.savefig\(\"pictures/.*\)$", re.MULTILINE), ""),
    (re.compile(r"^print\((\w+)\)\n\Z", re.MULTILINE), r"\1\n"),
)
ORIGIN = (
    "*This notebook is made from [{page}]({page}). It needs jaxconv with its pictures, "
    '`pip install -e ".[maps]"` in a checkout. Weights are downloaded once.*'
)
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def path_of(page: Page) -> Path:
    """Where the notebook of a page lies."""
    return page.path.with_suffix(".ipynb")


def notebook_of(page: Page) -> NotebookNode:
    """The notebook of a page, without outputs."""
    cells = [*_cells(page)]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # otherwise random
    return new_notebook(cells=cells, metadata=METADATA)


def _cells(page: Page) -> Iterator[NotebookNode]:
    title, _, text = page.text.partition("\n\n")
    yield new_markdown_cell(f"{title}\n\n{ORIGIN.format(page=page.path.name)}")
    start = 0
    for block in BLOCK.finditer(text):
        yield from _markdown(text[start : block.start()])
        code = block[1]
        for pattern, instead in AS_NOTEBOOK:
            code = pattern.sub(instead, code)
        yield new_code_cell(code.rstrip())
        start = block.end()
    yield from _markdown(text[start:])


def _markdown(text: str) -> Iterator[NotebookNode]:
    if text := PICTURE.sub("", text.lstrip("\n")).strip():
        yield new_markdown_cell(text)


def write(page: Page) -> None:
    """Write the notebook of a page beside it."""
    nbformat.write(notebook_of(page), path_of(page))


if __name__ == "__main__":
    for one in PAGES:
        write(one)
