"""``jaxconv lsp``: what it needs is imported when it runs."""

from tests.support.processes import forked

WITHOUT_PYGLS = """
import sys
sys.modules.update({"pygls": None, "lsprotocol": None})
from jaxconv.cli.main import main
print(main(["shape", "8x8x3", "--filters", "4", "--kernel", "3x3"]), main(["lsp"]))
"""


def test_other_commands_do_not_need_what_it_needs():
    run = forked("-c", WITHOUT_PYGLS)
    assert run.stdout.endswith("0 2\n")
    assert "is not installed.\n  Fix: python -m pip install 'jaxconv[editor]'" in run.stderr
