"""How a parameter is read as matrices, and how many matrices are shaped at once.

A parameter is not always one matrix: a convolution is (out, in·kh·kw), a stack of experts is a
batch, a fused query-key-value projection is several matrices one above the other, and some layers
store (in, out). ``MatrixView`` says which; ``shape_matrices`` collects all matrices of one size,
tall ones lying down, into one batch, so that a hundred small products become a few large ones.

It does not know what shaping is: that is a function on a batch (…, m, n) with m ≤ n.

Shape legend: K matrices in a batch, M rows, N columns, M ≤ N.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

AdjustLr = Literal["original", "match_rms_adamw", "spectral", "none"]
Shaper = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixView:
    """How one parameter is read as matrices of shape (out, in).

    Parameters
    ----------
    flatten
        Join every dimension after the first: (out, in, kh, kw) is one matrix (out, in·kh·kw).
        Without it, leading dimensions are a batch: (experts, out, in) is ``experts`` matrices.
    transposed
        The parameter is stored as (in, out).
    split
        Row counts of matrices fused one above the other along ``out``; empty for none.
    gains
        What the update of each part is multiplied by; empty for 1 throughout.
    """

    flatten: bool = False
    transposed: bool = False
    split: tuple[int, ...] = ()
    gains: tuple[float, ...] = ()

    def of(self, tensor: Tensor) -> list[Tensor]:
        """Return the matrices in ``tensor`` as views of shape (K, out, in).

        Raises
        ------
        ValueError
            If ``tensor`` has fewer than two dimensions or ``split`` does not add up to its rows.
        """
        if tensor.ndim < 2:
            raise ValueError(
                "expected a parameter of two or more dimensions, got shape "
                f"{tuple(tensor.shape)}; give it to a group with algorithm='adamw'"
            )
        if self.flatten:
            stack_KMN = tensor.flatten(1)[None]
        else:
            n_stacked = math.prod(tensor.shape[:-2])
            stack_KMN = tensor.reshape(n_stacked, *tensor.shape[-2:])
        if self.transposed:
            stack_KMN = stack_KMN.mT
        if self.gains and len(self.gains) != max(1, len(self.split)):
            raise ValueError(f"expected {max(1, len(self.split))} gains, got {self.gains}")
        if not self.split:
            return [stack_KMN]
        if sum(self.split) != stack_KMN.shape[1]:
            raise ValueError(
                f"split {self.split} adds up to {sum(self.split)} rows, the parameter of shape "
                f"{tuple(tensor.shape)} has {stack_KMN.shape[1]}"
            )
        return list(torch.split(stack_KMN, list(self.split), dim=1))

    def gain_of(self, part: int) -> float:
        """Return the factor of one part's update."""
        return self.gains[part] if self.gains else 1.0


def lr_ratio(n_out: int, n_in: int, adjust_lr: AdjustLr) -> float:
    """Return what the learning rate of an (out, in) matrix is multiplied by.

    ``"original"`` is √max(1, out/in) (Jordan 2024) and ``"match_rms_adamw"`` 0.2·√max(out, in)
    (Moonshot, arXiv 2502.16982), both as in ``torch.optim.Muon``; ``"spectral"`` is √(out/in) and
    ``"none"`` is 1.
    """
    if adjust_lr not in get_args(AdjustLr):
        raise ValueError(f"adjust_lr must be one of {get_args(AdjustLr)}, got {adjust_lr!r}")
    if adjust_lr == "original":
        return math.sqrt(max(1.0, n_out / n_in))
    if adjust_lr == "match_rms_adamw":
        return 0.2 * math.sqrt(max(n_out, n_in))
    return math.sqrt(n_out / n_in) if adjust_lr == "spectral" else 1.0


def shape_matrices(
    tensors: Sequence[Tensor], *, view: MatrixView, adjust_lr: AdjustLr, shaper: Shaper
) -> list[Tensor]:
    """Apply ``shaper`` to every matrix in ``tensors``; equal sizes go through it together.

    Parameters
    ----------
    tensors
        Momenta of any shapes that ``view`` accepts; left untouched.
    view
        How each of them is read as matrices.
    adjust_lr
        Each shaped matrix is multiplied by :func:`lr_ratio` of its own size, and by its gain.
    shaper
        Maps a batch (K, M, N), M ≤ N, to a batch of the same shape.

    Returns
    -------
    list of Tensor
        One result per input, of its shape and dtype.
    """
    pieces = [view.of(tensor) for tensor in tensors]
    shaped: list[list[Tensor]] = [[] for _ in tensors]
    for slots in _by_size(pieces):
        lying = [_lie_down(pieces[i][j]) for i, j in slots]
        batch_KMN = shaper(lying[0] if len(lying) == 1 else torch.cat(lying))
        counts = [stack.shape[0] for stack in lying]
        for (i, j), result_KMN in zip(slots, torch.split(batch_KMN, counts), strict=True):
            _, n_out, n_in = pieces[i][j].shape
            ratio = lr_ratio(n_out, n_in, adjust_lr) * view.gain_of(j)
            scaled = result_KMN if ratio == 1.0 else result_KMN * ratio
            shaped[i].append(scaled.mT if n_out > n_in else scaled)
    return [
        _assemble(parts, like=tensor, view=view)
        for parts, tensor in zip(shaped, tensors, strict=True)
    ]


def chunks(tensors: Sequence[Tensor], *, max_elements: int) -> list[list[int]]:
    """Cut ``tensors`` into runs of like sizes with at most ``max_elements`` elements each.

    Returns lists of indices; a tensor larger than the bound is a run of its own. Like sizes stand
    together, so that they are shaped in one batch while the temporaries stay bounded.
    """
    order = sorted(
        range(len(tensors)), key=lambda i: (tensors[i].numel(), sorted(tensors[i].shape))
    )
    runs: list[list[int]] = []
    room = 0
    for i in order:
        if not runs or tensors[i].numel() > room:
            runs.append([])
            room = max_elements
        runs[-1].append(i)
        room -= tensors[i].numel()
    return runs


def _by_size(pieces: Sequence[Sequence[Tensor]]) -> Iterable[list[tuple[int, int]]]:
    """Group (tensor, piece) positions by the size of the matrix lying down; skip empty ones."""
    groups: dict[tuple[int, int, torch.dtype, torch.device], list[tuple[int, int]]] = {}
    for i, stacks in enumerate(pieces):
        for j, stack_KMN in enumerate(stacks):
            n_out, n_in = stack_KMN.shape[-2:]
            key = (min(n_out, n_in), max(n_out, n_in), stack_KMN.dtype, stack_KMN.device)
            groups.setdefault(key, []).append((i, j))
    return groups.values()


def _lie_down(stack_KMN: Tensor) -> Tensor:
    return stack_KMN.mT if stack_KMN.shape[-2] > stack_KMN.shape[-1] else stack_KMN


def _assemble(parts: Sequence[Tensor], *, like: Tensor, view: MatrixView) -> Tensor:
    """Put the matrices of one tensor back into its own shape."""
    whole_KMN = parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)
    if view.transposed:
        whole_KMN = whole_KMN.mT
    return whole_KMN.reshape(like.shape)
