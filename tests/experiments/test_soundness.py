"""The experiment on random networks: it runs, and it would see a wrong verdict."""

import dataclasses
import json

import pytest

import jaxconv as jc
from experiments import soundness
from tests.support.networks import Network
from tests.support.oracle import grid, names_of, outcome


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


def test_a_crash_is_seen():
    def check(*args, **options):
        raise ZeroDivisionError("crash")

    row = soundness.examine(0, 40, make=pooled, check=check)
    assert row["outcome"] == "crashed"
    assert row["error"].endswith("ZeroDivisionError: crash\n")
    assert soundness.summary([row])["notable"]["not right"] == [row]


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


def test_the_command_writes_rows_and_a_summary_and_goes_on(tmp_path, capsys):
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
