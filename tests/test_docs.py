"""The documents: their code, their links, the names they explain, and where the site shows them."""

import re
import unicodedata

import pytest
import yaml
from PIL import Image

import jaxconv as jc
from jaxconv.cli.command import commands
from tests.support.documents import ROOT, Page, pages, unlike
from tests.test_architecture import MAY_IMPORT

DOCS = ROOT / "docs"
ON_SITE = [ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]  # beside docs/
TEXTS = [ROOT / "README.md", *ON_SITE, *sorted(DOCS.rglob("*.md"))]
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())


def id_of(path):
    return str(path.relative_to(ROOT))


def without_code(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path):
    """Those that GitHub and MkDocs give the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", without_code(path.read_text()), re.MULTILINE)
    plain = [unicodedata.normalize("NFKD", re.sub("[`*]", "", text)) for text in headings]
    return {re.sub(r"[^\w\s-]", "", text).strip().lower().replace(" ", "-") for text in plain}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page,
            id=id_of(page.path),
            marks=[pytest.mark.slow] if page.fetches or page.path.name == "recipes.md" else [],
        )
        for page in pages()
    ],
)
def test_the_code_of_a_page_does_what_the_page_says(page, request):
    if page.fetches:
        request.getfixturevalue("published")
    assert not [*page.problems()]


def test_pages_that_fetch_weights_are_known():
    found = [id_of(page.path) for page in pages() if page.fetches]
    assert found == ["docs/feature-maps.md"]


PAGE = """
```python
from PIL import Image
number = 6
print(number * 7)
```

```text
42
```

![a picture](pictures/red.png)

```python
Image.new("RGB", (8, 4), (250, number, 0)).save("pictures/red.png")
```
"""
WRONG = {
    "another number": (("42", "43"), "page.md:3 prints otherwise"),
    "a line that is not printed": (("42\n", "42\n42\n"), "-42"),
    "no output where some is": (("```text\n42\n```", ""), "+42"),
    "another colour": (("(250, number, 0)", "(0, 0, 250)"), "differs from what the code makes"),
    "another size": (("(8, 4)", "(4, 8)"), "is (8, 4), but the code makes (4, 8)"),
    "a picture of another name": (("![a picture](pictures/red", "![a](pictures/blue"), "not made"),
    "a picture that is not shown": (("![a picture](pictures/red.png)", ""), "but not shown"),
}


@pytest.fixture
def page(tmp_path):
    (tmp_path / "page.md").write_text(PAGE)
    page = Page(tmp_path / "page.md")
    page.write()
    return page


def test_a_page_that_is_right_has_no_problems_and_writing_keeps_it(page):
    assert page.text == PAGE
    assert not [*page.problems()]


@pytest.mark.parametrize(("change", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_page_is_reported(page, change, said):
    page.path.write_text(PAGE.replace(*change))
    assert page.text != PAGE
    assert said in "\n".join(page.problems())


def test_writing_fixes_the_printed_output(page):
    page.path.write_text(PAGE.replace("42\n", "41\n"))
    page.write()
    assert page.text == PAGE


def test_writing_ends_where_the_code_names_its_lines(page):
    line = "```python\nimport sys\nprint(sys._getframe().f_lineno)\n```\n"
    page.path.write_text(PAGE.replace("\n```text\n42\n```\n", "") + line)
    page.write()
    assert page.text == PAGE + line + "\n```text\n19\n```\n"
    assert not [*page.problems()]


def test_pictures_may_differ_by_what_no_reader_sees(tmp_path):
    for name, red in {"one": 100, "near": 104, "far": 110}.items():
        Image.new("RGB", (8, 4), (red, 0, 0)).save(tmp_path / f"{name}.png")
    assert unlike(tmp_path / "one.png", tmp_path / "near.png") == ""
    assert "3.3 of 255" in unlike(tmp_path / "one.png", tmp_path / "far.png")
    assert unlike(tmp_path / "one.png", tmp_path / "none.png") == "is not there"


def test_pictures_are_small():
    sizes = [path.stat().st_size for path in (DOCS / "pictures").iterdir()]
    assert len(sizes) >= 4
    assert max(sizes) < 200_000
    assert sum(sizes) < 1_000_000


@pytest.mark.parametrize("path", TEXTS, ids=id_of)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\((?![a-z]+:)([^)\s]+)\)", without_code(path.read_text())):
        place, _, anchor = link.partition("#")
        target = path.parent / place if place else path
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_the_site_shows_each_page_once():
    def leaves(entry):
        if isinstance(entry, str):
            yield entry
        else:
            for inner in entry.values() if isinstance(entry, dict) else entry:
                yield from leaves(inner)

    shown = sorted(leaves(SITE["nav"]))
    own = [str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")]
    assert shown == sorted([*own, *(path.name for path in ON_SITE)])


def test_the_architecture_page_lists_the_subpackages_and_what_they_may_import():
    rows = re.findall(
        r"^\| `([\w.]+)` \| .+ \|(.*)\|$", (DOCS / "architecture.md").read_text(), re.M
    )
    subpackages = {name for name in MAY_IMPORT if not name.startswith("__")}
    table = {name.removesuffix(".py"): set(re.findall(r"`(\w+)`", cell)) for name, cell in rows}
    basics = {"errors", "display", "source", "compat"}
    assert {name: table.get(name) for name in subpackages} == {
        name: MAY_IMPORT[name] - basics for name in subpackages
    }


def test_the_site_explains_each_public_name_once():
    texts = [path.read_text() for path in (DOCS / "api").glob("*.md")]
    names = re.findall(r"^::: jaxconv\.(\w+)$", "\n".join(texts), re.MULTILINE)
    assert sorted(names) == sorted(jc.__all__), (
        "a page of docs/api/ must have a line ::: jaxconv.NAME for each public name"
    )


def test_the_site_explains_each_command_once():
    shown = re.findall(
        r"^\{\{ command: (\w+) \}\}$", (DOCS / "api/command-line.md").read_text(), re.M
    )
    assert sorted(shown) == sorted(commands()), (
        "docs/api/command-line.md must have a heading and a line {{ command: NAME }} for each "
        "command, which the site replaces with the text of --help"
    )


def test_the_site_asks_no_other_host():
    assert SITE["theme"]["font"] is False
    assert "social" not in str(SITE["plugins"])
