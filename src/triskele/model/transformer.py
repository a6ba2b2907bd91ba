"""A decoder-only transformer in the Llama layout: RMSNorm, rotary attention, SwiGLU.

Touvron et al., *LLaMA* (2023). Every parameter bears the name it has in Hugging Face's
``LlamaForCausalLM`` (or Qwen's, where the configuration has their biases or norms), so that
checkpoints need no name map in either direction. Initialisation is normal with the residual
projections scaled down by the depth (Radford et al., *GPT-2*, 2019).

The model does not know about devices, precision, optimizers or text: tokens go in, logits come
out, or, when targets come in as well, the mean loss.

Shape suffixes: B batch, T tokens, D model width, V vocabulary.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triskele.model.attention import KVStore, SelfAttention
from triskele.model.config import ModelConfig
from triskele.model.cross_entropy import next_token_loss
from triskele.model.norm import RMSNorm
from triskele.model.rotary import Rotation, rotation

WEIGHT_STD = 0.02


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) · up(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.d_model, config.ff_dim, bias=False)
        self.up_proj = nn.Linear(config.d_model, config.ff_dim, bias=False)
        self.down_proj = nn.Linear(config.ff_dim, config.d_model, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Transform each position on its own."""
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))
        return out


class Block(nn.Module):
    """Attention, then feed-forward, each reading a normalised stream and adding to it."""

    def __init__(self, config: ModelConfig, *, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.d_model, eps=config.norm_eps)
        self.self_attn = SelfAttention(config, layer=layer)
        self.post_attention_layernorm = RMSNorm(config.d_model, eps=config.norm_eps)
        self.mlp = FeedForward(config)

    def forward(self, x_BTD: Tensor, turn: Rotation, store: KVStore | None = None) -> Tensor:
        """Return the residual stream after this block."""
        x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), turn, store)
        out: Tensor = x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))
        return out


class Stack(nn.Module):
    """Embedding, blocks and final norm: tokens to the vectors that the head reads."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList(Block(config, layer=layer) for layer in range(config.n_layers))
        self.norm = RMSNorm(config.d_model, eps=config.norm_eps)


class Transformer(nn.Module):
    """A language model over token ids.

    Parameters
    ----------
    config : ModelConfig
        The architecture.
    generator : torch.Generator, optional
        Source of the initial weights; torch's global one when absent.
    """

    def __init__(self, config: ModelConfig, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.model = Stack(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        initialise(self, generator=generator)

    def forward(
        self,
        tokens_BT: Tensor,
        targets_BT: Tensor | None = None,
        *,
        store: KVStore | None = None,
    ) -> Tensor:
        """Return logits, or the mean loss when targets are given.

        Parameters
        ----------
        tokens_BT : Tensor
            Token ids, int64.
        targets_BT : Tensor, optional
            The id that should follow each token.
        store : KVStore, optional
            Holds the tokens before these; grown by these.

        Returns
        -------
        Tensor
            Logits (B, T, V), or a scalar: mean cross-entropy in nats per token.

        Raises
        ------
        ValueError
            When there are more tokens than ``config.max_seq_len`` and no store, which may pack
            several sequences into one row.
        """
        x_BTD = self.hidden(tokens_BT, store=store)
        if targets_BT is not None:
            return next_token_loss(x_BTD.flatten(0, 1), self.lm_head.weight, targets_BT.flatten())
        logits_BTV: Tensor = self.lm_head(x_BTD)
        return logits_BTV

    def hidden(self, tokens_BT: Tensor, *, store: KVStore | None = None) -> Tensor:
        """Return (B, T, D), the normalised vectors from which the head makes logits."""
        n_tokens = tokens_BT.shape[1]
        if store is None and n_tokens > self.config.max_seq_len:
            raise ValueError(
                f"at most max_seq_len={self.config.max_seq_len} tokens fit, got {n_tokens}"
            )
        x_BTD: Tensor = self.model.embed_tokens(tokens_BT)
        if store is None:
            positions = torch.arange(n_tokens, device=tokens_BT.device)
        else:
            positions = store.positions(n_tokens)
        turn = rotation(
            positions,
            self.config.head_dim,
            theta=self.config.rope_theta,
            scaling=self.config.rope_scaling,
            dtype=x_BTD.dtype,
        )
        for block in self.model.layers:
            x_BTD = block(x_BTD, turn, store)
        if store is not None:
            store.advance(n_tokens)
        normed_BTD: Tensor = self.model.norm(x_BTD)
        return normed_BTD


@torch.no_grad()
def initialise(model: Transformer, *, generator: torch.Generator | None = None) -> None:
    """Draw every weight anew, in place.

    All matrices are normal with standard deviation 0.02, the embedding and the head among them;
    only the projections that write to the residual stream, of which there are two a layer, are
    smaller by √(2L), so that the stream's variance does not grow with depth. Gains are one, biases
    zero.
    """
    writing = WEIGHT_STD / math.sqrt(2 * model.config.n_layers)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
        elif parameter.ndim == 1:
            parameter.fill_(1.0)
        elif name.endswith(("o_proj.weight", "down_proj.weight")):
            parameter.normal_(0.0, writing, generator=generator)
        else:
            parameter.normal_(0.0, WEIGHT_STD, generator=generator)
