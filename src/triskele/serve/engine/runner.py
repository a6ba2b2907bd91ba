"""The forward pass: chunks in, logits of the tokens to draw out.

Only rows from which a token is drawn go through the head, which for large vocabularies is much of
the work. On CUDA, steps of single tokens alone are replayed from captured graphs (``graphs``).

Shape suffixes: T tokens of the step, N rows drawn from, D model width, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from triskele.model import Transformer
from triskele.serve.engine.batching import Chunk
from triskele.serve.engine.graphs import DecodeGraphs
from triskele.serve.engine.layout import Integers, lay_out
from triskele.serve.engine.pages import PagedStore

CPU_SLACK = 16
"""Pages of padding that cost about as much as one more attention operation, measured."""


class Runner:
    """Runs a model over chunks.

    Parameters
    ----------
    model : Transformer
        On the store's device, in the store's precision.
    store : PagedStore
        Where keys and values lie.
    """

    def __init__(self, model: Transformer, store: PagedStore) -> None:
        self._model = model
        self._store = store
        self._device = model.lm_head.weight.device
        is_cuda = self._device.type == "cuda"
        self._slack = None if is_cuda else CPU_SLACK
        self._graphs = DecodeGraphs(model, store) if is_cuda else None

    @torch.inference_mode()
    def run(self, chunks: Sequence[Chunk], tables: Integers) -> Tensor:
        """Compute chunks and return (N, V), logits for each that ends its sequence, in order.

        Parameters
        ----------
        chunks
            At least one.
        tables
            (row, page) → index of the page.
        """
        store = self._store
        layout = lay_out(
            chunks, tables, page_size=store.page_size, spare=store.spare, slack=self._slack
        )
        only_answers = len(layout.tokens_T) == len(layout.sampled) == len(chunks)
        if self._graphs is not None and only_answers:
            return self._graphs.run(layout)
        store.load(layout)
        tokens_T = torch.from_numpy(layout.tokens_T).to(self._device, non_blocking=True)
        hidden_TD = self._model.hidden(tokens_T[None], store=store)[0]
        sampled = torch.from_numpy(layout.sampled).to(self._device, non_blocking=True)
        hidden_TD = hidden_TD.index_select(0, sampled)
        logits_NV: Tensor = self._model.lm_head(hidden_TD)
        return logits_NV
