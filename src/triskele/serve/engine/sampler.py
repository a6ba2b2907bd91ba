"""Logits to tokens, a whole step at once.

Penalties and biases, then temperature, then the likeliest k, then the nucleus (Holtzman et al.,
2020), then min-p (Nguyen et al., 2024), then one draw by inversion of the cumulative
distribution. Each sequence brings its own uniform number, so that what it draws does not depend on
what else is in the batch. Log-probabilities that are told are the model's own, before all of this.

Shape suffixes: N sequences, V vocabulary, M those of the sequences that are not greedy.
"""

from collections.abc import Sequence as Sequences
from dataclasses import dataclass

import torch
from torch import Tensor

from triskele.serve.engine.sampling import SamplingParams
from triskele.serve.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Log-probability of a token, and the likeliest alternatives with theirs."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Drawn:
    """The next token of a sequence."""

    token: int
    logprobs: Logprobs | None


@torch.inference_mode()
def draw(logits_NV: Tensor, sequences: Sequences[Sequence]) -> list[Drawn]:
    """Draw the next token of each sequence; uses up one number of each one's source that draws."""
    told_NV = logits_NV
    if any(s.params.changes_logits for s in sequences):
        logits_NV = _changed(logits_NV, sequences)
    chosen_N = logits_NV.argmax(dim=-1)
    # Apart from those that choose among ranks: in which order tokens stand must not depend on
    # what else is in the batch.
    for is_ranked in (False, True):
        rows = [n for n, s in enumerate(sequences) if _draws(s.params, is_ranked=is_ranked)]
        if rows:
            drawing = [sequences[n] for n in rows]
            is_all = len(rows) == len(sequences)
            picked_MV = logits_NV if is_all else logits_NV[rows]
            chosen_N[rows] = _drawn(picked_MV.float(), drawing, is_ranked=is_ranked)
    tokens = chosen_N.tolist()
    told = _logprobs(told_NV, tokens, sequences)
    return [Drawn(token, told.get(n)) for n, token in enumerate(tokens)]


def _changed(logits_NV: Tensor, sequences: Sequences[Sequence]) -> Tensor:
    """Apply penalties and biases."""
    changed_NV = logits_NV.clone()
    for n, sequence in enumerate(sequences):
        params = sequence.params
        changes = dict(params.logit_bias)
        for token, count in sequence.n_seen.items():
            taken = params.presence_penalty + params.frequency_penalty * count
            changes[token] = changes.get(token, 0.0) - taken
        if changes:
            ids = torch.tensor(list(changes), device=logits_NV.device)
            added = torch.tensor(list(changes.values()), dtype=torch.float64)
            changed_NV[n, ids] += added.to(logits_NV)
    return changed_NV


def _draws(params: SamplingParams, *, is_ranked: bool) -> bool:
    """Tell whether a token is drawn, among ranks or among all."""
    has_ranks = params.top_k is not None or params.top_p < 1 or params.min_p > 0
    return not params.is_greedy and has_ranks == is_ranked


def _drawn(logits_MV: Tensor, sequences: Sequences[Sequence], *, is_ranked: bool) -> Tensor:
    """Draw by inversion; returns (M,)."""
    every = [sequence.params for sequence in sequences]
    device = logits_MV.device
    uniform_M1 = torch.tensor([[s.draws.random()] for s in sequences], device=device)
    temperature_M1 = torch.tensor([[max(p.temperature, 1e-6)] for p in every], device=device)
    scaled_MV = logits_MV / temperature_M1
    ids_MV = None
    if is_ranked:
        scaled_MV, ids_MV = _ranked(scaled_MV, every)
    probabilities_MV = scaled_MV.softmax(dim=-1)
    if ids_MV is not None:
        probabilities_MV = _kept(probabilities_MV, every)
    cumulative_MV = probabilities_MV.cumsum(dim=-1, dtype=torch.float64)
    aims_M1 = uniform_M1.double() * cumulative_MV[:, -1:]
    at_M1 = torch.searchsorted(cumulative_MV, aims_M1, right=True)
    # The last token of non-zero probability, should rounding put the aim beyond the end.
    last_M1 = (cumulative_MV < cumulative_MV[:, -1:]).sum(dim=-1, keepdim=True)
    at_M1 = torch.minimum(at_M1, last_M1)
    return (at_M1 if ids_MV is None else ids_MV.gather(1, at_M1))[:, 0]


def _ranked(scaled_MV: Tensor, every: list[SamplingParams]) -> tuple[Tensor, Tensor]:
    """Return logits from the largest down and their ids: all, or as many as anyone may draw."""
    limits = [params.top_k for params in every]
    n_vocabulary = scaled_MV.shape[1]
    if None in limits:
        ranked_MV, ids_MV = scaled_MV.sort(dim=-1, descending=True, stable=True)
    else:
        n_most = min(n_vocabulary, max(limit for limit in limits if limit is not None))
        ranked_MV, ids_MV = scaled_MV.topk(n_most, dim=-1)
    n_ranks = ranked_MV.shape[1]
    kept = [[min(limit or n_ranks, n_ranks)] for limit in limits]
    limit_M1 = torch.tensor(kept, device=scaled_MV.device)
    beyond_MV = torch.arange(n_ranks, device=scaled_MV.device) >= limit_M1
    return ranked_MV.masked_fill(beyond_MV, -torch.inf), ids_MV


def _kept(probabilities_MV: Tensor, every: list[SamplingParams]) -> Tensor:
    """Strike out what is beyond the nucleus or too unlikely; ranked rows, the first stays."""
    device = probabilities_MV.device
    top_p_M1 = torch.tensor([[p.top_p] for p in every], device=device)
    min_p_M1 = torch.tensor([[p.min_p] for p in every], device=device)
    before_MV = probabilities_MV.cumsum(dim=-1) - probabilities_MV
    struck_MV = (before_MV >= top_p_M1) & (top_p_M1 < 1)
    struck_MV |= probabilities_MV < min_p_M1 * probabilities_MV[:, :1]
    return probabilities_MV.masked_fill(struck_MV, 0.0)


def _logprobs(
    logits_NV: Tensor, tokens: list[int], sequences: Sequences[Sequence]
) -> dict[int, Logprobs]:
    """Return what those sequences want to know that ask."""
    asking = [n for n, s in enumerate(sequences) if s.params.logprobs is not None]
    if not asking:
        return {}
    rows = torch.tensor(asking, device=logits_NV.device)
    logprobs_MV = logits_NV[rows].float().log_softmax(dim=-1)
    chosen_M1 = torch.tensor([[tokens[n]] for n in asking], device=logits_NV.device)
    chosen = logprobs_MV.gather(1, chosen_M1)[:, 0].tolist()
    n_most = max(sequences[n].params.logprobs or 0 for n in asking)
    top_values, top_ids = logprobs_MV.topk(min(n_most, logits_NV.shape[1]), dim=-1)
    values, ids = top_values.tolist(), top_ids.tolist()
    told = {}
    for m, n in enumerate(asking):
        n_top = sequences[n].params.logprobs or 0
        top = tuple(zip(ids[m][:n_top], values[m][:n_top], strict=True))
        told[n] = Logprobs(tokens[n], chosen[m], top)
    return told
