"""How well each model continues each prompt: the likelihood it gives to the text's own words.

The figure is bits per byte: the mean information of the continuation, which does not depend on how
text is cut into tokens. The model with the fewest is the right one for the prompt. Nobody judges;
the text does.

Shape suffixes: T tokens, V vocabulary.
"""

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from triskele.demo.config import Traffic
from triskele.demo.watching import Watcher
from triskele.demo.workload import Passage, Workload
from triskele.model import BytePairTokenizer, Transformer, load_checkpoint

STAGE = "continuations under each model"


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What models make of the queries of a workload.

    Attributes
    ----------
    models
        Names.
    bits
        Bits per byte of the continuation of each query under each model, (n_queries, n_models).
    """

    models: tuple[str, ...]
    bits: NDArray[np.float64]

    @property
    def right(self) -> NDArray[np.intp]:
        """The right model of each query, an index into ``models``."""
        return np.asarray(self.bits.argmin(1))


def score(
    workloads: Sequence[Workload],
    checkpoints: Mapping[str, Path],
    tokenizer: BytePairTokenizer,
    traffic: Traffic,
    watcher: Watcher,
) -> list[Scores]:
    """Return what each model makes of each query of some workloads."""
    n_all = sum(len(workload.passages) for workload in workloads) * len(checkpoints)
    watcher.begin(STAGE, n_all)
    columns: list[list[NDArray[np.float64]]] = [[] for _ in workloads]
    done = 0
    # A passage per thread: threads that share one wait for each other, long where others compute.
    pool = ThreadPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,))
    with pool:
        for path in checkpoints.values():
            model = load_checkpoint(path, dtype=torch.float32).eval()
            known = partial(_bits, model, tokenizer=tokenizer, n_scored=traffic.scored)
            for workload, column in zip(workloads, columns, strict=True):
                by_turn = []
                for bits in pool.map(known, workload.passages):
                    by_turn.append(bits)
                    done += 1
                    watcher.advance(STAGE, done)
                column.append(
                    np.array([by_turn[query.passage][query.turn] for query in workload.queries])
                )
    return [Scores(tuple(checkpoints), np.column_stack(column)) for column in columns]


@torch.inference_mode()
def _bits(
    model: Transformer, passage: Passage, *, tokenizer: BytePairTokenizer, n_scored: int
) -> list[float]:
    """Return the bits per byte after each cut of a passage."""
    tokens_T = torch.tensor(passage.tokens)
    logits_TV = model(tokens_T[None, :-1])[0].float()
    nats = cross_entropy(logits_TV, tokens_T[1:], reduction="none").tolist()
    found = []
    for cut in passage.cuts:
        end = min(cut + n_scored, len(passage.tokens))
        n_bytes = len(tokenizer.decode(list(passage.tokens[cut:end])).encode())
        # The loss at place t is that of the token at t + 1.
        found.append(sum(nats[cut - 1 : end - 1]) / math.log(2.0) / n_bytes)
    return found
