"""How much memory is free, by the machine, its control groups, ulimit, and the device."""

import math
import sys

import jax
import pytest

from jaxconv.cli import memory
from jaxconv.cli.memory import USABLE, available_memory
from tests.support.processes import forked


def test_no_more_is_available_than_the_machine_has():
    assert 1e6 < available_memory() < 1e15


def test_a_system_that_tells_nothing_sets_no_limit(monkeypatch):
    monkeypatch.setattr(memory, "_limits", lambda: iter(()))
    assert available_memory() == math.inf


GROUPS = {
    "version 2": ("0::/jobs/mine", "jobs/mine", ("memory.max", "memory.current")),
    "version 2 of a parent": ("0::/jobs/mine", "jobs", ("memory.max", "memory.current")),
    "version 1": (
        "4:cpu,memory:/jobs/mine",
        "memory/jobs/mine",
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ),
    "a container, which sees its own group as the root": (
        "0::/",
        "",
        ("memory.max", "memory.current"),
    ),
}


@pytest.mark.parametrize("case", GROUPS)
def test_a_control_group_sets_a_limit(monkeypatch, tmp_path, case):
    line, folder, names = GROUPS[case]
    (tmp_path / "self").write_text(f"3:cpuset:/\n{line}\n")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "OWN_CGROUPS", tmp_path / "self")
    group = tmp_path / "groups" / folder
    group.mkdir(parents=True)
    for name, content in zip(names, ("9000000\n", "2000000\n"), strict=True):
        (group / name).write_text(content)
    assert available_memory() == USABLE * 7_000_000
    (group / names[0]).write_text("max\n")
    assert available_memory() > USABLE * 7_000_000


def test_ulimit_sets_a_limit():
    code = """if True:
    import resource, time, jax
    from jaxconv.cli.memory import available_memory
    jax.devices()
    used, before = 1, 0
    while used != before:  # until JAX's threads have started
        time.sleep(0.3)
        pages = int(open("/proc/self/statm").read().split()[0])
        used, before = pages * resource.getpagesize(), used
    resource.setrlimit(resource.RLIMIT_AS, (used + 50_000_000, resource.RLIM_INFINITY))
    print(available_memory())"""
    if not sys.platform.startswith("linux"):
        pytest.skip("the size of a process is read as Linux tells it")
    done = forked("-c", code)
    done.check_returncode()
    assert 0 < float(done.stdout) <= 50_000_000


def test_the_memory_of_a_device_sets_a_limit(monkeypatch):
    class Device:
        def memory_stats(self):
            return {"bytes_limit": 5000, "bytes_in_use": 1000}

    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    assert available_memory() == USABLE * 4000
