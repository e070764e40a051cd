"""The language server: diagnostics, formulas beside layers, accepted sizes, and corrections."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path

import jaxconv
from jaxconv.cli.check_process import Checker, CheckProcess, NothingChecked
from jaxconv.cli.checking import NotStarted, Request
from jaxconv.cli.editor.corrections import Edit, correction, split_lines
from jaxconv.cli.reports import Finding, LayerLine, Report
from jaxconv.cli.settings import project_folder

SEVERITIES = {
    "refuted": lsp.DiagnosticSeverity.Error,
    "tested": lsp.DiagnosticSeverity.Warning,
    "note": lsp.DiagnosticSeverity.Information,
}
NOT_STARTED = {True: lsp.DiagnosticSeverity.Error, False: lsp.DiagnosticSeverity.Information}
MOST_HINTS = 3  # different shapes at one line, as in a loop
# Helix does not ask for hints again when a check has ended, and gives up a request after 20 s.
HINT_WAITS, SECONDS_OF_A_WAIT = 150, 0.1


@dataclass
class CheckedFile:
    """A file that is open in the editor.

    Attributes:
        path: of the file.
        lines: as they were when the check began.
        process: of the latest check.
        ended: of the latest check that has ended.
        results: of that check, by the name of the function.
        problem: why there are none, and the fix.
    """

    path: str
    lines: list[str] = field(default_factory=list)
    process: CheckProcess | None = None
    ended: CheckProcess | None = None
    results: dict[str, Report | NotStarted] = field(default_factory=dict)
    problem: str = ""

    def reports(self) -> Iterator[Report]:
        """The results of proofs that could start."""
        return (one for one in self.results.values() if isinstance(one, Report))

    def layers(self) -> Iterator[LayerLine]:
        """The layers that stand in this file."""
        return (one for report in self.reports() for one in report.layers if one.path == self.path)

    def diagnostics(self) -> list[lsp.Diagnostic]:
        """What the editor marks in this file."""
        if self.problem:
            return [_diagnostic(self.lines, 1, lsp.DiagnosticSeverity.Error, self.problem)]
        found = []
        for name, result in self.results.items():
            function = name.rpartition(":")[2]
            if isinstance(result, NotStarted):
                level, said = NOT_STARTED[result.is_required], f"{function}: {result.message}"
                found.append(_diagnostic(self.lines, result.line, level, said))
                continue
            for one in result.findings:
                # A failure in another file is shown where the function is defined.
                line = one.line if one.path == self.path else result.line
                level, said = SEVERITIES[one.rule], f"{function}: {one.message}"
                found.append(_diagnostic(self.lines, line, level, said, one))
        return found


@dataclass
class Shown:
    """What the editor has got from a check: None until it has got any.

    Attributes:
        diagnostics: what it marks.
        layers: those whose shapes it shows.
    """

    diagnostics: list[lsp.Diagnostic] | None = None
    layers: list[LayerLine] | None = None


class ShapeServer(LanguageServer):
    """A language server that checks each file when it is opened or saved."""

    def __init__(self) -> None:
        super().__init__("jaxconv", jaxconv.__version__, lsp.TextDocumentSyncKind.Full)
        self.files: dict[str, CheckedFile] = {}
        self.checker = Checker()
        for name, handler in FEATURES.items():
            self.feature(name)(handler)

    def check(self, uri: str) -> None:
        """Check a file in a process of its own; a check of it that still runs is stopped.

        Args:
            uri: of the file.
        """
        path = to_fs_path(uri)
        if path is None:
            return
        file = self.files.setdefault(uri, CheckedFile(path))
        if file.process is not None:
            file.process.stop()
        request = Request((path,), cached=True, layers=True)
        process = self.checker.start(request, project_folder(Path(path).parent))
        file.process = process
        lines = self.lines(uri)
        job = threading.Thread(target=self._follow, args=(uri, file, process, lines), daemon=True)
        job.start()

    def lines(self, uri: str) -> list[str]:
        """The lines of a document, as they stand in the editor.

        Args:
            uri: of the file.
        """
        return split_lines(self.workspace.get_text_document(uri).source)

    @property
    def refreshes_hints(self) -> bool:
        """Whether the editor asks for hints again when it is told to."""
        workspace = self.client_capabilities.workspace
        hints = workspace.inlay_hint if workspace else None
        return bool(hints and hints.refresh_support)

    def _follow(self, uri: str, file: CheckedFile, process: CheckProcess, lines: list[str]) -> None:
        """Take over what a check reports, and publish it, unless a newer check has begun."""
        results: dict[str, Report | NotStarted] = {}
        problem = ""
        shown = Shown()
        for message in process.messages():
            if isinstance(message, Report | NotStarted):
                results[message.name] = message
            elif isinstance(message, NothingChecked):
                problem = message.message if message.has_shapes else ""
            if file.process is process:
                # Functions that this check has not reached yet keep what the last one said.
                file.lines, file.results, file.problem = lines, file.results | results, problem
                if results or problem:
                    self._publish(uri, file, shown)
        if file.process is process:
            file.results, file.ended = results, process
            self._publish(uri, file, shown)

    def _publish(self, uri: str, file: CheckedFile, shown: Shown) -> None:
        """Publish what a check has not published yet."""
        found, layers = file.diagnostics(), [*file.layers()]
        for one in found:
            one.range = self.workspace.position_codec.range_to_client_units(file.lines, one.range)
        if found != shown.diagnostics:
            shown.diagnostics = found
            self.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, found))
        if layers != shown.layers and self.refreshes_hints:
            shown.layers = layers
            self.workspace_inlay_hint_refresh(None)


def did_open(ls: ShapeServer, params: lsp.DidOpenTextDocumentParams) -> None:
    """Check a file that is opened.

    Args:
        ls: the server.
        params: the file.
    """
    ls.check(params.text_document.uri)


def did_save(ls: ShapeServer, params: lsp.DidSaveTextDocumentParams) -> None:
    """Check a file that is saved.

    Args:
        ls: the server.
        params: the file.
    """
    ls.check(params.text_document.uri)


def did_close(ls: ShapeServer, params: lsp.DidCloseTextDocumentParams) -> None:
    """Stop the check of a file that is closed.

    Args:
        ls: the server.
        params: the file.
    """
    file = ls.files.pop(params.text_document.uri, None)
    if file is not None and file.process is not None:
        process, file.process = file.process, None
        process.stop()


async def inlay_hint(ls: ShapeServer, params: lsp.InlayHintParams) -> list[lsp.InlayHint]:
    """Show the shapes of layers at the ends of their lines.

    An editor that does not ask again gets its answer when the text has been saved and checked.

    Args:
        ls: the server.
        params: the file, and the lines that are visible.

    Returns:
        The hints; none for a line that has changed since the check.
    """
    uri = params.text_document.uri
    for _ in range(0 if ls.refreshes_hints else HINT_WAITS):
        file = ls.files.get(uri)
        if file is None or (file.ended is file.process and file.lines == ls.lines(uri)):
            break
        await asyncio.sleep(SECONDS_OF_A_WAIT)
    if uri not in ls.files:
        return []
    file, lines = ls.files[uri], ls.lines(uri)
    shapes: dict[int, dict[str, None]] = {}
    for layer in file.layers():
        shapes.setdefault(layer.line - 1, {})[layer.output] = None
    hints = []
    for line, outputs in shapes.items():
        is_visible = params.range.start.line <= line <= params.range.end.line
        if is_visible and line < len(lines) and lines[line] in file.lines[line : line + 1]:
            shown = [*outputs][:MOST_HINTS] + ["..."] * (len(outputs) > MOST_HINTS)
            width = ls.workspace.position_codec.client_num_units(lines[line].rstrip())
            end = lsp.Position(line, width)
            hints.append(lsp.InlayHint(end, ", ".join(shown), padding_left=True))
    return hints


def hover(ls: ShapeServer, params: lsp.HoverParams) -> lsp.Hover | None:
    """Tell what is known about a function or a layer.

    Args:
        ls: the server.
        params: the file and the line.

    Returns:
        The text; None where nothing is known.
    """
    uri = params.text_document.uri
    if uri not in ls.files:
        return None
    file, lines, line = ls.files[uri], ls.lines(uri), params.position.line
    if lines[line : line + 1] != file.lines[line : line + 1]:
        return None
    texts = []
    for report in file.reports():
        body = next((i for i in range(report.line - 1, len(lines)) if "def " in lines[i]), -1)
        if report.path == file.path and report.line - 1 <= line <= body:
            texts.append(f"**{report.status}** ({report.name})\n```text\n{report.text}\n```")
            fields = [one.field for one in report.layers[-1:] if one.field]
            texts += [f"receptive field of {field}" for field in fields]
    for layer in dict.fromkeys(one for one in file.layers() if one.line - 1 == line):
        texts.append(f"`{layer.name}` returns `{layer.output}`")
        texts += [f"receptive field of {layer.field}"] if layer.field else []
    text = "\n\n".join(texts)
    return lsp.Hover(lsp.MarkupContent(lsp.MarkupKind.Markdown, text)) if text else None


def code_action(ls: ShapeServer, params: lsp.CodeActionParams) -> list[lsp.CodeAction]:
    """Offer corrections of the code.

    Args:
        ls: the server.
        params: the file, and the diagnostics at the cursor.

    Returns:
        The corrections.
    """
    document = ls.workspace.get_text_document(params.text_document.uri)
    lines = split_lines(document.source)

    def action(
        diagnostic: lsp.Diagnostic, title: str, edit: Edit, is_preferred: bool
    ) -> lsp.CodeAction:
        # Python counts columns in bytes, and the editor in units that it chose.
        before = (lines[edit.line].encode()[:at].decode() for at in (edit.start, edit.end))
        units = map(document.position_codec.client_num_units, before)
        start, end = (lsp.Position(edit.line, unit) for unit in units)
        change = lsp.TextEdit(lsp.Range(start, end), edit.text)
        changes = lsp.WorkspaceEdit({document.uri: [change]})
        kind = lsp.CodeActionKind.QuickFix
        return lsp.CodeAction(title, kind, [diagnostic], edit=changes, is_preferred=is_preferred)

    actions = []
    for diagnostic in params.context.diagnostics:
        if diagnostic.source != "jaxconv":
            continue
        data = diagnostic.data if isinstance(diagnostic.data, dict) else {}
        line = diagnostic.range.start.line
        if data.get("correction"):
            axis, expected, returned = data["correction"]
            found = correction(document.source, line, axis, expected, returned)
            if found is not None:
                title = f"Write {found.text} in place of {expected}"
                actions.append(action(diagnostic, title, found, True))
        if diagnostic.code in SEVERITIES and diagnostic.code != "note":
            end = len(lines[line].rstrip().encode())
            ignoring = Edit(line, end, end, f"  # jaxconv: ignore[{diagnostic.code}]")
            title = f"Ignore that this is {diagnostic.code}"
            actions.append(action(diagnostic, title, ignoring, False))
    return actions


FEATURES = {
    lsp.TEXT_DOCUMENT_DID_OPEN: did_open,
    lsp.TEXT_DOCUMENT_DID_SAVE: did_save,
    lsp.TEXT_DOCUMENT_DID_CLOSE: did_close,
    lsp.TEXT_DOCUMENT_INLAY_HINT: inlay_hint,
    lsp.TEXT_DOCUMENT_HOVER: hover,
    lsp.TEXT_DOCUMENT_CODE_ACTION: code_action,
}


def _diagnostic(
    lines: Sequence[str],
    line: int,
    level: lsp.DiagnosticSeverity,
    message: str,
    finding: Finding | None = None,
) -> lsp.Diagnostic:
    """Mark a line, from its first character to its last."""
    text = lines[line - 1] if 0 < line <= len(lines) else ""
    start = len(text) - len(text.lstrip())
    end = max(len(text.rstrip()), start)
    place = lsp.Range(lsp.Position(max(line - 1, 0), start), lsp.Position(max(line - 1, 0), end))
    rule, words = (finding.rule, list(finding.correction)) if finding else (None, [])
    data = {"correction": words}
    return lsp.Diagnostic(place, message, level, rule, source="jaxconv", data=data)
