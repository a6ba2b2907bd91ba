"""Steps of single tokens as CUDA graphs: one launch instead of hundreds.

A decode step of a small batch is bound by the launching of kernels, not by their work. Captured
once per shape, it is replayed with new contents in the same tensors. Shapes are powers of two of
sequences and of pages, so that there are few; what is padding writes to the spare page.

Shape suffixes: B sequences, P pages of each, V vocabulary.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from triskele.model import Transformer
from triskele.serve.engine.layout import Layout
from triskele.serve.engine.pages import PagedStore, Rectangle, causal_mask

N_WARM_UP = 2


@dataclass(frozen=True, slots=True)
class Captured:
    """A graph and the tensors it reads and writes.

    Attributes
    ----------
    inputs
        (B, 3 + P): token, position, slot and pages of each sequence.
    logits_BV
        What a replay leaves.
    graph
        ``None`` where nothing is captured and every run launches its kernels.
    """

    inputs: Tensor
    logits_BV: Tensor
    graph: torch.cuda.CUDAGraph | None


class DecodeGraphs:
    """Runs steps of single tokens, from graphs once their shape has been seen.

    Parameters
    ----------
    model, store
        As the runner's.
    captures
        Whether to capture; without it the same padded computation is launched every time.
    """

    def __init__(self, model: Transformer, store: PagedStore, *, captures: bool = True) -> None:
        self._model = model
        self._store = store
        self._captures = captures
        self._device = model.lm_head.weight.device
        self._known: dict[tuple[int, int], Captured] = {}

    def run(self, layout: Layout) -> Tensor:
        """Compute a layout of one bucket of single tokens; returns logits in sampled order."""
        (bucket,) = layout.buckets
        n, n_pages = bucket.pages_BP.shape
        shape = (_power_of_two(n), _power_of_two(n_pages))
        inputs = np.zeros((shape[0], 3 + shape[1]), dtype=np.int64)
        inputs[:, 2] = self._store.spare * self._store.page_size
        inputs[:, 3:] = self._store.spare
        inputs[:n, 0], inputs[:n, 1] = layout.tokens_T, layout.positions_T
        inputs[:n, 2], inputs[:n, 3 : 3 + n_pages] = layout.slots_T, bucket.pages_BP
        captured = self._known.get(shape)
        if captured is None:
            captured = self._known[shape] = self._capture(torch.from_numpy(inputs))
        captured.inputs.copy_(torch.from_numpy(inputs), non_blocking=True)
        if captured.graph is None:
            captured.logits_BV.copy_(self._forward(captured.inputs))
        else:
            captured.graph.replay()
        sampled = torch.from_numpy(layout.sampled).to(self._device, non_blocking=True)
        return captured.logits_BV.index_select(0, sampled)

    def _capture(self, example: Tensor) -> Captured:
        inputs = example.to(self._device)
        if not self._captures:
            return Captured(inputs, self._forward(inputs), None)
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(N_WARM_UP):
                self._forward(inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits_BV = self._forward(inputs)
        return Captured(inputs, logits_BV, graph)

    def _forward(self, inputs: Tensor) -> Tensor:
        """Compute (B, V) from static tensors alone."""
        store, n_pages = self._store, inputs.shape[1] - 3
        positions_B = inputs[:, 1].contiguous()
        mask = causal_mask(positions_B, 1, n_pages * store.page_size, dtype=store.dtype)
        pages = inputs[:, 3:].reshape(-1)
        rectangle = Rectangle(
            first=0,
            n_pieces=len(inputs),
            n_queries=1,
            n_pages=n_pages,
            pages=pages,
            n_keys=n_pages * store.page_size,
            mask=mask,
            is_causal=False,
        )
        store.place(positions_B, inputs[:, 2].contiguous(), (rectangle,))
        hidden_BD = self._model.hidden(inputs[:, 0][None], store=store)[0]
        logits_BV: Tensor = self._model.lm_head(hidden_BD)
        return logits_BV


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()
