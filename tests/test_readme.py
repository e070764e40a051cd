"""The README's code runs, and prints what it says; its picture is there."""

import contextlib
import io
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def test_the_code_prints_what_the_readme_says():
    blocks = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == TEXT.count("```python") == 3
    names = {}
    for code, want in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), names)
        assert printed.getvalue() == want


def test_the_two_lines_are_there_once_each():
    lines = [line for line in TEXT.splitlines() if line.startswith("python3 -m venv .venv && ")]
    assert [line.rsplit("/", 1)[1] for line in lines] == ["jaxconv maps", "pytest"]


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert len(links) >= 2
    for link in links:
        assert (ROOT / link).is_file(), link
