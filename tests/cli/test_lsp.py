"""``jaxconv lsp``: what it needs is imported when it runs, and it ends when the editor does."""

import json

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


SESSION = """
import os, sys
from jaxconv.cli.main import main
read, write = os.pipe()
os.write(write, {})
os.dup2(read, 0)
sys.exit(main(["lsp"]))
"""


def test_it_ends_without_an_error_when_the_editor_does():
    capabilities = {"processId": None, "rootUri": None, "capabilities": {}}
    messages = [
        {"id": 1, "method": "initialize", "params": capabilities},
        {"id": 2, "method": "shutdown"},
        {"method": "exit"},
    ]
    texts = [json.dumps({"jsonrpc": "2.0"} | message) for message in messages]
    said = "".join(f"Content-Length: {len(text)}\r\n\r\n{text}" for text in texts)
    run = forked("-c", SESSION.format(said.encode()))
    assert (run.returncode, run.stderr) == (0, "")
    assert '"id": 2, "jsonrpc": "2.0", "result": null' in run.stdout
