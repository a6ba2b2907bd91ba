"""The shape of a model: every number that fixes the architecture, and what follows from them.

Parameter counts and floating-point operations are pure arithmetic on the configuration, so that a
run can be sized before a tensor exists. The operation count follows Chowdhery et al., *PaLM*
(2022), appendix B: six per matrix parameter and token, plus attention over the full square.

It does not know what a token is, nor on which device the model will live.
"""

from dataclasses import dataclass

FF_MULTIPLE = 64


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """The "llama3" stretch of rotary frequencies, by which Llama 3.1 and later reach long contexts.

    Attributes
    ----------
    factor : float
        How many times longer the wavelengths become that the original context cannot hold.
    low_freq_factor, high_freq_factor : float
        Wavelengths above ``original_max_seq_len / low_freq_factor`` are stretched in full, those
        below ``original_max_seq_len / high_freq_factor`` not at all, those between in part.
    original_max_seq_len : int
        The context length before the stretch, in tokens.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_seq_len: int

    def __post_init__(self) -> None:
        _require_positive("factor", self.factor)
        _require_positive("low_freq_factor", self.low_freq_factor)
        _require_positive("original_max_seq_len", self.original_max_seq_len)
        if self.high_freq_factor <= self.low_freq_factor:
            raise ValueError(
                f"high_freq_factor must exceed low_freq_factor ({self.low_freq_factor}), "
                f"got {self.high_freq_factor}"
            )


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The architecture of a decoder-only transformer in the Llama layout.

    Attributes
    ----------
    vocab_size : int
        Rows of the embedding.
    d_model : int
        Width of the residual stream.
    n_layers, n_heads : int
        Blocks, and query heads in each.
    n_kv_heads : int, optional
        Key and value heads, a divisor of `n_heads`; as many as query heads when absent.
    d_head : int, optional
        Width of one head, even; ``d_model / n_heads`` when absent.
    d_ff : int, optional
        Width of the feed-forward layer; 8/3 of `d_model` rounded up to a multiple of 64 when
        absent.
    max_seq_len : int
        The longest sequence, in tokens.
    rope_theta : float
        Base of the rotary wavelengths.
    rope_scaling : RopeScaling, optional
        The Llama 3.1 stretch of those wavelengths.
    norm_eps : float
        Added to the mean square inside every RMSNorm.
    tie_embeddings : bool
        Whether the output head is the embedding.
    qkv_bias : bool
        Whether queries, keys and values have a bias, as in Qwen2.
    qk_norm : bool
        Whether the heads of queries and keys are normalised before they are turned, as in Qwen3.

    Raises
    ------
    ValueError
        When a number is out of range or two of them do not fit together.
    """

    vocab_size: int
    d_model: int = 128
    n_layers: int = 4
    n_heads: int = 4
    n_kv_heads: int | None = None
    d_head: int | None = None
    d_ff: int | None = None
    max_seq_len: int = 1024
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    norm_eps: float = 1e-5
    tie_embeddings: bool = True
    qkv_bias: bool = False
    qk_norm: bool = False

    def __post_init__(self) -> None:
        for name in ("vocab_size", "d_model", "n_layers", "n_heads", "max_seq_len"):
            _require_positive(name, getattr(self, name))
        for name in ("n_kv_heads", "d_head", "d_ff"):
            if getattr(self, name) is not None:
                _require_positive(name, getattr(self, name))
        _require_positive("rope_theta", self.rope_theta)
        _require_positive("norm_eps", self.norm_eps)
        if self.d_head is None and self.d_model % self.n_heads:
            raise ValueError(
                f"d_model must be a multiple of n_heads ({self.n_heads}), got {self.d_model}"
            )
        if self.n_heads % self.kv_heads:
            raise ValueError(
                f"n_kv_heads must divide n_heads ({self.n_heads}), got {self.kv_heads}"
            )
        if self.head_dim % 2:
            raise ValueError(
                f"the width of a head must be even for rotary embedding, got {self.head_dim}"
            )

    @property
    def kv_heads(self) -> int:
        """Key and value heads."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.d_model // self.n_heads if self.d_head is None else self.d_head

    @property
    def ff_dim(self) -> int:
        """Width of the feed-forward layer."""
        if self.d_ff is not None:
            return self.d_ff
        return -(-8 * self.d_model // (3 * FF_MULTIPLE)) * FF_MULTIPLE

    @property
    def n_params(self) -> int:
        """Parameters, embedding and head included; a tied head counts once."""
        tables = 1 if self.tie_embeddings else 2
        return self.n_params_without_embeddings + tables * self.vocab_size * self.d_model

    @property
    def n_params_without_embeddings(self) -> int:
        """Parameters of the blocks and of the norms."""
        norms = (2 * self.n_layers + 1) * self.d_model
        heads = self.qkv_bias * (self.n_heads + 2 * self.kv_heads) + self.qk_norm * 2
        per_layer = self._n_matrix_params_per_layer + heads * self.head_dim
        return self.n_layers * per_layer + norms

    def flops_per_token(self, seq_len: int) -> int:
        """Floating-point operations to train on one token: one forward and one backward pass.

        Products of matrices only, a multiply-add counted as two, attention over the full square
        (the causal half is not discounted): the customary numerator of model-FLOPs utilisation.

        Parameters
        ----------
        seq_len : int
            Length of the sequences trained on, in tokens.
        """
        _require_positive("seq_len", seq_len)
        head = self.vocab_size * self.d_model
        matrices = 6 * (self.n_layers * self._n_matrix_params_per_layer + head)
        attention = 12 * self.n_layers * self.n_heads * self.head_dim * seq_len
        return matrices + attention

    @property
    def _n_matrix_params_per_layer(self) -> int:
        heads = 2 * self.n_heads + 2 * self.kv_heads
        return self.d_model * (heads * self.head_dim + 3 * self.ff_dim)


def _require_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be positive, got {value}")
