"""What a run says: lines that survive it, files that TensorBoard reads, and what people see."""

import json
import math
import re
import struct

import pytest
from tensorboardX.proto import event_pb2

from experiments.training import logs
from experiments.training.logs import Log, Pace, read_metrics


def strict(text):
    """JSON as its standard has it, which knows no NaN."""

    def refuse(constant):
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def write(folder, steps, start=0):
    """Log so many steps, and an evaluation after each second one."""
    with Log(folder, 100, start, quiet=True) as log:
        for step in steps:
            log.step(step, {"loss": 1 / (step + 1), "accuracy": step / 100}, 50.5, 0.25)
            if step % 2 == 0:
                log.evaluated(step, {"loss": 2 / (step + 1), "accuracy": step / 200})


def seen(folder):
    return [line["step"] for line in read_metrics(folder)]


def events(folder):
    """All events of a folder, read as TFRecords: length, its checksum, data, its checksum."""
    for path in sorted((folder / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            yield event_pb2.Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


def test_each_line_is_an_object(tmp_path):
    write(tmp_path, [1, 2])
    assert [strict(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [
        {"step": 1, "loss": 0.5, "accuracy": 0.01, "images_per_second": 50.5, "waited": 0.25},
        {"step": 2, "loss": 1 / 3, "accuracy": 0.02, "images_per_second": 50.5, "waited": 0.25},
        {"step": 2, "test_loss": 2 / 3, "test_accuracy": 0.01},
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_json(tmp_path, value):
    with Log(tmp_path, 9, quiet=True) as log:
        log.step(3, {"loss": value, "accuracy": 0.5}, 10.0, 0.0, peak=0.125)
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert strict(line) == {
        "step": 3, "loss": None, "accuracy": 0.5, "images_per_second": 10.0, "waited": 0.0,
        "peak": 0.125,
    }  # fmt: skip
    assert "train/loss" not in {v.tag for event in events(tmp_path) for v in event.summary.value}


def test_a_line_is_in_the_file_at_once(tmp_path):
    with Log(tmp_path, 9, quiet=True) as log:
        log.evaluated(4, {"loss": 0.75})
        assert read_metrics(tmp_path) == [{"step": 4, "test_loss": 0.75}]
        assert [e.step for e in events(tmp_path) if e.summary.value] == [4]


@pytest.mark.parametrize(
    ("start", "kept"), [(0, []), (1, [1]), (2, [1, 2, 2]), (3, [1, 2, 2, 3]), (9, [1, 2, 2, 3])]
)
def test_a_resumed_run_drops_what_it_will_do_again(tmp_path, start, kept):
    write(tmp_path, [1, 2, 3])
    write(tmp_path, [start + 1], start)
    lines = 1 if start % 2 == 0 else 2
    assert seen(tmp_path) == kept + [start + 1] * lines


def test_a_new_run_drops_all_of_an_older_one(tmp_path):
    write(tmp_path, [0, 1])
    write(tmp_path, [0, 3])
    assert seen(tmp_path) == [0, 0, 3]


@pytest.mark.parametrize("missing", [1, 2, 30])
def test_a_line_that_is_half_there_is_dropped(tmp_path, missing):
    write(tmp_path, [1, 3])
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-missing])
    whole = [1, 3] if missing == 1 else [1]  # the first byte that is missing is the line's end
    assert seen(tmp_path) == whole
    write(tmp_path, [5], start=3)
    assert seen(tmp_path) == [*whole, 5]


def test_lines_that_a_crash_of_the_machine_left_empty_are_dropped(tmp_path):
    write(tmp_path, [1, 3])
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(bytes(40))
    write(tmp_path, [5], start=3)
    assert seen(tmp_path) == [1, 3, 5]


def test_tensorboard_has_the_same_numbers(tmp_path):
    write(tmp_path, [1, 2])
    found = {(e.step, v.tag): v.simple_value for e in events(tmp_path) for v in e.summary.value}
    speed = {"images_per_second": 50.5, "waited": 0.25}
    train = {
        1: {"loss": 0.5, "accuracy": 0.01} | speed,
        2: {"loss": 1 / 3, "accuracy": 0.02} | speed,
    }
    expected = {(s, f"train/{n}"): v for s, values in train.items() for n, v in values.items()}
    expected |= {(2, "test/loss"): 2 / 3, (2, "test/accuracy"): 0.01}
    assert found == pytest.approx(expected)


def test_tensorboard_is_told_where_a_resumed_run_begins(tmp_path):
    write(tmp_path, [1, 2, 3])
    write(tmp_path, [3, 4], start=2)
    started = [e.step for e in events(tmp_path) if e.HasField("session_log")]
    assert started == [0, 3]
    steps = [e.step for e in events(tmp_path) if e.summary.value]
    assert steps == [1, 2, 2, 3, 3, 4, 4]


def test_other_processes_write_nothing(tmp_path, capsys):
    write(None, [1, 2])
    assert [*tmp_path.iterdir()] == []
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def clock(monkeypatch):
    """A clock that is moved by hand."""
    now = [100.0]
    monkeypatch.setattr(logs, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def piped(monkeypatch):
    """No terminal, whatever the environment says."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_terminal_there_is_a_line_for_each_evaluation_or_ten_seconds(
    tmp_path, capsys, clock, piped
):
    with Log(tmp_path, 2000) as log:
        for step in range(0, 1300, 100):
            log.step(step, {"loss": 0.5, "accuracy": step / 2000}, 1234.5, 0.02)
            clock[0] += 3
        log.evaluated(1250, {"loss": 0.25, "accuracy": 0.985})
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "step 400 of 2,000, train: loss 0.5000, accuracy 20.0%, 1,234 images/s, waited 2%, "
        "0:00:48 left",
        "step 800 of 2,000, train: loss 0.5000, accuracy 40.0%, 1,234 images/s, waited 2%, "
        "0:00:36 left",
        "step 1,200 of 2,000, train: loss 0.5000, accuracy 60.0%, 1,234 images/s, waited 2%, "
        "0:00:24 left",
        "step 1,250 of 2,000, test: loss 0.2500, accuracy 98.5%, 0:00:23 left",
    ]
    assert err == ""


def test_names_of_files_cannot_control_the_terminal(tmp_path, capsys, piped):
    with Log(tmp_path, 10) as log:
        log.say("Left out: \x1b[2Ja\x07.png\nand [bold]b[/bold]\x9b.png")
    assert capsys.readouterr().out == "Left out: ?[2Ja?.png\nand [bold]b[/bold]?.png\n"


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TTY_INTERACTIVE", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")


def test_a_terminal_shows_a_bar_with_the_time_left(tmp_path, capsys, clock, terminal):
    with Log(tmp_path, 500, 200) as log:
        log.step(210, {"loss": 0.75, "accuracy": 0.5}, 1234.5, 0.02, peak=0.41)
        clock[0] += 60
        log.evaluated(220, {"loss": 0.8, "accuracy": 0.25})
        log.say("Saved [red]here[/red].")
        log.step(270, {"loss": 0.5, "accuracy": 0.625}, 1000, 0.5, peak=0.3)
    out = capsys.readouterr().out
    lines = re.split("[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out))
    *_, bar, train, test, end = lines
    assert bar.startswith("step 270/500 ━")
    assert bar.endswith(" 0:03:50 left")
    assert train == "train: loss 0.5000, accuracy 62.5%, 1,000 images/s, waited 50%, 30% of peak"
    assert test == "test: loss 0.8000, accuracy 25.0%"
    assert end == ""
    assert "Saved [red]here[/red]." in lines
    assert max(map(len, lines)) <= 80


def test_the_terminal_is_left_as_it_was_whatever_happens(tmp_path, capsys, terminal):
    class Odd:
        def __float__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Log(tmp_path, 500) as log:
        log.step(1, {"loss": Odd()}, 10.0, 0.0)
    out = capsys.readouterr().out
    assert out.count("\x1b[?25l") == 1  # hides the cursor
    assert out.rindex("\x1b[?25h") > out.index("\x1b[?25l")
    print("plain")  # and standard output is no longer the bar's
    assert capsys.readouterr().out == "plain\n"


def test_all_is_closed_although_the_disk_is_full(tmp_path, capsys, terminal, monkeypatch):
    close = logs.Board.close

    def full(board):
        close(board)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(logs.Board, "close", full)
    with pytest.raises(OSError, match="No space left"), Log(tmp_path, 500) as log:
        log.evaluated(7, {"loss": 0.75})
    assert capsys.readouterr().out.endswith("\x1b[?25h")
    assert log._all[0]._file.closed


def test_a_file_is_as_it_was_where_the_disk_is_full(tmp_path):
    path = tmp_path / "config.json"
    logs.write_whole(path, "before")
    (tmp_path / ".config.json.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        logs.write_whole(path, "after")
    assert path.read_text() == "before"


def test_quiet_shows_nothing_and_writes_all(tmp_path, capsys, terminal):
    with Log(tmp_path, 500, quiet=True) as log:
        log.say("Something.")
        log.evaluated(7, {"loss": 0.75})
    assert capsys.readouterr() == ("", "")
    assert seen(tmp_path) == [7]


def test_the_time_left_counts_from_the_first_report(clock):
    pace = Pace(1000)
    assert pace.left(10) == ""  # what came before was compiling
    clock[0] += 90 * 60
    assert pace.left(100) == "15:00:00 left"
    clock[0] += 1
    assert pace.left(1000) == "0:00:00 left"
    assert pace.left(1001) == "0:00:00 left"
