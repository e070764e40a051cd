"""The README: its two lines and its code; `test_docs.py` runs it and follows its links."""

from tests.support.documents import ROOT, Page

TEXT = (ROOT / "README.md").read_text()


def test_it_has_code_that_is_run():
    assert len(Page(ROOT / "README.md").blocks) == TEXT.count("```python") == 4


def test_the_two_lines_are_there_once_each():
    lines = [line for line in TEXT.splitlines() if line.startswith("python3 -m venv .venv && ")]
    assert [line.rsplit("/", 1)[1] for line in lines] == ["jaxconv maps", "pytest"]
