"""Call a function in several gloo processes on this machine and collect what each returns.

The processes are forked off a server that has imported torch once, and find one another through a
file, so that a test needs neither a free port nor the seconds of another import.
"""

import faulthandler
import multiprocessing
import os
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

PRELOAD = [
    "torch.distributed.checkpoint.state_dict",
    "torch.distributed.fsdp",
    "torch.distributed.tensor.parallel",
    "triskele.optim",
]


def call_on_ranks(n_ranks: int, work: Callable[..., Any], *args: Any, timeout: float = 60) -> Any:
    """Return ``[work(*args) on rank 0, on rank 1, …]``; raise what any rank raised.

    ``work`` is a module-level function whose result ``torch.save`` can write.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    with tempfile.TemporaryDirectory() as folder:
        ranks = [
            context.Process(target=_rank, args=(rank, n_ranks, folder, timeout, work, args))
            for rank in range(n_ranks)
        ]
        try:
            for process in ranks:
                process.start()
            _await(ranks, time.monotonic() + timeout + 5)
            failed = [rank for rank, process in enumerate(ranks) if process.exitcode != 0]
            if failed:
                errors = [Path(f"{folder}/{rank}.error").read_text() for rank in failed]
                raise AssertionError(f"ranks {failed} of {n_ranks} failed\n" + "\n".join(errors))
            return [torch.load(f"{folder}/{r}.pt", weights_only=False) for r in range(n_ranks)]
        finally:
            for process in ranks:
                if process.is_alive():
                    process.kill()
                process.join()


def _await(ranks: list[Any], deadline: float) -> None:
    """Wait until all have ended, one has failed, or the time is up."""
    while any(process.is_alive() for process in ranks) and time.monotonic() < deadline:
        if any(process.exitcode not in (None, 0) for process in ranks):
            # The others wait for it in a collective: give them a moment to tell their own error.
            deadline = min(deadline, time.monotonic() + 1)
        time.sleep(0.01)


def _rank(
    rank: int,
    n_ranks: int,
    folder: str,
    timeout: float,
    work: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    with Path(f"{folder}/{rank}.error").open("w") as error:
        # A rank that hangs says where, and ends even if nobody is left to end it.
        faulthandler.dump_traceback_later(timeout, exit=True, file=error)
        try:
            dist.init_process_group(
                "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=n_ranks
            )
            torch.save(work(*args), f"{folder}/{rank}.pt")
            dist.barrier()
            dist.destroy_process_group()
        except BaseException:
            error.write(f"rank {rank}\n{traceback.format_exc()}")
            raise SystemExit(1) from None
        finally:
            faulthandler.cancel_dump_traceback_later()
