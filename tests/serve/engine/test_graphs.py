import pytest
import torch
from tests.serve.engine.models import CONFIG, tiny_model
from tests.serve.engine.test_layout import PAGE, chunk

from triskele.model import Transformer
from triskele.serve.engine.graphs import DecodeGraphs
from triskele.serve.engine.layout import lay_out
from triskele.serve.engine.pages import PagedStore
from triskele.serve.engine.runner import Runner

N_PAGES = 24


def compare(model: Transformer, *, captures: bool) -> None:
    """Grow three sequences token by token, with and without graphs."""
    device, dtype = model.lm_head.weight.device, model.lm_head.weight.dtype
    tables = torch.arange(N_PAGES).view(4, 6).numpy()
    store, other = (
        PagedStore(CONFIG, n_pages=N_PAGES, page_size=PAGE, dtype=dtype, device=device)
        for _ in range(2)
    )
    graphs = DecodeGraphs(model, store, captures=captures)
    eager = Runner(model, other)
    eager._graphs = None
    for n in range(10):
        chunks = [chunk(row, n, 1) for row in (2, 0, 3)[: 1 + n % 3]]
        for row in (2, 0, 3)[1 + n % 3 :]:
            chunks.append(chunk(row, n, 1))
        for each in chunks:
            each.sequence.tokens = [token % 257 for token in each.sequence.tokens]
        layout = lay_out(chunks, tables, page_size=PAGE, spare=N_PAGES, slack=None)
        with torch.inference_mode():
            logits = graphs.run(layout)
        torch.testing.assert_close(logits, eager.run(chunks, tables), rtol=1e-4, atol=1e-4)


def test_padding_changes_nothing() -> None:
    compare(tiny_model(), captures=False)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_replayed_graph_computes_the_same() -> None:
    model = Transformer(CONFIG, generator=torch.Generator().manual_seed(0)).cuda()
    compare(model, captures=True)
