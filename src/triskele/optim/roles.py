"""Which parameter goes where: hidden matrices to DynMuon, the rest to AdamW.

The rule is Muon's (Jordan et al., 2024): a matrix between hidden spaces is shaped; embeddings, the
output head, norms, biases, scalars and whatever reads raw input are not. Roles are read off the
modules that own the parameters and, for fused projections, off their usual names; every decision
can be overridden by a name pattern. This file never touches a gradient.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal, get_args

from torch import nn

from triskele.optim.matrices import MatrixView

Algorithm = Literal["dynmuon", "adamw", "soap"]

HEAD_NAMES = frozenset({"lm_head", "head", "output", "classifier", "score", "fc", "embed_out"})
INPUT_WORDS = ("embed", "position", "token", "wte", "wpe")
FUSED_QKV_NAMES = frozenset(
    {"c_attn", "qkv", "qkv_proj", "Wqkv", "in_proj_weight", "attn_qkv", "to_qkv"}
)
QUERY_KEY_NAMES = frozenset(
    {"q_proj", "k_proj", "query", "key", "q", "k", "wq", "wk", "q_lin", "k_lin", "to_q", "to_k"}
)
INTERLEAVED_QKV_NAMES = frozenset({"query_key_value"})
FUSED_GATE_UP_NAMES = frozenset({"gate_up_proj", "w13"})
FEED_FORWARD_PARTS = frozenset(
    {"mlp", "ffn", "ff", "feed_forward", "feedforward", "DenseReluDense", "intermediate", "experts"}
)
FEED_FORWARD_NAMES = frozenset(
    {"gate_proj", "up_proj", "down_proj", "gate_up_proj", "w1", "w2", "w3", "w13"}
    | {"fc1", "fc2", "c_fc", "linear1", "linear2", "dense_h_to_4h", "dense_4h_to_h"}
)
ROUTER_NAMES = frozenset({"router", "gate"})
# A convolution with so few input channels reads pixels or samples, not features.
MAX_RAW_CHANNELS = 4
WRAPPER_PREFIXES = ("_orig_mod.", "module.")
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED_CONVOLUTIONS = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Where one parameter goes, and why.

    ``role`` is a few words for a person; ``view`` matters only to ``algorithm="dynmuon"``.
    """

    name: str
    parameter: nn.Parameter
    algorithm: Algorithm
    role: str
    view: MatrixView


def assign_parameters(
    model: nn.Module,
    *,
    head: Algorithm = "adamw",
    split_heads: bool = False,
    overrides: Mapping[str, Algorithm] | None = None,
) -> list[Assignment]:
    """Return one assignment for every trainable parameter of ``model``, in its order.

    Parameters
    ----------
    model
        Any module; compiled and DDP-wrapped ones keep the names of what they wrap.
    head
        What steps an output head of its own; a head tied to an embedding is AdamW's.
    split_heads
        Whether query and key projections are cut into one matrix per attention head, where a
        ``config`` above them, or the attention module itself, tells how wide a head is.
    overrides
        Shell-style name patterns to algorithms, first match wins:
        ``{"*.router.weight": "adamw"}``.

    Raises
    ------
    ValueError
        If an override names an unknown algorithm, matches nothing, or asks a matrix algorithm to
        step a parameter that is none.
    """
    overrides = dict(overrides or {})
    for pattern, algorithm in overrides.items():
        if algorithm not in get_args(Algorithm):
            raise ValueError(
                f"override {pattern!r}: expected one of {get_args(Algorithm)}, got {algorithm!r}"
            )
    unused = set(overrides)
    seen_twice = _tied(model)
    tables = [m for m in model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))]
    embeddings = {id(table.weight) for table in tables}
    vocabulary = max((table.num_embeddings for table in tables), default=None)
    assignments = []
    for name, parameter, module, config in _owned_parameters(model):
        assignment = _assign(name, parameter, module, config, embeddings, vocabulary)
        if split_heads:
            assignment = _split_heads(assignment, config)
        if assignment.role == "head":
            assignment = replace(assignment, algorithm=head)
        elif assignment.role == "embedding" and id(parameter) in seen_twice:
            assignment = replace(assignment, role="tied embedding")
        for pattern, algorithm in overrides.items():
            if fnmatchcase(name, pattern):
                unused.discard(pattern)
                assignment = _overridden(assignment, algorithm, pattern)
                break
        assignments.append(assignment)
    if unused:
        raise ValueError(f"override {sorted(unused)[0]!r} matches no trainable parameter")
    return assignments


def _tied(model: nn.Module) -> set[int]:
    """Return the ids of parameters that more than one module owns."""
    owners = Counter(
        id(parameter)
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
    )
    return {parameter for parameter, n_owners in owners.items() if n_owners > 1}


def _owned_parameters(
    model: nn.Module,
) -> Iterator[tuple[str, nn.Parameter, nn.Module, object]]:
    """Yield each trainable parameter once: clean name, owner and the nearest ``config`` above."""
    seen: set[int] = set()
    configs: dict[str, object] = {}
    for prefix, module in model.named_modules():
        parent = configs.get(prefix.rpartition(".")[0])
        own = module if hasattr(module, "num_heads") else None
        configs[prefix] = config = getattr(module, "config", parent or own)
        for leaf, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen or not parameter.requires_grad:
                continue
            seen.add(id(parameter))
            name = f"{prefix}.{leaf}" if prefix else leaf
            for wrapper in WRAPPER_PREFIXES:
                name = name.replace(f".{wrapper}", ".").removeprefix(wrapper)
            yield name, parameter, module, config


def _assign(
    name: str,
    parameter: nn.Parameter,
    module: nn.Module,
    config: object,
    embeddings: set[int],
    vocabulary: int | None,
) -> Assignment:
    *path, leaf = name.split(".")
    layer = path[-1] if path else ""
    outside_blocks = len(path) < 2 or not any(part.isdigit() for part in path)
    reads_tokens = id(parameter) in embeddings or any(word in leaf for word in INPUT_WORDS)
    view: MatrixView | None = None
    if parameter.ndim < 2 or (min(parameter.shape[-2:]) == 1 and not _is_convolution(module)):
        role = "vector"
    elif reads_tokens:
        role = "embedding"
    elif outside_blocks and (layer in HEAD_NAMES or parameter.shape[0] == vocabulary):
        role = "head"
    elif layer in ROUTER_NAMES:
        role = "router"
    elif _is_convolution(module):
        role, view = _read_convolution(parameter, module)
    else:
        role, view = _read_matrix(
            parameter, module, config, path if leaf == "weight" else [*path, leaf]
        )
    return Assignment(
        name=name,
        parameter=parameter,
        algorithm="adamw" if view is None else "dynmuon",
        role=role,
        view=view or MatrixView(),
    )


def _split_heads(assignment: Assignment, config: object) -> Assignment:
    """Cut queries and keys into heads, if their width is known; values stay whole."""
    view, width = assignment.view, _head_width(config)
    if not width or assignment.parameter.ndim < 2:
        return assignment
    n_out = assignment.parameter.shape[-1 if view.transposed else -2]
    rest: tuple[int, ...] = ()
    if assignment.role == "query or key":
        rows = n_out
    elif assignment.role == "fused query-key-value" and len(view.split) == 3:
        rows, rest = sum(view.split[:2]), view.split[2:]
    else:
        return assignment
    if any(part % width for part in (*view.split[:2], rows)) or rows == width:
        return assignment
    return replace(assignment, view=replace(view, split=(width,) * (rows // width) + rest))


def _head_width(config: object) -> int | None:
    """Return the width of an attention head, by any of the names that configurations use."""

    def first(*names: str) -> int | None:
        return next((value for name in names if (value := getattr(config, name, None))), None)

    width = first("head_dim", "d_head", "d_kv")
    hidden = first("hidden_size", "d_model", "n_embd", "embed_dim")
    n_heads = first("num_attention_heads", "n_heads", "num_heads", "n_head")
    return width or (hidden // n_heads if hidden and n_heads else None)


def _overridden(assignment: Assignment, algorithm: Algorithm, pattern: str) -> Assignment:
    if algorithm != "adamw" and assignment.parameter.ndim < 2:
        raise ValueError(
            f"override {pattern!r}: {assignment.name} of shape "
            f"{tuple(assignment.parameter.shape)} is not a matrix"
        )
    return replace(assignment, algorithm=algorithm, role=f"{assignment.role} (override)")


def _is_convolution(module: nn.Module) -> bool:
    return isinstance(module, CONVOLUTIONS + TRANSPOSED_CONVOLUTIONS)


def _read_convolution(parameter: nn.Parameter, module: nn.Module) -> tuple[str, MatrixView | None]:
    groups = int(getattr(module, "groups", 1))
    transposed = isinstance(module, TRANSPOSED_CONVOLUTIONS)
    if parameter.shape[1] == 1 and groups > 1:
        return "depthwise convolution", None
    if parameter.shape[0 if transposed else 1] * (1 if transposed else groups) <= MAX_RAW_CHANNELS:
        return "input convolution", None
    if transposed:
        return "convolution", MatrixView(flatten=True, transposed=True)
    n_out = parameter.shape[0]
    split = (n_out // groups,) * groups if groups > 1 else ()
    return "convolution", MatrixView(flatten=True, split=split)


def _read_matrix(
    parameter: nn.Parameter, module: nn.Module, config: object, path: list[str]
) -> tuple[str, MatrixView]:
    """Return the role of a hidden matrix and where fused projections are cut apart."""
    noun = path[-1] if path else ""
    # GPT-2 in transformers stores (in, out).
    transposed = any(kind.__name__ == "Conv1D" for kind in type(module).__mro__)
    if parameter.ndim > 2:
        hidden = getattr(config, "hidden_size", None)
        transposed = parameter.shape[-2] == hidden != parameter.shape[-1] and "gate_up" in noun
    n_out = parameter.shape[-1] if transposed else parameter.shape[-2]
    is_feed_forward = noun in FEED_FORWARD_NAMES or not FEED_FORWARD_PARTS.isdisjoint(path)
    role = "feed-forward" if is_feed_forward else "matrix"
    if parameter.ndim > 2:
        role = "experts"
    split: tuple[int, ...] = ()
    if noun in QUERY_KEY_NAMES:
        role = "query or key"
    elif noun in FUSED_QKV_NAMES:
        role, split = "fused query-key-value", _qkv_rows(n_out, config)
    elif noun in INTERLEAVED_QKV_NAMES:
        n_heads = getattr(config, "num_attention_heads", None) or 1
        role, split = "interleaved query-key-value", (n_out // n_heads,) * n_heads
    elif noun in FUSED_GATE_UP_NAMES and n_out % 2 == 0 and not transposed:
        role, split = f"{role}, fused gate and up", (n_out // 2, n_out // 2)
    if sum(split) != n_out or len(split) == 1:
        split = ()
    return role, MatrixView(transposed=transposed, split=split)


def _qkv_rows(n_rows: int, config: object) -> tuple[int, ...]:
    """Rows of the query, key and value parts; grouped heads come from a Hugging Face config."""
    n_heads = getattr(config, "num_attention_heads", None)
    n_kv_heads = getattr(config, "num_key_value_heads", None)
    if n_heads and n_kv_heads and n_rows % (n_heads + 2 * n_kv_heads) == 0:
        head = n_rows // (n_heads + 2 * n_kv_heads)
        return (n_heads * head, n_kv_heads * head, n_kv_heads * head)
    return (n_rows // 3,) * 3 if n_rows % 3 == 0 else ()
