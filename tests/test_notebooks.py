"""The lesson's notebook: it is made from its page, and shows the same, without a network."""

import os
import re

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from tests.support.documents import SHOWN, Page
from tests.support.notebooks import PAGES, notebook_of, path_of, write

LESSON = PAGES[0]
LEARNT = 'weights="imagenet"'
OFFLINE = """import socket

def refuse(*args, **kwargs):
    raise OSError("the notebook asked for another host")

socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.stem)
def test_the_notebook_is_made_from_its_page(page):
    wanted = notebook_of(page)
    assert nbformat.read(path_of(page), wanted.nbformat) == wanted, (
        "run python -m tests.support.notebooks"
    )


def test_the_notebook_is_valid_and_without_outputs():
    notebook = nbformat.read(path_of(LESSON), 4)
    nbformat.validate(notebook)
    assert [cell for cell in code_cells(notebook) if cell.outputs or cell.execution_count] == []


PAGE = """# Numbers

A paragraph.

```python
import matplotlib.pyplot as plt
figure, axis = plt.subplots()
figure.savefig("pictures/one.png", dpi=10)
```

![one](pictures/one.png)

Text between.

```bash
jaxconv --help
```

```python
total = 6 * 7
print("not last", total)
print(total)
```

```text
not last 42
42
```
"""


def test_a_notebook_has_the_text_and_code_of_its_page(tmp_path):
    page = Page(tmp_path / "numbers.md")
    page.path.write_text(PAGE)
    write(page)
    cells = nbformat.read(tmp_path / "numbers.ipynb", 4).cells
    kinds = [cell.cell_type for cell in cells]
    assert kinds == ["markdown", "markdown", "code", "markdown", "code"]
    title, text, drawing, between, numbers = (cell.source for cell in cells)
    assert title.startswith("# Numbers\n\n*This notebook is made from [numbers.md](numbers.md).")
    assert text == "A paragraph."
    assert drawing.endswith("figure, axis = plt.subplots()\nplt.show()")
    assert between == "Text between.\n\n```bash\njaxconv --help\n```"
    assert numbers == 'total = 6 * 7\nprint("not last", total)\ntotal'


def test_a_change_of_the_page_is_noticed(tmp_path):
    page = Page(tmp_path / "numbers.md")
    page.path.write_text(PAGE)
    write(page)
    for part in ("A paragraph", "6 * 7", "--help"):
        page.path.write_text(PAGE.replace(part, "changed"))
        assert nbformat.read(path_of(page), 4) != notebook_of(page)


@pytest.fixture(scope="module")
def weights(random_weights):
    """Weights that are on this machine: the published ones, or random ones; and which they are."""
    from jaxconv.models.registry import published_weights

    cached = published_weights("vgg16")["imagenet"][1].cached()
    return (LEARNT, True) if cached else (f'weights="{random_weights.as_posix()}"', False)


@pytest.fixture(scope="module")
def executed(weights, tmp_path_factory):
    """The notebook of the lesson after a run without a network."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(path_of(LESSON), 4)
    for cell in notebook.cells:
        cell.source = cell.source.replace(LEARNT, weights[0])
    notebook.cells.insert(0, new_code_cell(OFFLINE))
    env = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    env |= {"HF_HUB_OFFLINE": "1", "PIP_NO_INDEX": "1", "IPYTHONDIR": str(folder / "ipython")}
    places = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=places).execute(env=env)
    del notebook.cells[0]
    return notebook


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(cell):
    """What a cell prints, and the plain text of its result."""
    printed = [one.text for one in cell.outputs if one.get("name") == "stdout"]
    results = [one.data["text/plain"] for one in cell.outputs if is_result(one)]
    return "".join(printed) + "".join(f"{text}\n" for text in results)


def is_result(output):
    return output.output_type == "execute_result" and "image/png" not in output.data


@pytest.mark.slow
def test_each_cell_of_the_lesson_runs(executed):
    counts = [cell.execution_count for cell in code_cells(executed)]
    assert counts == [*range(2, len(LESSON.blocks) + 2)]
    kinds = {output.output_type for cell in code_cells(executed) for output in cell.outputs}
    assert kinds == {"stream", "display_data", "execute_result"}  # no error


@pytest.mark.slow
def test_the_lesson_shows_what_its_page_says(executed, weights):
    learnt = False
    for cell, block in zip(code_cells(executed), LESSON.blocks, strict=True):
        learnt |= LEARNT in block[1]
        if weights[1] or not learnt:
            assert text_of(cell) == (block[2] or "")


@pytest.mark.slow
def test_the_lesson_shows_each_picture_of_its_page(executed):
    """Where the page has a picture after its code, the notebook shows one."""
    after = re.split(r"^```python\n", LESSON.text, flags=re.MULTILINE)[1:]
    wanted = [len(SHOWN.findall(text)) for text in after]
    shown = [
        sum("image/png" in output.get("data", {}) for output in cell.outputs)
        for cell in code_cells(executed)
    ]
    assert shown == wanted
    assert sum(shown) == 6


@pytest.mark.slow
def test_the_table_of_the_lesson_is_shown_as_html(executed):
    (html,) = (
        output.data["text/html"]
        for cell in code_cells(executed)
        for output in cell.outputs
        if "text/html" in output.get("data", {})
    )
    assert ">layer</th>" in html
    assert "conv5_3" in html
