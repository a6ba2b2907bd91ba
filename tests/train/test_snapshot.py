import os
import resource
import shutil
import subprocess
import sys

import pytest
import torch

from triskele.train import snapshot as snapshot_module
from triskele.train.snapshot import SnapshotError, has_snapshots, load_newest, save_snapshot


def state_of(value):
    return {"weights": torch.full((1000,), float(value)), "nested": [{"lr": 0.1, "name": None}]}


def load(folder, warnings=None):
    return load_newest(folder, warn=([] if warnings is None else warnings).append)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_state_is_read_back_as_it_was_saved(tmp_path):
    path = save_snapshot(tmp_path, state_of(3), step=7)
    snapshot = load(tmp_path)
    assert (snapshot.step, snapshot.path) == (7, path)
    assert torch.equal(snapshot.state["weights"], torch.full((1000,), 3.0))
    assert snapshot.state["nested"] == [{"lr": 0.1, "name": None}]


def test_only_the_newest_are_kept(tmp_path):
    for step in (10, 20, 30):
        save_snapshot(tmp_path, state_of(step), step=step, keep=2)
    assert names(tmp_path) == ["step-00000020", "step-00000030"]


def test_no_snapshot_is_no_error(tmp_path):
    assert load(tmp_path / "nothing") is None
    assert not has_snapshots(tmp_path / "nothing")


@pytest.mark.parametrize("damage", ["flip", "truncate", "no state", "no seal", "bad seal"])
def test_a_damaged_snapshot_is_passed_over_with_a_word(tmp_path, damage):
    save_snapshot(tmp_path, state_of(1), step=1)
    path = save_snapshot(tmp_path, state_of(2), step=2)
    state, seal = path / "state.pt", path / "seal.json"
    content = bytearray(state.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        state.write_bytes(content)
    elif damage == "truncate":
        state.write_bytes(content[:-1])
    elif damage == "no state":
        state.unlink()
    elif damage == "no seal":
        seal.unlink()
    else:
        seal.write_text("{}")
    warnings = []
    snapshot = load(tmp_path, warnings)
    assert snapshot.step == 1
    assert len(warnings) == 1
    assert "step-00000002 is damaged" in warnings[0]


def test_if_all_are_damaged_that_is_an_error(tmp_path):
    (save_snapshot(tmp_path, state_of(1), step=1) / "state.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"all snapshots in .* are damaged"):
        load(tmp_path)


def test_a_damaged_snapshot_is_replaced_when_its_step_comes_again(tmp_path):
    (save_snapshot(tmp_path, state_of(1), step=5) / "state.pt").write_bytes(b"")
    save_snapshot(tmp_path, state_of(2), step=5)
    assert load(tmp_path).state["weights"][0] == 2.0


def test_snapshots_of_later_steps_are_removed_once_a_run_has_gone_back(tmp_path):
    for step in (10, 20):
        save_snapshot(tmp_path, state_of(step), step=step)
    save_snapshot(tmp_path, state_of(15), step=15)
    assert names(tmp_path) == ["step-00000010", "step-00000015"]


def test_a_full_disk_leaves_the_old_snapshot_and_says_so(tmp_path, monkeypatch):
    save_snapshot(tmp_path, state_of(1), step=1)

    def refuse(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(snapshot_module.os, "fsync", refuse)
    message = "step 2: No space left on device; the snapshot of step 1 is intact"
    with pytest.raises(SnapshotError, match=message):
        save_snapshot(tmp_path, state_of(2), step=2)
    assert names(tmp_path) == ["step-00000001"]
    assert load(tmp_path).step == 1


def test_a_write_that_stops_half_way_leaves_the_old_snapshot(tmp_path):
    """The kernel refuses to let any file grow past a size, in the middle of the state."""
    save_snapshot(tmp_path, state_of(1), step=1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(SnapshotError, match="File too large; the snapshot of step 1 is intact"):
            save_snapshot(tmp_path, state_of(2), step=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == ["step-00000001"]
    assert load(tmp_path).state["weights"][0] == 1.0


DYING_WRITER = """
import os, pathlib, shutil, signal, sys
import torch
from triskele.train.snapshot import save_snapshot

def write(folder, dies_at):
    calls = 0
    def dying(real):
        def call(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)
        return call
    save_snapshot(folder, {"x": torch.ones(3)}, step=1, keep=1)
    os.fsync = dying(os.fsync)
    pathlib.Path.rename = dying(pathlib.Path.rename)
    shutil.rmtree = dying(shutil.rmtree)
    save_snapshot(folder, {"x": torch.ones(3)}, step=2, keep=1)
    save_snapshot(folder, {"x": torch.ones(3)}, step=3, keep=1)

for dies_at in range(1, int(sys.argv[2]) + 1):
    child = os.fork()
    if child == 0:
        write(pathlib.Path(sys.argv[1]) / str(dies_at), dies_at)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, f"nothing was called {dies_at} times"
"""


def test_a_crash_at_any_system_call_leaves_a_good_snapshot(tmp_path):
    """Children die without warning at their n-th sync, rename or removal; others must read on."""
    n_calls = 12
    subprocess.run([sys.executable, "-c", DYING_WRITER, tmp_path, str(n_calls)], check=True)
    found = []
    for dies_at in range(1, n_calls + 1):
        folder, warnings = tmp_path / str(dies_at), []
        found.append(load(folder, warnings).step)
        assert not warnings
        save_snapshot(folder, state_of(4), step=4, keep=1)
        assert names(folder) == ["step-00000004"]
    assert found == sorted(found)
    assert set(found) == {1, 2, 3}


def test_a_good_snapshot_of_the_same_step_is_left_alone(tmp_path):
    path = save_snapshot(tmp_path, state_of(1), step=1)
    before = (path / "state.pt").stat().st_mtime_ns
    shutil.copytree(path, tmp_path / "copy")
    save_snapshot(tmp_path, state_of(1), step=1)
    assert (path / "state.pt").stat().st_mtime_ns == before
