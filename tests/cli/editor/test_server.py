"""The language server, spoken to as an editor does: one real process, over its pipes."""

import asyncio
import sys
import time
from pathlib import Path

import pytest
from lsprotocol import types as lsp
from pygls.lsp.client import LanguageClient

NETS = """import jaxconv as jc
from jaxtyping import Array, Float


def halves(x: Float[Array, "b h"]) -> Float[Array, "b h//2"]:
    return x[:, ::2]


@jc.contract("b h w 3 -> b h//2 w//2 3", where="h >= 2, w >= 2")
def pooled(x):
    return jc.max_pool(x)
"""
SECONDS = 100  # until an answer must have come, also on a busy machine


async def soon(is_so):
    end = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.02)


class Editor(LanguageClient):
    """An editor that remembers what it was told."""

    def __init__(self):
        super().__init__("editor", "1")
        self.said = {}
        hear = self.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        hear(lambda params: self.said.update({params.uri: params.diagnostics}))
        self.feature(lsp.WORKSPACE_INLAY_HINT_REFRESH)(lambda _: None)

    async def start(self, folder):
        await self.start_io(sys.executable, "-m", "jaxconv", "lsp")
        hints = lsp.InlayHintWorkspaceClientCapabilities(refresh_support=True)
        workspace = lsp.WorkspaceClientCapabilities(inlay_hint=hints)
        able = lsp.ClientCapabilities(workspace=workspace)
        await self.initialize_async(lsp.InitializeParams(able, root_uri=folder.as_uri()))
        self.initialized(lsp.InitializedParams())

    def open(self, path):
        document = lsp.TextDocumentItem(path.as_uri(), "python", 1, path.read_text())
        self.text_document_did_open(lsp.DidOpenTextDocumentParams(document))

    def save(self, path, text):
        path.write_text(text)
        changed = lsp.VersionedTextDocumentIdentifier(2, path.as_uri())
        whole = [lsp.TextDocumentContentChangeWholeDocument(text)]
        self.text_document_did_change(lsp.DidChangeTextDocumentParams(changed, whole))
        document = lsp.TextDocumentIdentifier(path.as_uri())
        self.text_document_did_save(lsp.DidSaveTextDocumentParams(document))

    async def until(self, path, is_so):
        await soon(lambda: is_so(self.said.get(path.as_uri())))
        return self.said[path.as_uri()]

    async def hints(self, path, wanted):
        document = lsp.TextDocumentIdentifier(path.as_uri())
        whole = lsp.Range(lsp.Position(0, 0), lsp.Position(999, 0))
        end = time.monotonic() + SECONDS
        while True:
            hints = await self.text_document_inlay_hint_async(lsp.InlayHintParams(document, whole))
            if len(hints) == wanted:
                return hints
            assert time.monotonic() < end, hints
            await asyncio.sleep(0.02)

    async def hover(self, path, line):
        document = lsp.TextDocumentIdentifier(path.as_uri())
        place = lsp.HoverParams(document, lsp.Position(line, 6))
        found = await self.text_document_hover_async(place)
        return found and found.contents.value

    async def actions(self, path, diagnostic):
        context = lsp.CodeActionContext([diagnostic])
        document = lsp.TextDocumentIdentifier(path.as_uri())
        params = lsp.CodeActionParams(document, diagnostic.range, context)
        return await self.text_document_code_action_async(params)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edited")
    (folder / "pyproject.toml").write_text("")
    return folder


@pytest.fixture(scope="module")
def run(folder):
    """Run a session of the one editor, which starts a server and stops it at the end."""
    editor = Editor()

    async def stop():
        await editor.shutdown_async(None)
        editor.exit(None)
        await editor.stop()

    with asyncio.Runner() as runner:
        runner.run(editor.start(folder))
        yield lambda session: runner.run(session(editor))
        runner.run(stop())


@pytest.fixture
def path(folder, request):
    """A file of its own for each test."""
    path = folder / f"{request.node.name}.py"
    path.write_text(NETS)
    return path


def test_an_editor_shows_what_is_wrong_and_corrects_it(path, run):
    async def session(editor):
        editor.open(path)
        wrong, *notes = await editor.until(path, lambda said: said and len(said) == 2)
        assert (wrong.severity, wrong.code) == (lsp.DiagnosticSeverity.Error, "refuted")
        assert wrong.range.start.line == 4
        assert wrong.message.startswith(f"halves: at {path.name}:5: for h = 1 the function")
        assert [(note.code, note.range.start.line) for note in notes] == [("note", 8)]

        (hint,) = await editor.hints(path, 1)
        assert (hint.label, hint.position.line) == ("  (b, h//2, w//2, 3)", 10)

        hovered = await editor.hover(path, 9)
        assert f"**proven** ({path.stem}:pooled)" in hovered
        assert "accepts h >= 2, w >= 2" in hovered
        assert "receptive field of " in hovered
        assert "2 x 2 pixels, stride 2 x 2" in await editor.hover(path, 10)
        assert await editor.hover(path, 0) is None

        fix, ignore = await editor.actions(path, wrong)
        assert fix.title == "Write (h+1)//2 in place of h//2"
        (edit,) = fix.edit.changes[path.as_uri()]
        lines = NETS.splitlines(keepends=True)
        start, end = edit.range.start.character, edit.range.end.character
        lines[4] = lines[4][:start] + edit.new_text + lines[4][end:]
        assert ignore.title == "Ignore that this is refuted"
        editor.save(path, "".join(lines))
        await editor.until(path, lambda said: [one.code for one in said] == ["note"])

    run(session)


def test_an_editor_shows_why_nothing_is_checked(path, run):
    async def session(editor):
        editor.open(path)
        await editor.until(path, bool)
        editor.save(path, "def f(x:\n")
        await editor.until(path, lambda said: "SyntaxError" in said[0].message)
        editor.save(path, "import jax\n")
        await editor.until(path, lambda said: not said)  # it has nothing to check
        editor.save(path, NETS + "\nimport os; os._exit(7)\n")
        said = await editor.until(path, bool)
        assert "ended with status 7" in said[0].message

    run(session)


LOOP = """

@jc.contract("b -> b")
def slow(x):
    import os, pathlib, time
    pathlib.Path(__file__).with_name("pid").write_text(f"{os.getpid()}\\n")
    time.sleep(1000)
    return x
"""


def test_a_save_stops_a_check_that_still_runs(path, run):
    async def session(editor):
        editor.open(path)
        await editor.until(path, bool)
        editor.save(path, LOOP.replace("\n\n@", "import jaxconv as jc\n@"))
        pid = path.with_name("pid")
        await soon(lambda: pid.exists() and pid.read_text().endswith("\n"))
        process = Path(f"/proc/{int(pid.read_text())}")
        assert process.exists()
        editor.save(path, NETS.replace('b h//2"]', 'b (h+1)//2"]'))
        await editor.until(path, lambda said: [one.code for one in said] == ["note"])
        await soon(lambda: not process.exists())

    run(session)
