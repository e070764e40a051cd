"""The language server, spoken to as editors do: real processes, over their pipes."""

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
        self.said, self.history = {}, []

        def hear(params):
            self.said[params.uri] = params.diagnostics
            self.history.append(params.diagnostics)

        self.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)(hear)
        self.feature(lsp.WORKSPACE_INLAY_HINT_REFRESH)(lambda _: None)

    async def start(self, folder, encodings=None, *, refreshes=True):
        await self.start_io(sys.executable, "-m", "jaxconv", "lsp")
        hints = lsp.InlayHintWorkspaceClientCapabilities(refresh_support=refreshes)
        workspace = lsp.WorkspaceClientCapabilities(inlay_hint=hints)
        general = lsp.GeneralClientCapabilities(position_encodings=encodings)
        able = lsp.ClientCapabilities(workspace=workspace, general=general)
        await self.initialize_async(lsp.InitializeParams(able, root_uri=folder.as_uri()))
        self.initialized(lsp.InitializedParams())

    def open(self, path):
        document = lsp.TextDocumentItem(path.as_uri(), "python", 1, path.read_text())
        self.text_document_did_open(lsp.DidOpenTextDocumentParams(document))

    def change(self, path, text):
        changed = lsp.VersionedTextDocumentIdentifier(2, path.as_uri())
        whole = [lsp.TextDocumentContentChangeWholeDocument(text)]
        self.text_document_did_change(lsp.DidChangeTextDocumentParams(changed, whole))

    def save(self, path, text):
        path.write_text(text)
        self.change(path, text)
        document = lsp.TextDocumentIdentifier(path.as_uri())
        self.text_document_did_save(lsp.DidSaveTextDocumentParams(document))

    async def until(self, path, is_so):
        await soon(lambda: is_so(self.said.get(path.as_uri())))
        return self.said[path.as_uri()]

    def ask_for_hints(self, path):
        document = lsp.TextDocumentIdentifier(path.as_uri())
        whole = lsp.Range(lsp.Position(0, 0), lsp.Position(999, 0))
        return self.text_document_inlay_hint_async(lsp.InlayHintParams(document, whole))

    async def hints(self, path, wanted):
        end = time.monotonic() + SECONDS
        while True:
            hints = await self.ask_for_hints(path)
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


def sessions(folder, *preferences, **abilities):
    """Run sessions of one editor, which starts a server and stops it at the end."""
    editor = Editor()

    async def stop():
        await editor.shutdown_async(None)
        editor.exit(None)
        await editor.stop()

    with asyncio.Runner() as runner:
        runner.run(editor.start(folder, *preferences, **abilities))
        yield lambda session: runner.run(session(editor))
        runner.run(stop())


@pytest.fixture(scope="module")
def run(folder):
    yield from sessions(folder)


@pytest.fixture(scope="module")
def run_in_helix(folder):
    """Run sessions of an editor that can do what Helix can."""
    yield from sessions(folder, ["utf-8", "utf-16"], refreshes=False)


@pytest.fixture
def path(folder, request):
    """A file of its own for each test."""
    path = folder / f"{request.node.originalname}.py"
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
        assert (hint.label, hint.position.line) == ("(b, h//2, w//2, 3)", 10)

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


# A form feed does not end a line. "f" and "x" are letters outside the first plane of Unicode, which
# Python reads as the ordinary ones.
UNUSUAL = NETS.replace("\n\n\ndef halves", "\n\f\n\ndef \N{MATHEMATICAL ITALIC SMALL F}").replace(
    "jc.max_pool(x", "jc.max_pool(\N{MATHEMATICAL ITALIC SMALL X}"
)


@pytest.mark.slow
@pytest.mark.parametrize(("editor", "codec"), [("run", "utf-16-le"), ("run_in_helix", "utf-8")])
def test_columns_are_in_the_units_that_the_editor_prefers(path, editor, codec, request):
    def units(text):
        return len(text.encode(codec)) // len("f".encode(codec))

    async def session(editor):
        editor.open(path)
        wrong, _ = await editor.until(path, lambda said: said and len(said) == 2)
        _, _, _, _, line, *_, pooled, _ = UNUSUAL.split("\n")
        end = lsp.Position(4, units(line))
        assert wrong.range == lsp.Range(lsp.Position(4, 0), end)
        fix, ignore = await editor.actions(path, wrong)
        (edit,) = fix.edit.changes[path.as_uri()]
        before = line.removesuffix('h//2"]:')
        begin = lsp.Position(4, units(before))
        assert edit.range == lsp.Range(begin, lsp.Position(4, units(before + "h//2")))
        (edit,) = ignore.edit.changes[path.as_uri()]
        assert edit.range == lsp.Range(end, end)
        (hint,) = await editor.hints(path, 1)
        assert hint.position == lsp.Position(10, units(pooled))

    path.write_text(UNUSUAL)
    request.getfixturevalue(editor)(session)


def test_an_editor_that_asks_once_for_hints_gets_those_of_the_saved_text(path, run_in_helix):
    async def session(editor):
        editor.open(path)
        await editor.until(path, lambda said: said and len(said) == 2)
        text = NETS.replace("max_pool(x)", "max_pool(x, 3)").replace("b h//2 w//2", "b h//3 w//3")
        editor.change(path, text)
        asked = asyncio.ensure_future(editor.ask_for_hints(path))
        await asyncio.sleep(0.3)
        assert not asked.done()
        editor.save(path, text)
        (hint,) = await asked
        assert (hint.label, hint.position.line) == ("(b, h//3, w//3, 3)", 10)

    run_in_helix(session)


def test_a_check_publishes_the_same_diagnostics_once(path, run_in_helix):
    async def session(editor):
        editor.history.clear()
        editor.open(path)
        assert await editor.ask_for_hints(path)  # it gets the answer when the check has ended
        assert [len(said) for said in editor.history] == [1, 2]
        editor.history.clear()
        editor.save(path, NETS + "\n")
        assert await editor.ask_for_hints(path)
        assert [len(said) for said in editor.history] == [2]

    run_in_helix(session)


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


@pytest.mark.slow
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
