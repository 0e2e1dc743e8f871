"""TokenBridge's head: the codes of a position, drawn one after another."""

from collections.abc import Callable

import torch
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .attention_atoken import MLP, GeneratorAttention, KeyValueCache
from .modulation_atoken import Modulation, modulate

# Codes drawn of logits (M, V) of the i-th code: (M, V), i -> (M,).
Draw = Callable[[torch.Tensor, int], torch.Tensor]
# A product of fewer rows spends much of its time on moving the weights.
_ROWS = 512


class ElementCache(KeyValueCache):
    """
    Holds what one block has made of a position's elements so far, and the modulations of those that come next.

    Args:
        length: elements of a position, G.
        positions: M.
    """

    def __init__(self, length: int, positions: int):
        super().__init__(length)
        self._together = max(1, _ROWS // max(positions, 1))
        self._parts: tuple[torch.Tensor, ...] = ()

    def modulate_next(self, modulation: Modulation, conditions: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Gives the modulation of the next element, (M, 1, q) each, of all conditions (M, G, q)."""
        place = self.filled % self._together
        if place == 0:
            self._parts = modulation(conditions[:, self.filled : self.filled + self._together])
        return tuple(part[:, place : place + 1] for part in self._parts)


class HeadBlock(nn.Module):
    """Applies causal attention and an MLP, each with shift, scale and gate of the condition."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = GeneratorAttention(width, heads, qk_norm=nn.LayerNorm, is_causal=True, dropout=dropout)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, 4, dropout)
        self.modulation = Modulation(width, 6)

    def forward(self, hidden: torch.Tensor, condition: torch.Tensor, cache: ElementCache | None = None) -> torch.Tensor:
        """(M, L, q), condition (M, L, q) -> (M, L, q). With a cache L is 1, and the condition that of all elements."""
        parts = self.modulation(condition) if cache is None else cache.modulate_next(self.modulation, condition)
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = parts
        found = self.attn(modulate(self.norm1(hidden), shift_1, scale_1), cache=cache)
        hidden = torch.addcmul(hidden, gate_1, found)
        found = self.mlp(modulate(self.norm2(hidden), shift_2, scale_2))
        return torch.addcmul(hidden, gate_2, found)


class TokenBridgeHead(nn.Module):
    """
    Gives the distribution of each code of a position, given the position's feature and its codes before.

    Args:
        feature_width: channels d of a feature.
        width, layers, heads: q, blocks and heads of the head.
        num_codes, codebook_size: G codes in [0, V).
        dropout: in training.
    """

    def __init__(
        self,
        feature_width: int,
        width: int,
        layers: int,
        heads: int,
        num_codes: int,
        codebook_size: int,
        dropout: float,
    ):
        super().__init__()
        self.num_codes = num_codes
        self.gradient_checkpointing = False
        self.condition_proj = nn.Linear(feature_width, width)
        self.element_embed = nn.Parameter(torch.empty(1, num_codes, width))
        self.condition_embed = nn.Parameter(torch.empty(1, num_codes, width))
        self.code_embeds = nn.ModuleList(nn.Embedding(codebook_size, width) for _ in range(num_codes - 1))
        self.blocks = nn.ModuleList(HeadBlock(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.norm_out = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.modulation_out = Modulation(width, 2)
        self.code_outputs = nn.ModuleList(nn.Linear(width, codebook_size) for _ in range(num_codes))

    def forward(self, features: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """
        Runs over all codes of positions at once, each given the true ones before it.

        Args:
            features: (M, d).
            codes: (M, G) int64, in the order in which they are drawn.

        Returns:
            (M, G, q), of which `code_outputs[i]` makes the logits of the i-th code.
        """
        feature = self.condition_proj(features)
        embedded = [table(codes[:, i]) for i, table in enumerate(self.code_embeds)]
        hidden = torch.stack([feature, *embedded], dim=1) + self.element_embed
        condition = feature[:, None] + self.condition_embed
        for block in self.blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                hidden = checkpoint(block, hidden, condition, use_reentrant=False)
            else:
                hidden = block(hidden, condition)
        return self._finish(hidden, condition)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Gives all logits, (M, G, q) -> (M, G, V), in the order in which codes are drawn."""
        return torch.stack([output(hidden[:, i]) for i, output in enumerate(self.code_outputs)], dim=1)

    def loss(self, hidden: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """
        Computes the mean cross-entropy of codes, code by code, so that only one code's logits are in memory at a time.

        Args:
            hidden: (M, G, q), of `forward`.
            codes: (M, G) int64, as there.
        """
        losses = [
            checkpoint(_cross_entropy, output, hidden[:, i], codes[:, i], use_reentrant=False)
            for i, output in enumerate(self.code_outputs)
        ]
        return torch.stack(losses).mean()

    @torch.no_grad()
    @apply_forward_hook
    def draw(
        self, features: torch.Tensor, draw: Draw, *, first_element: str = "training", use_cache: bool = True
    ) -> torch.Tensor:
        """
        Draws the codes of positions one after another.

        Args:
            features: (M, d).
            draw: chooses codes by their logits.
            first_element: "training" starts the sequence with the feature, as training does; "official" adds the first
                embedding of the condition, as the authors' sampler does.
            use_cache: whether keys and values of codes before are kept, instead of computed again.

        Returns:
            (M, G) int64, in the order in which they were drawn.
        """
        feature = self.condition_proj(features)
        conditions = feature[:, None] + self.condition_embed
        element = conditions[:, 0] if first_element == "official" else feature
        caches = [ElementCache(self.num_codes, len(features)) if use_cache else None for _ in self.blocks]
        elements, drawn = [], []
        for i, output in enumerate(self.code_outputs):
            elements.append(element + self.element_embed[:, i])
            first = i if use_cache else 0  # the first element that still has to be computed
            hidden = torch.stack(elements[first:], dim=1)
            condition = conditions if use_cache else conditions[:, : i + 1]
            for block, cache in zip(self.blocks, caches, strict=True):
                hidden = block(hidden, condition, cache)
            hidden = self._finish(hidden[:, -1:], conditions[:, i : i + 1])
            codes = draw(output(hidden[:, 0]), i)
            drawn.append(codes)
            if i < self.num_codes - 1:
                element = self.code_embeds[i](codes)
        return torch.stack(drawn, dim=1)

    def _finish(self, hidden: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        scale, shift = self.modulation_out(condition)  # in this order here
        return modulate(self.norm_out(self.norm(hidden)), shift, scale)


def _cross_entropy(output: nn.Linear, hidden: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(output(hidden).float(), codes)
