"""The formats of ``jaxconv check``: for people, for programs, and for services that review code."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jaxconv
from jaxconv.cli.reports import RULES, Finding, Report

# What GitHub's runner decodes; "%" must be the first that is replaced.
IN_MESSAGES = {"%": "%25", "\r": "%0D", "\n": "%0A"}
IN_PROPERTIES = IN_MESSAGES | {":": "%3A", ",": "%2C"}
GITHUB_KINDS = {"refuted": "error", "tested": "warning", "note": "notice"}
SARIF_LEVELS = {"refuted": "error", "tested": "warning", "note": "note"}
SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def text(report: Report) -> str:
    """Write a report for people.

    Args:
        report: the report.
    """
    head, _, rest = report.text.partition("\n")  # what is accepted, then why the rest fails
    return "\n".join(
        filter(None, (f"{report.name}: {head}", report.excluding and f"  {report.excluding}", rest))
    )


def github(report: Report) -> str:
    """Write a report as workflow commands, which GitHub shows next to lines of a pull request.

    Args:
        report: the report.

    Returns:
        A line for each finding; empty where all is proven without a note.
    """

    def command(finding: Finding) -> str:
        location = (
            {"file": _shown_path(finding.path), "line": str(finding.line)} if finding.path else {}
        )
        properties = location | {"title": report.name}
        listed = ",".join(f"{key}={_escape(v, IN_PROPERTIES)}" for key, v in properties.items())
        kind = GITHUB_KINDS[finding.rule]
        return f"::{kind} {listed}::{_escape(finding.message, IN_MESSAGES)}"

    return "\n".join(map(command, report.findings))


def reports_as_json(reports: Sequence[Report]) -> str:
    """Write reports as a JSON list of verdicts.

    Args:
        reports: the reports.
    """
    return json.dumps([{"name": one.name, **one.data} for one in reports], indent=2)


def sarif(reports: Sequence[Report]) -> str:
    """Write reports as SARIF 2.1.0, which services that review code read.

    Args:
        reports: the reports.
    """

    def result(report: Report, finding: Finding) -> dict[str, Any]:
        logical = [{"fullyQualifiedName": report.name, "kind": "function"}]
        location: dict[str, Any] = {"logicalLocations": logical}
        if finding.path:
            shown = _shown_path(finding.path)
            absolute = os.path.isabs(shown)
            artifact = {"uri": Path(shown).as_uri() if absolute else Path(shown).as_posix()}
            location["physicalLocation"] = {
                "artifactLocation": artifact | ({} if absolute else {"uriBaseId": "%SRCROOT%"}),
                "region": {"startLine": finding.line},
            }
        return {
            "ruleId": finding.rule,
            "level": SARIF_LEVELS[finding.rule],
            "message": {"text": f"{report.name}: {finding.message}"},
            "locations": [location],
        }

    rules = [{"id": rule, "shortDescription": {"text": said}} for rule, said in RULES.items()]
    driver = {"name": "jaxconv", "version": jaxconv.__version__, "rules": rules}
    results = [result(one, finding) for one in reports for finding in one.findings]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def markdown(reports: Sequence[Report]) -> str:
    """Write reports as a table in Markdown, as for the summary of a job.

    Args:
        reports: the reports.
    """

    def cell(text: str) -> str:
        return text.replace("|", "\\|").replace("\n", " ")

    def first(report: Report) -> str:
        reasons = [one.message for one in report.findings if one.rule == report.status]
        return (reasons or [f"accepts {report.data['accepts']}"])[0].partition("\n")[0]

    rows = [f"| `{cell(one.name)}` | {one.status} | {cell(first(one))} |" for one in reports]
    return "\n".join(["| function | verdict | |", "| --- | --- | --- |", *rows, ""])


# Lines are printed as soon as a proof ends; a document when all have ended.
LINE_FORMATS: dict[str, Callable[[Report], str]] = {"text": text, "github": github}
DOCUMENTS: dict[str, Callable[[Sequence[Report]], str]] = {"json": reports_as_json, "sarif": sarif}


def _shown_path(path: str) -> str:
    """A path relative to GitHub's checkout or the working folder, where the file lies in it."""
    full = Path(path).resolve()
    for folder in (os.environ.get("GITHUB_WORKSPACE", ""), ""):
        root = Path(folder).resolve()
        if full.is_relative_to(root):
            return full.relative_to(root).as_posix()
    return full.as_posix()


def _escape(message: str, table: Mapping[str, str]) -> str:
    for character, code in table.items():
        message = message.replace(character, code)
    return message
