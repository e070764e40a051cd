"""Reports: what comments in the code ask to ignore."""

import pytest

from jaxconv.cli.main import main
from jaxconv.cli.reports import ignored_rules

MODULE = """
from jaxtyping import Array, Float


def cut(x: Float[Array, "h"]) -> Float[Array, "2 n"]:{definition}
    return x.reshape(2, -1){line}


def unclear(x: Float[Array, "b h"]) -> Float[Array, "b h"]:{definition}
    for _ in range(int(x.shape[1] ** 0.3)):
        x = x + 1
    return x


def fine(x: Float[Array, "b h"]) -> Float[Array, "b h"]:
    return x
"""


@pytest.mark.parametrize(
    ("definition", "line", "status", "left"),
    [
        ("", "", 1, {"cut", "unclear", "fine"}),
        ("  # jaxconv: ignore", "", 0, {"fine"}),
        ("  # jaxconv: ignore[refuted, tested]", "", 0, {"fine"}),
        ("  # jaxconv: ignore[tested]", "", 1, {"cut", "fine"}),
        ("  # jaxconv:ignore[refuted]", "", 1, {"unclear", "fine"}),
        ("", "  # jaxconv: ignore", 1, {"unclear", "fine"}),
        ("", "  # jaxconv: ignore[tested]", 1, {"cut", "unclear", "fine"}),
        ("  # jaxconv: ignored", "", 1, {"cut", "unclear", "fine"}),
    ],
)
def test_comments_leave_out(definition, line, status, left, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"marked{abs(hash((definition, line)))}"
    (tmp_path / f"{name}.py").write_text(MODULE.format(definition=definition, line=line))
    assert main(["check", f"{name}.py"]) == status
    out = capsys.readouterr().out
    assert {one for one in ("cut", "unclear", "fine") if f"{name}:{one}: " in out} == left
    ignored = 3 - len(left)
    assert (f"{ignored} function{'s' * (ignored != 1)} ignored" in out) == (ignored > 0)


def test_a_comment_names_rules(tmp_path):
    path = tmp_path / "code.py"
    path.write_text("a  # jaxconv: ignore[tested]\nb\nc  # jaxconv: ignore\n")
    assert ignored_rules(str(path), 1, 2) == {"tested"}
    assert ignored_rules(str(path), 2, 3) == set()
    assert ignored_rules(str(path), 1, 4) == {"tested", "refuted", "note"}
