"""The experiment on random networks: it runs, and it would see a wrong verdict."""

import ast
import builtins
import collections
import dataclasses
import json
import linecache

import pytest

import jaxconv as jc
from experiments import soundness
from jaxconv.prover.verdict import Failure
from jaxconv.symbolic.trace import Fork
from tests.support.networks import Network
from tests.support.oracle import grid, is_considered, names_of, outcome
from tests.support.size_programs import (
    EXPRESSIONS,
    MODULES,
    RANKS,
    STATEMENTS,
    Writer,
    compiled,
    numbers_in,
    program,
    templates,
)


def pooled(seed):
    """The same network for every seed: right for h and w of at least 2."""
    return Network(jc.max_pool, ("b h w 3",), None, ("pool",))


def square(seed):
    return Network(lambda x: x + x.swapaxes(1, 2), ("b h w 3",), "b h w 3", ("swap",))


@pytest.mark.parametrize("make", [pooled, square])
def test_a_right_verdict_is_right(make):
    row = soundness.examine(0, 40, make=make)
    assert row["outcome"] == "right"
    assert row["compared"] == 40
    assert row["decided"]


def accepting(where):
    """A check whose verdict accepts another set of sizes."""

    def check(*args, **options):
        accepts = jc.SizeSet.parse("b h w", where)
        return dataclasses.replace(jc.check(*args, **options), accepts=accepts)

    return check


def returning(outputs):
    """A check whose verdict has other formulas."""

    def check(*args, **options):
        verdict = jc.check(*args, **options)
        return dataclasses.replace(verdict, outputs=outputs(verdict.outputs))

    return check


def blaming_nothing(*args, **options):
    return dataclasses.replace(jc.check(*args, **options), failures=())


WRONG = {
    "one size more": accepting("h >= 2 and w >= 2 or h = 1 and w = 2 and b = 1"),
    "one size less": accepting("h >= 2 and w >= 2 and not (h = 2 and w = 2 and b = 1)"),
    "a border off by one": accepting("h >= 3 and w >= 2"),
    "a formula off by one": returning(lambda out: (*out[:1], out[1] + 1, *out[2:])),
    "two axes swapped": returning(lambda out: (out[0], out[2], out[1], out[3])),
    "no axis for the channels": returning(lambda out: out[:3]),
    "no failure for what is refused": blaming_nothing,
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_verdict_is_seen(name):
    row = soundness.examine(0, 40, make=pooled, check=WRONG[name])
    assert row["outcome"] == "wrong"
    point, text = row["wrong"][0]
    assert set(point) == {"b", "h", "w"}
    assert text
    assert soundness.summary([row])["wrong_answers"] == len(row["wrong"])


@pytest.mark.parametrize("error", [ZeroDivisionError("crash"), Fork("crash")])
def test_a_crash_is_seen(error):
    def check(*args, **options):
        raise error

    row = soundness.examine(0, 40, make=pooled, check=check)
    assert row["outcome"] == "crashed"
    assert row["error"].endswith(f"{type(error).__name__}: crash\n")
    assert soundness.summary([row])["notable"]["not right"] == [row]


def program_of(statements, spec, where=None):
    """A program of the statements between its head and ``return``, the same for every seed."""
    source = f"def program(x):\n    {statements}\n"
    return Network(compiled(source, "program.py"), (spec,), None, ("text",), where, source=source)


def stating(accepts, outputs):
    """A check with an answer of its own about sizes h."""

    def check(*args, where, **options):
        some = jc.SizeSet.parse("h", accepts)
        rest = jc.SizeSet.parse("h") - some
        failure = Failure(rest, {}, "", "", "")
        return jc.Verdict("refuted", some, outputs, (failure,), some - some, (), 1)

    return check


DIVISIBLE = "assert x.shape[0] % 3 == 0; return x[:6], {'of': x.shape[0] // 3, 'ten': 10}"
# What a check says about DIVISIBLE with h >= 6, and whether that is right.
STATED = {
    "all": ("h >= 6 and h % 3 = 0", ((6,), {"of": (), "ten": ()}), "right"),
    "too many": ("h >= 6 and (h % 3 = 0 or h = 7)", ((6,), {"of": (), "ten": ()}), "wrong"),
    "too few": ("h >= 7 and h % 3 = 0", ((6,), {"of": (), "ten": ()}), "wrong"),
    "a number as an array": ("h >= 6 and h % 3 = 0", ((6,), {"of": (1,), "ten": ()}), "wrong"),
    "no number": ("h >= 6 and h % 3 = 0", (6,), "wrong"),
}


@pytest.mark.parametrize("name", STATED)
def test_a_program_with_numbers_in_its_result_is_compared(name):
    accepts, outputs, outcome = STATED[name]
    made = program_of(DIVISIBLE, "h", "h >= 6")
    row = soundness.examine(0, 40, make=lambda _: made, check=stating(accepts, outputs))
    assert row["outcome"] == outcome
    assert ("source" in row) == (outcome == "wrong")
    assert row["peak_mib"] > 0


def test_only_sizes_that_where_admits_are_compared():
    made = program_of("return x", "2*h-4", "h % 3 == 0, h // 2 >= 2")
    assert [h for h in range(1, 14) if is_considered(made, {"h": h})] == [6, 9, 12]
    assert not is_considered(made._replace(largest=8), {"h": 9})
    assert not is_considered(made._replace(where=None), {"h": 2})


def test_numbers_in_a_program_are_among_the_sizes_compared():
    text = (
        "def program(x):\n    return x if len(x) in (224 / 16, 9) else (lambda n: n // 51)(len(x))"
    )
    special = (*numbers_in(compile(text, "text.py", "exec")),)
    assert sorted(special) == [9, 14, 51]
    made = program_of("return x", "h")._replace(special=(51, 14), largest=99)
    verdict = stating("h >= 1", ((1,),))(where=None)
    compared = [point["h"] for point in soundness.points(verdict, made, 0, 60)]
    assert {14, 51} <= {*compared}
    assert max(compared) <= 99


@pytest.mark.parametrize(
    "statements",
    ["assert len(x) > 9", "return x.reshape(7)", "raise OverflowError", "return {3: x}[len(x)]"],
)
def test_any_error_of_a_program_refuses_a_size(statements):
    assert outcome(program_of(statements, "h"), {"h": 2}) is None


SWALLOWED = """try:
        while True: len(x)
    except BaseException: raise ValueError"""


@pytest.mark.parametrize("statements", ["raise MemoryError", "while True: len(x)", SWALLOWED])
def test_a_size_that_takes_too_much_is_not_compared(statements, monkeypatch):
    monkeypatch.setattr(soundness, "POINT_SECONDS", 0.05)
    made = program_of(statements, "h", "h <= 3")
    row = soundness.examine(0, 40, make=lambda _: made, check=stating("h >= 1", (6,)))
    assert (row["outcome"], row["compared"], row["skipped"]) == ("right", 0, 3)


def test_a_spec_that_is_not_read_is_not_a_crash():
    made = program_of("return x", "h w", "h % w >= 9")
    row = soundness.examine(0, 40, make=lambda _: made)
    assert row["outcome"] == "spec not read"
    assert not soundness.summary([row])["notable"]["not right"]


def templates_and_expressions():
    yield from ((f"{kind}: {t}", t) for kind in STATEMENTS for t in templates(kind))
    for kind, table in EXPRESSIONS.items():
        yield from ((f"{kind}: {t}", f"$u = {t}") for t in table.split("\n") if t)


@pytest.mark.parametrize(
    "template", [pytest.param(text, id=name) for name, text in templates_and_expressions()]
)
def test_a_template_is_python_and_uses_names_that_are_there(template):
    writer = Writer(0, 0)
    _, _, text = RANKS.fullmatch(template).groups()
    before, _, text = writer.fill(text).rpartition("@@\n")
    tree = ast.parse(f"{before}\n{text}")
    known = {*dir(builtins), *MODULES, *"bhwcndxy"}
    known |= {n.name for n in ast.walk(tree) if hasattr(n, "name")}
    known |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    known |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and type(n.ctx) is ast.Store}
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    assert names <= known, names - known


def test_a_program_is_the_same_for_a_seed_and_another_for_another():
    first, again, other = program(5), program(5), program(6)
    assert first[1:] == again[1:]
    assert first.source != other.source
    assert linecache.getlines(first.path) == first.source.splitlines(keepends=True)


def test_most_programs_accept_sizes_and_some_refuse_sizes():
    accepted = collections.Counter()
    for made in map(program, range(24)):
        shapes = [
            outcome(made, point)
            for point in grid(names_of(made.specs), 10)
            if is_considered(made, point)
        ]
        accepted[any(shapes), all(shapes)] += 1
    assert accepted[True, False] >= 4, accepted
    assert accepted[False, False] <= 8, accepted


def test_the_experiment_checks_programs(tmp_path, capsys):
    out = tmp_path / "out.json"
    options = ["--sizes", "4", "--rows", str(tmp_path / "rows.jsonl"), "--out", str(out)]
    soundness.main(["--grammar", "programs", "--seed", "5", "--networks", "3", *options])
    found = json.loads(out.read_text())
    assert found["outcomes"] == {"right": 3}
    assert found["peak_mib"] > 100
    assert found["networks_with_layer"].keys() <= STATEMENTS.keys()
    assert found["share_undecided_with_layer"].keys() == found["networks_with_layer"].keys()
    with pytest.raises(SystemExit, match="another run"):
        soundness.main(["--networks", "3", "--resume", *options])


PROMISES = {
    "b h w 3": (2, 5, 6, 3),
    "b h//1 _ 3": (2, 5, 6, 3),
    "b ... 3": (2, 5, 6, 3),
    "...": (2, 5, 6, 3),
    "b max(h//9,5) w 3": (2, 5, 6, 3),
    "b h//2 w 3": None,
    "b h w": None,
    "b h w 3 ... 1 1": None,
}


@pytest.mark.parametrize("promise", PROMISES)
def test_the_oracle_reads_promises(promise):
    made = Network(lambda x: x, ("b h w 3",), promise, ())
    assert outcome(made, {"b": 2, "h": 5, "w": 6}) == PROMISES[promise]


def test_the_oracle_refuses_errors_and_empty_maps_within():
    broken = Network(lambda x: x @ x, ("b h w",), None, ())
    empty = Network(lambda x: x + x[:, x.shape[1] :].sum(), ("b h w",), None, ())
    for made in (broken, empty):
        assert outcome(made, {"b": 1, "h": 2, "w": 3}) is None
    assert outcome(broken, {"b": 1, "h": 3, "w": 3}) == (1, 3, 3)


def test_a_grid_has_all_small_sizes():
    assert names_of(("b 2*h+1 max(w,3)"[:7], "k w 1")) == ("b", "h", "k", "w")
    assert len(grid(("b", "h", "w"))) == 200
    assert grid(("n",))[-1] == {"n": 10}


def run_here(seeds, sizes, processes, limit, grammar):
    """What ``soundness.run`` does, in this process."""
    make = soundness.GRAMMARS[grammar]
    return (soundness.examine(seed, sizes, make=make) for seed in seeds)


def test_the_command_writes_rows_and_a_summary_and_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(soundness, "run", run_here)
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.json"
    options = ["--sizes", "4", "--rows", str(rows), "--out", str(out), "--resume"]
    soundness.main(["--networks", "2", *options])
    first = rows.read_text()
    soundness.main(["--networks", "3", *options])
    assert rows.read_text().startswith(first)
    found = json.loads(out.read_text())
    assert found["networks"] == sum(found["outcomes"].values()) == 3
    assert found["seconds_a_check"]["worst"] > 0
    with pytest.raises(SystemExit, match=r"another run.*\nFix: omit --resume"):
        soundness.main(["--networks", "3", *options, "--sizes", "5"])


def test_a_network_that_takes_too_long_is_slow_and_the_rest_is_done():
    rows = list(soundness.watched([0, 1], 4, limit=0.01))
    assert [row["seed"] for row in rows] == [0, 1]
    assert {row["outcome"] for row in rows} == {"slow"}
