"""Continue a prompt, one token at a time.

Each new token costs one pass over itself alone: keys and values of the past are kept. Sampling is
by temperature, then the k likeliest, then the nucleus (Holtzman et al., 2020), in that order.

It does not know about text, and serves one sequence; many at once are a serving engine's work.

Shape suffixes: T tokens, V vocabulary, D model width.
"""

import torch
from torch import Tensor

from triskele.model.kv_store import ContiguousStore
from triskele.model.transformer import Transformer


@torch.inference_mode()
def generate(
    model: Transformer,
    prompt_T: Tensor,
    *,
    n_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_id: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return a prompt and its continuation.

    Parameters
    ----------
    model : Transformer
        Its device and precision are where and how this runs.
    prompt_T : Tensor
        Token ids, int64, at least one.
    n_tokens : int
        New tokens at most.
    temperature, top_k, top_p, generator
        See `sample`.
    stop_id : int, optional
        The id after which to stop; it is the last of the result.

    Returns
    -------
    Tensor
        Ids, at most T + `n_tokens` of them, on the model's device.

    Raises
    ------
    ValueError
        When the prompt is empty, the whole would not fit ``max_seq_len``, or a sampling parameter
        is out of range.
    """
    weight_VD = model.lm_head.weight
    total = prompt_T.numel() + n_tokens
    if prompt_T.ndim != 1 or not prompt_T.numel():
        raise ValueError(f"expected a prompt of shape (T,), T >= 1, got {tuple(prompt_T.shape)}")
    if n_tokens < 0 or total > model.config.max_seq_len:
        raise ValueError(
            f"prompt and new tokens must fit max_seq_len={model.config.max_seq_len}, "
            f"got {prompt_T.numel()} + {n_tokens}"
        )
    store = ContiguousStore(
        model.config, capacity=total, dtype=weight_VD.dtype, device=weight_VD.device
    )
    ids_T = prompt_T.to(weight_VD.device)
    unread_T = ids_T
    for _ in range(n_tokens):
        last_D = model.hidden(unread_T[None], store=store)[0, -1]
        logits_V = model.lm_head(last_D)
        unread_T = sample(
            logits_V, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator
        )[None]
        ids_T = torch.cat((ids_T, unread_T))
        if stop_id is not None and unread_T.item() == stop_id:
            break
    return ids_T


def sample(
    logits_V: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw one id from logits, as a scalar tensor.

    Parameters
    ----------
    logits_V : Tensor
        Unnormalised log-probabilities.
    temperature : float
        Divides the logits; 0 takes the likeliest id.
    top_k : int, optional
        Draw among so many likeliest ids.
    top_p : float, optional
        Draw among the fewest likeliest ids that together have this probability, in (0, 1].
    generator : torch.Generator, optional
        Source of randomness; torch's global one when absent.
    """
    if temperature < 0:
        raise ValueError(f"temperature must not be negative, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be in (0, 1], got {top_p}")
    if temperature == 0:
        return logits_V.argmax()
    ranked_V, ids_V = (logits_V.float() / temperature).sort(descending=True)
    if top_k is not None:
        ranked_V, ids_V = ranked_V[:top_k], ids_V[:top_k]
    probabilities_V = ranked_V.softmax(0)
    if top_p is not None:
        before_V = probabilities_V.cumsum(0) - probabilities_V
        probabilities_V = probabilities_V.masked_fill(before_V >= top_p, 0.0)
    return ids_V[torch.multinomial(probabilities_V, 1, generator=generator)[0]]
