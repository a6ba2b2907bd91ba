"""The architecture in Hugging Face's words: ModelConfig to and from a ``config.json``.

Four architectures share the Llama layout: Llama itself, Mistral, Qwen2 (biases on queries, keys
and values) and Qwen3 (normalised queries and keys).

Written with the keys that every reader knows (``rope_theta``, ``rope_scaling``, ``torch_dtype``:
``transformers`` 4 and 5, vLLM, SGLang); read with these or with the newer ``rope_parameters``.
Whatever this model cannot compute (other biases, other activations, other rotary stretches,
sliding windows that would be felt, quantisation) is refused, never ignored. It does not read files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triskele.model.config import ModelConfig, RopeScaling

# What a config may say only in one way, and what it means to be silent.
FIXED = {
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "quantization_config": None,
    "partial_rotary_factor": 1.0,
}
# As in transformers, where a config file is silent.
DEFAULTS: Mapping[str, Any] = {
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "rope_theta": 10_000.0,
}
FULL_ATTENTION = "full_attention"


@dataclass(frozen=True, slots=True)
class Architecture:
    """One of the architectures in the Llama layout: its names, what is its own, its silences."""

    name: str
    model_type: str
    silences: Mapping[str, Any]
    qkv_bias: bool = False
    qk_norm: bool = False


ARCHITECTURES = (
    Architecture("LlamaForCausalLM", "llama", {"max_position_embeddings": 2048}),
    Architecture(
        "MistralForCausalLM",
        "mistral",
        {"max_position_embeddings": 131072, "num_key_value_heads": 8, "sliding_window": 4096},
    ),
    Architecture(
        "Qwen2ForCausalLM",
        "qwen2",
        {"max_position_embeddings": 32768, "num_key_value_heads": 32},
        qkv_bias=True,
    ),
    Architecture(
        "Qwen3ForCausalLM",
        "qwen3",
        {"max_position_embeddings": 32768, "num_key_value_heads": 32, "head_dim": 128},
        qk_norm=True,
    ),
)


def to_llama_config(config: ModelConfig, *, dtype: str, eos_id: int | None) -> dict[str, Any]:
    """Return the content of a ``config.json``.

    Parameters
    ----------
    config : ModelConfig
        The architecture.
    dtype : str
        Of the weights, in torch's words: "float32", "bfloat16", "float16".
    eos_id : int, optional
        The id between documents, which therefore both ends one and begins the next.

    Raises
    ------
    ValueError
        When no architecture has both biases and normalised queries and keys.
    """
    own = (config.qkv_bias, config.qk_norm)
    found = [kind for kind in ARCHITECTURES if (kind.qkv_bias, kind.qk_norm) == own]
    if not found:
        raise ValueError("expected qkv_bias or qk_norm, got both: no known architecture has them")
    return {
        "architectures": [found[0].name],
        "model_type": found[0].model_type,
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.ff_dim,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.max_seq_len,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": _stretch_out(config.rope_scaling),
        "tie_word_embeddings": config.tie_embeddings,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "bos_token_id": eos_id,
        "eos_token_id": eos_id,
        "torch_dtype": dtype,
        "use_cache": True,
    }


def from_llama_config(raw: Mapping[str, Any]) -> ModelConfig:
    """Return the architecture that a ``config.json`` describes.

    Raises
    ------
    ValueError
        When it describes anything that this model does not compute exactly.
    """
    kind = _architecture(raw)
    for key, only in FIXED.items():
        if raw.get(key, only) not in (only, None):
            raise ValueError(f"expected {key} {only!r}, got {raw[key]!r}")
    full = {**DEFAULTS, **kind.silences, **raw}
    _refuse_windows(full, kind)
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    try:
        return ModelConfig(
            vocab_size=full["vocab_size"],
            d_model=full["hidden_size"],
            n_layers=full["num_hidden_layers"],
            n_heads=full["num_attention_heads"],
            n_kv_heads=full.get("num_key_value_heads"),
            d_head=full.get("head_dim"),
            d_ff=full["intermediate_size"],
            max_seq_len=full["max_position_embeddings"],
            rope_theta=rope.get("rope_theta", full["rope_theta"]),
            rope_scaling=_stretch_in(rope),
            norm_eps=full["rms_norm_eps"],
            tie_embeddings=full["tie_word_embeddings"],
            qkv_bias=kind.qkv_bias,
            qk_norm=kind.qk_norm,
        )
    except KeyError as error:
        raise ValueError(f"expected a {kind.name} config with a key {error}, got none") from error


def _architecture(raw: Mapping[str, Any]) -> Architecture:
    names = raw.get("architectures") or [raw.get("model_type")]
    for kind in ARCHITECTURES:
        if {kind.name, kind.model_type} & set(names):
            return kind
    known = ", ".join(kind.name for kind in ARCHITECTURES)
    raise ValueError(f"expected architecture {known}, got {', '.join(map(str, names))}")


def _refuse_windows(full: Mapping[str, Any], kind: Architecture) -> None:
    """Refuse attention to the last tokens only, unless no sequence is longer than the window."""
    others = sorted(set(full.get("layer_types") or ()) - {FULL_ATTENTION})
    if others:
        raise ValueError(f"expected layers of {FULL_ATTENTION}, got {', '.join(map(str, others))}")
    window, longest = full.get("sliding_window"), full["max_position_embeddings"]
    slides = kind.model_type == "mistral" or full.get("use_sliding_window", False)
    if slides and window is not None and window < longest:
        raise ValueError(
            f"expected no sliding window below max_position_embeddings {longest}, got {window}"
        )


def _stretch_out(scaling: RopeScaling | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    return {
        "rope_type": "llama3",
        "factor": scaling.factor,
        "low_freq_factor": scaling.low_freq_factor,
        "high_freq_factor": scaling.high_freq_factor,
        "original_max_position_embeddings": scaling.original_max_seq_len,
    }


def _stretch_in(rope: Mapping[str, Any]) -> RopeScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        raise ValueError(f"expected rope_type 'default' or 'llama3', got {kind!r}")
    return RopeScaling(
        factor=rope["factor"],
        low_freq_factor=rope["low_freq_factor"],
        high_freq_factor=rope["high_freq_factor"],
        original_max_seq_len=rope["original_max_position_embeddings"],
    )
