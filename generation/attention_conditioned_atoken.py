"""Attention among the tokens of an object, and from them to a condition (TRELLIS, Xiang et al., 2024)."""

import torch
from diffusers.models.attention import AttentionModuleMixin
from torch import nn

from .attention_atoken import GeneratorAttentionProcessor
from .packed_sequences_atoken import PackedSequences
from .varlen_attention_atoken import has_kernel, varlen_attn

KeysAndValues = tuple[torch.Tensor, torch.Tensor]  # (B, M, heads, e) each


class HeadNorm(nn.Module):
    """Brings each head's channels to length 1 in fp32, then multiplies by sqrt(e) and a learned weight (heads, e)."""

    def __init__(self, heads: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(heads, channels))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., heads, e) -> (..., heads, e)."""
        unit = nn.functional.normalize(hidden.float(), dim=-1)
        return (unit * self.weight.float() * hidden.shape[-1] ** 0.5).to(hidden.dtype)


class PackedAttention(nn.Module, AttentionModuleMixin):
    """
    Attends among the tokens of each sample.

    Args:
        width: channels d of a token.
        heads: that share them, e = d / heads each.
        qk_norm: whether queries and keys are normed by head.
    """

    _default_processor_cls = GeneratorAttentionProcessor
    _available_processors = [GeneratorAttentionProcessor]
    _supports_qkv_fusion = False  # they are one layer from the start

    def __init__(self, width: int, heads: int, qk_norm: bool):
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width)
        self.norm_q = HeadNorm(heads, width // heads) if qk_norm else None
        self.norm_k = HeadNorm(heads, width // heads) if qk_norm else None
        self.to_out = nn.Linear(width, width)
        self.set_processor(GeneratorAttentionProcessor())

    def forward(self, hidden: torch.Tensor, sequences: PackedSequences) -> torch.Tensor:
        """`rows` of the sequences, (B, L, d) or (N, d), to the same shape."""
        query, key, value = self.to_qkv(hidden).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        if self.norm_q is not None:
            query, key = self.norm_q(query), self.norm_k(key)
        return self.to_out(_attend(self.processor, query, key, value, sequences).flatten(-2))


class ConditionAttention(nn.Module, AttentionModuleMixin):
    """
    Lets the tokens of each sample attend to its condition.

    Args:
        width, heads, qk_norm: as in `PackedAttention`.
        condition_width: channels c of the condition.
    """

    _default_processor_cls = GeneratorAttentionProcessor
    _available_processors = [GeneratorAttentionProcessor]
    _supports_qkv_fusion = False

    def __init__(self, width: int, heads: int, condition_width: int, qk_norm: bool):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width)
        self.to_kv = nn.Linear(condition_width, 2 * width)
        self.norm_q = HeadNorm(heads, width // heads) if qk_norm else None
        self.norm_k = HeadNorm(heads, width // heads) if qk_norm else None
        self.to_out = nn.Linear(width, width)
        self.set_processor(GeneratorAttentionProcessor())

    def keys_and_values(self, condition: torch.Tensor) -> KeysAndValues:
        """Gives what a condition (B, M, c) is seen as; it does not depend on the time."""
        key, value = self.to_kv(condition).unflatten(-1, (2, self.heads, -1)).unbind(-3)
        return (key if self.norm_k is None else self.norm_k(key)), value

    def forward(
        self, hidden: torch.Tensor, condition: KeysAndValues | None, sequences: PackedSequences
    ) -> torch.Tensor:
        """
        Attends.

        Args:
            hidden: `rows` of the sequences, (B, L, d) or (N, d).
            condition: of each sample, or of one for all; None for a condition of zeros. All keys of zeros are equal, so
                every token sees the same value, and that is what is returned.
            sequences: of the tokens.

        Returns:
            The shape of `hidden`, or (1, d) that adds to it.
        """
        if condition is None:
            zeros = hidden.new_zeros(1, self.to_kv.in_features)
            return self.to_out(self.to_kv(zeros).chunk(2, dim=-1)[1])
        query = self.to_q(hidden).unflatten(-1, (self.heads, -1))
        if self.norm_q is not None:
            query = self.norm_q(query)
        key, value = (each.expand(len(sequences.lengths), -1, -1, -1) for each in condition)
        return self.to_out(_attend(self.processor, query, key, value, sequences).flatten(-2))


def _attend(
    processor: GeneratorAttentionProcessor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    sequences: PackedSequences,
) -> torch.Tensor:
    """
    Attends within each sample.

    Args:
        query: (B, L, heads, e), or packed (N, heads, e).
        key, value: packed as the queries are, or (B, M, heads, e).

    Returns:
        The shape of `query`.
    """
    if query.ndim == 4:
        return processor(query, key, value, is_causal=False, dropout=0.0)
    lengths = list(sequences.lengths)
    if has_kernel(query) and processor._attention_backend is None:
        starts, longest = sequences.cu_seqlens, max(lengths)
        if key.ndim == 4:
            batch, length = key.shape[:2]
            key_starts = torch.arange(0, (batch + 1) * length, length, device=key.device, dtype=torch.int32)
            return varlen_attn(query, key.flatten(0, 1), value.flatten(0, 1), starts, key_starts, longest, length)
        return varlen_attn(query, key, value, starts, starts, longest, longest)
    if key.ndim == 4:
        keys, values = key.unbind(0), value.unbind(0)
    else:
        keys, values = key.split(lengths), value.split(lengths)
    found = [
        processor(q[None], k[None], v[None], is_causal=False, dropout=0.0)[0]
        for q, k, v in zip(query.split(lengths), keys, values, strict=True)
    ]
    return torch.cat(found)
