"""The language server in a real editor, without a screen: Neovim with the settings of the docs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs" / "editor.md"
NETS = """import jaxconv as jc
from jaxtyping import Array, Float


def hälften(x: Float[Array, "b h"]) -> Float[Array, "b h//2"]:
    return x[:, ::2]
"""
SESSION = """
local clients = vim.lsp.get_clients or vim.lsp.get_active_clients
local shown = {}
local publish = vim.lsp.handlers["textDocument/publishDiagnostics"]
vim.lsp.handlers["textDocument/publishDiagnostics"] = function(err, result, ...)
  shown = result.diagnostics
  return publish(err, result, ...)
end
local function wait(count)
  vim.wait(120000, function()
    return #vim.diagnostic.get(0) == count and #clients() == 1
  end, 50)
  return vim.diagnostic.get(0)
end
local before = wait(1)
local start = { line = 4, character = 0 }
local asked = {
  textDocument = vim.lsp.util.make_text_document_params(0),
  range = { start = start, ["end"] = start },
  context = { diagnostics = shown },
}
local answers = vim.lsp.buf_request_sync(0, "textDocument/codeAction", asked, 20000)
local action = ({ next(answers) })[2].result[1]
vim.lsp.util.apply_workspace_edit(action.edit, clients()[1].offset_encoding)
vim.cmd("write")
local after = wait(0)
local found = { before = before, title = action.title, after = after }
io.stdout:write("found: " .. vim.json.encode(found))
vim.cmd("qall!")
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvim") is None, reason="needs Neovim, as in Debian's neovim")
def test_neovim_shows_a_mistake_and_corrects_it(tmp_path):
    version = subprocess.run(["nvim", "--version"], capture_output=True, text=True, check=True)
    major, minor = map(int, re.findall(r"\d+", version.stdout)[:2])
    settings, for_older_versions = re.findall("```lua\n(.*?)```", DOCS.read_text(), re.DOTALL)
    is_old = (major, minor) < (0, 11)
    (tmp_path / "init.lua").write_text(for_older_versions if is_old else settings)
    (tmp_path / "session.lua").write_text(SESSION)
    (tmp_path / "pyproject.toml").write_text("")
    path = tmp_path / "nets_in_neovim.py"
    path.write_text(NETS)
    server = tmp_path / "bin" / "jaxconv"
    server.parent.mkdir()
    server.write_text(f'#!/bin/sh\nexec {sys.executable} -m jaxconv "$@"\n')
    server.chmod(0o755)
    folders = {name: str(tmp_path) for name in ("HOME", "XDG_STATE_HOME", "XDG_DATA_HOME")}
    search = os.pathsep.join([str(server.parent), os.environ["PATH"]])
    env = os.environ | folders | {"PATH": search, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["nvim", "--headless", "-u", "init.lua", path.name, "-c", "luafile session.lua"]
    run = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=400
    )
    found = json.loads(run.stdout.partition("found: ")[2] or "{}")
    assert found, run.stderr
    (wrong,) = found["before"]
    assert (wrong["lnum"], wrong["code"]) == (4, "refuted")
    assert "for h = 1 the function returns 1 row" in wrong["message"]
    assert found["title"] == "Write (h+1)//2 in place of h//2"
    assert not found["after"]
    assert 'Float[Array, "b (h+1)//2"]' in path.read_text()
