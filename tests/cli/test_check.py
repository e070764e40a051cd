"""``jaxconv check``: verdicts, their forms, and the exit status."""

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import jaxconv as jc
from jaxconv.cli.loader import resolve
from jaxconv.cli.main import main
from tests.support.processes import UNREAD, forked

ROOT = Path(__file__).parents[2]


def test_a_refuted_claim_has_status_1(project, capsys):
    assert main(["check", "nets:padded"]) == 1
    assert capsys.readouterr().out == (
        "nets:padded: refuted: accepts no size\n"
        "  fails at nets.py:29: for w = 1 the function returns 3 columns, but the contract says 2 "
        "(axis 2 is w + 2, not w+1).\n"
        "    for every size; first for b = 1, h = 1, w = 1, c = 1\n"
        "    Fix: fix the function, or change the contract to what it returns.\n"
    )


def test_what_could_only_be_tested_has_status_1(project, capsys):
    assert main(["check", "nets:number", "b"]) == 1
    assert capsys.readouterr().out.startswith("nets:number: tested: accepts ")


LINEN = """
import flax.linen as nn
import jaxconv as jc


class Net(nn.Module):
    @jc.contract("b h w 3 -> b h w 9")
    @nn.compact
    def __call__(self, x):
        return nn.Conv(8, (3, 3))(x)


@jc.contract("b -> b")
def fine(x):
    return x
"""


def test_a_contract_on_a_linen_module_is_not_passed_over(tmp_path, monkeypatch, capsys):
    (tmp_path / "linen_net.py").write_text(LINEN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert main(["check", "linen_net.py"]) == 2
    said = capsys.readouterr()
    assert (
        "Net is a Linen module, which does not store its parameters.\n  Fix: put the contract"
        in said.err
    )
    assert "linen_net:fine: proven" in said.out  # the others are proven all the same
    assert "1 of 2 proven; 1 could not start." in said.out


def test_where_narrows_the_question(project, capsys):
    assert main(["check", "nets:number", "b", "--where", "b <= 2"]) == 0
    assert main(["check", "nets:Net", "b h w 3 -> b h h 8"]) == 1
    assert main(["check", "nets:Net", "b h w 3 -> b h h 8", "--where", "w == h"]) == 0
    assert main(["check", "nets:Net", "--where", "h >= 9"]) == 0
    assert "accepts h >= 9" in capsys.readouterr().out


def test_json_is_a_list_of_verdicts(project, capsys):
    assert main(["check", "nets.py", "--json"]) == 1
    said = capsys.readouterr()
    wanted = [
        {"name": "nets:Net.__call__", **jc.check(resolve("nets:Net")).to_json()},
        {"name": "nets:padded", **jc.check(resolve("nets:padded")).to_json()},
    ]
    found = json.loads(said.out)
    for entry in (*found, *wanted):
        assert entry.pop("runs") >= 1  # what JAX has cached is not asked for again
    assert found == wanted
    assert said.err == ""


def test_what_the_users_code_prints_stays_out_of_the_answer(project, capsys):
    assert main(["check", "nets:loud", "b", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)[0]["status"] == "proven"
    assert set(said.err.splitlines()) == {"tracing"}


def test_progress_goes_to_a_terminal(project, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["check", "nets.py", "--json"]) == 1
    assert capsys.readouterr().err == "nets:Net.__call__: proven\nnets:padded: refuted\n"


def test_github_gets_an_annotation_for_each_failure(project, capsys):
    assert main(["check", "nets.py", "--format", "github"]) == 1
    assert capsys.readouterr().out == (
        "::error file=nets.py,line=29,title=nets%3Apadded::at nets.py:29: for w = 1 the function "
        "returns 3 columns, but the contract says 2 (axis 2 is w + 2, not w+1).%0A"
        "    for every size; first for b = 1, h = 1, w = 1, c = 1%0A"
        "    Fix: fix the function, or change the contract to what it returns.\n"
        "1 of 2 proven; 8 functions without shapes.\n"
    )


def test_github_gets_a_table_in_the_summary_of_the_job(project, capsys, monkeypatch):
    path = project / "summary.md"
    path.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    assert main(["check", "nets.py", "--format", "github"]) == 1
    before, head, _, *rows = path.read_text().splitlines()
    assert (before, head) == ("before", "| function | verdict | |")
    assert rows[0].startswith("| `nets:Net.__call__` | proven | accepts ")
    assert rows[1].startswith("| `nets:padded` | refuted | at nets.py:29: for w = 1 the function")
    assert main(["check", "nets.py"]) == 1
    assert path.read_text().count("padded") == 1


def test_several_files_are_one_run(project, capsys):
    (project / "more.py").write_text(MORE)
    (project / "none.py").write_text("")
    assert main(["check", "nets.py", "more.py", "none.py"]) == 1
    said = capsys.readouterr()
    assert "more:same: proven" in said.out
    assert said.out.endswith("2 of 3 proven; 8 functions without shapes.\n")
    assert main(["check", "nets.py", "more.py", "b"]) == 2
    assert "'b' is a spec, but several files" in capsys.readouterr().err
    (project / "void.py").write_text("")
    assert main(["check", "none.py", "void.py"]) == 2
    assert "none.py, void.py have no contract" in capsys.readouterr().err


MORE = """
import jaxconv as jc


@jc.contract("b -> b")
def same(x):
    return x
"""


def test_github_gets_a_warning_for_what_is_tested_and_notices(project, capsys):
    assert main(["check", "nets:number", "b", "--format", "github"]) == 1
    lines = capsys.readouterr().out.splitlines()
    place = "file=nets.py,line=44,title=nets%3Anumber"
    start = f"::warning {place}::tested, not proven; not known for "
    assert lines[0].startswith(start)
    assert lines[1:] == [
        f"::notice {place}::not decided: the code needs (b*b*b) %25 1009 as a number, "
        "at nets.py:45",
        f"::notice {place}::tried 11 sizes one by one",
        "0 of 1 proven.",
    ]


def test_github_gets_no_place_where_there_is_none(project, capsys):
    assert main(["check", "vgg11", "b 9 9 3", "--format", "github"]) == 1
    assert capsys.readouterr().out.startswith("::error title=vgg11::VGG: x has 9x9 pixels, but ")


def test_all_kinds_of_contracts_are_proven(project, capsys):
    assert main(["check", "held"]) == 0
    assert capsys.readouterr().out == (
        "held:Plain.ready: proven: accepts every size, returns (b, 4)\n"
        "held:Plain.given: proven: accepts every size, returns (b, 5)\n"
        "held:Plain.static: proven: accepts every size, returns (b,)\n"
        "held:Plain.of_class: proven: accepts every size, returns (b,)\n"
        "held:filtered: proven: accepts every size, returns (b, h, w, 4)\n"
        "5 of 5 proven.\n"
    )


def test_the_readme_shows_commands_that_work(project):
    lines = re.findall(r"^jaxconv check (vgg16 .*)$", (ROOT / "README.md").read_text(), re.M)
    assert lines
    for line in lines:
        assert main(["check", *shlex.split(line, comments=True)]) == 0


@pytest.mark.slow
def test_what_is_watched_is_checked_again_until_it_is_interrupted(tmp_path):
    code = '@jc.contract("b h -> b h")\ndef f(x):\n    return x'
    path = tmp_path / "watched.py"
    path.write_text(f"import jaxconv as jc\n\n{code}\n")
    # A job in the background of a shell ignores SIGINT, and so would what is started here.
    heed = ["env", "--default-signal=INT"]
    command = [*heed, sys.executable, "-u", "-m", "jaxconv", "check", "watched.py", "--watch"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    process = subprocess.Popen(command, **options)
    try:
        assert process.stdout.readline().startswith("watched:f: proven")
        assert process.stdout.readline().startswith("1 of 1 proven. Waiting for a change")
        path.write_text(path.read_text().replace("return x", "return x.T"))
        said = [process.stdout.readline() for _ in range(3)]
        assert said[0] == "\n"
        assert said[1].endswith(" a file has changed\n")
        assert said[2].startswith("watched:f: refuted")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 130
        assert process.stderr.read() == "\njaxconv check: interrupted.\n"
    finally:
        process.kill()
        process.communicate()


def test_a_document_is_not_watched(project, capsys):
    assert main(["check", "nets.py", "--watch", "--format", "sarif"]) == 2
    assert "--watch prints line by line, not as sarif. Fix: " in capsys.readouterr().err


def test_a_check_that_nobody_reads_to_the_end_is_no_success(project):
    done = forked("-c", UNREAD, "jaxconv", "check", "pack")
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("where", ["64//", "b//(b-2) >= 1", "b >= 1.5", "b in b", "((((", "k >= 1"])
def test_a_condition_that_cannot_be_read_ends_with_2(where, project, capsys):
    assert main(["check", "nets:number", "b", "--where", where]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Fix: " in said.err
