import socket
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from tests.train.small_runs import OPTIONS, losses, write_text

from triskele.train.ranks import Ranks

TWO_PROCESSES = """
import os, sys
from triskele.cli import main

out, port, *arguments = sys.argv[1:]

def start(rank, world_size):
    child = os.fork()
    if child == 0:
        sys.stdout = open(os.devnull, "w")
        if world_size > 1:
            os.environ |= {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
            }
        folder = f"{out}/{world_size}"
        os._exit(main(["train", *arguments, "--out", folder, "--compute.device", "cpu"]))
    return child

children = [start(0, 1), start(0, 2), start(1, 2)]
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def test_alone_everything_is_the_identity():
    ranks = Ranks()
    assert ranks.is_first
    assert ranks.is_alone
    assert ranks.rows(8) == slice(0, 8)
    assert ranks.mean([1.0, 2.0], torch.device("cpu")) == [1.0, 2.0]
    ranks.wait()


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_the_rows_of_all_ranks_are_all_rows(world_size):
    rows = [Ranks(rank=rank, world_size=world_size).rows(8) for rank in range(world_size)]
    assert [i for part in rows for i in range(8)[part]] == list(range(8))


@pytest.mark.parametrize(("optimizer", "tolerance"), [("dynmuon", 1e-2), ("adamw", 1e-5)])
def test_two_processes_train_the_same_model_as_one(tmp_path, optimizer, tolerance):
    """The same batches, shared; sums of gradients are rounded in another order, no more.

    DynMuon may take its products in bfloat16 and lifts weak directions: rounding shows sooner.
    """
    text = write_text(tmp_path / "text.txt")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--data", text, *OPTIONS, "--optimizer", optimizer, "--steps", "6"]
    arguments += ["--compute.precision", "fp32"]
    done = subprocess.run(
        [sys.executable, "-c", TWO_PROCESSES, tmp_path, str(port), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"OMP_NUM_THREADS": "1", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    for one, two in zip(losses(tmp_path / "1"), losses(tmp_path / "2"), strict=True):
        assert one[:2] == two[:2]
        assert one[2] == pytest.approx(two[2], abs=tolerance)
    one, two = (load_file(tmp_path / n / "checkpoint" / "model.safetensors") for n in "12")
    for name, tensor in one.items():
        # Rounding grows with the steps: bfloat16 products turn it into visible differences.
        assert (tensor - two[name]).norm() <= 0.1 * tensor.norm(), name
