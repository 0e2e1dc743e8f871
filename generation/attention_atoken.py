"""Self-attention of the generators, on any attention backend of diffusers."""

import torch
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import nn


class GeneratorAttentionProcessor:
    """Holds what `set_attention_backend` of a model chooses for each of its attentions."""

    _attention_backend = None
    _parallel_config = None

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, is_causal: bool, dropout: float
    ) -> torch.Tensor:
        """Attends: (B, L, heads, e) each, or fewer queries than keys if not causal; gives the queries' shape."""
        return dispatch_attention_fn(
            query,
            key,
            value,
            dropout_p=dropout,
            is_causal=is_causal,
            backend=self._attention_backend,
            parallel_config=self._parallel_config,
        )


class GeneratorAttention(nn.Module, AttentionModuleMixin):
    """
    Attends within a sequence.

    Args:
        width: channels d of a token.
        heads: that share them, e = d / heads each.
        qk_norm: makes the norm of each head's channels of queries and of keys, None for none.
        is_causal: whether a token sees only itself and those before it.
        dropout: of attention weights and of the result, in training.
    """

    _default_processor_cls = GeneratorAttentionProcessor
    _available_processors = [GeneratorAttentionProcessor]
    _supports_qkv_fusion = False  # they are one layer from the start

    def __init__(
        self, width: int, heads: int, *, qk_norm: type[nn.Module] | None = None, is_causal=False, dropout: float = 0.0
    ):
        super().__init__()
        self.heads, self.is_causal, self.dropout = heads, is_causal, dropout
        self.to_qkv = nn.Linear(width, 3 * width)
        self.norm_q = qk_norm(width // heads, eps=1e-6) if qk_norm else None
        self.norm_k = qk_norm(width // heads, eps=1e-6) if qk_norm else None
        self.to_out = nn.Linear(width, width)
        self.set_processor(GeneratorAttentionProcessor())

    def forward(
        self,
        hidden: torch.Tensor,
        rotation: torch.Tensor | None = None,
        cache: "KeyValueCache | None" = None,
    ) -> torch.Tensor:
        """
        Attends.

        Args:
            hidden: (B, L, d).
            rotation: (L, 1, 1, e / 2) complex64, by which adjacent pairs of channels of queries and keys are turned.
            cache: what earlier tokens of the sequence left, to which these are added; only for inference.

        Returns:
            (B, L, d).
        """
        query_key, value = self.to_qkv(hidden).unflatten(-1, (3, self.heads, -1)).split((2, 1), dim=2)
        value = value.squeeze(2)  # (B, L, heads, e)
        if self.norm_q is not None:
            query, key = query_key.unbind(2)
            query_key = torch.stack([self.norm_q(query), self.norm_k(key)], dim=2)
        if rotation is not None:
            query_key = rotate_pairs(query_key, rotation)
        query, key = query_key.unbind(2)
        is_causal = self.is_causal
        if cache is not None:
            key, value = cache.add(key, value)
            is_causal = is_causal and hidden.shape[1] > 1
        dropout = self.dropout if self.training else 0.0
        found = self.processor(query, key, value, is_causal=is_causal, dropout=dropout)
        found = self.to_out(found.flatten(2))
        return nn.functional.dropout(found, dropout, self.training) if dropout else found


class KeyValueCache:
    """Holds keys and values of up to `length` tokens of B sequences, `filled` of them so far, for one attention."""

    def __init__(self, length: int):
        self.filled, self._length = 0, length
        self._keys: torch.Tensor | None = None
        self._values: torch.Tensor | None = None

    def add(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds (B, L, heads, e) and gives all there are so far."""
        if self._keys is None:
            shape = (keys.shape[0], self._length, *keys.shape[2:])
            self._keys, self._values = keys.new_empty(shape), values.new_empty(shape)
        end = self.filled + keys.shape[1]
        self._keys[:, self.filled : end], self._values[:, self.filled : end] = keys, values
        self.filled = end
        return self._keys[:, :end], self._values[:, :end]


def rotate_pairs(values: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """Turns adjacent pairs of channels: (..., e) times (..., e / 2) complex64, in fp32; keeps the dtype."""
    pairs = torch.view_as_complex(values.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation).flatten(-2).to(values.dtype)


class MLP(nn.Module):
    """Applies two linear layers with exact GELU between them, d -> ratio * d -> d, with dropout after each."""

    def __init__(self, width: int, ratio: float, dropout: float = 0.0):
        super().__init__()
        self.fc1 = nn.Linear(width, int(width * ratio))
        self.fc2 = nn.Linear(int(width * ratio), width)
        self.dropout = dropout

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., d) -> (..., d)."""
        hidden = nn.functional.gelu(self.fc1(hidden))
        hidden = nn.functional.dropout(hidden, self.dropout, self.training)
        return nn.functional.dropout(self.fc2(hidden), self.dropout, self.training)
