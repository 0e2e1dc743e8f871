"""A start for attention: every head looks at one neighbor of its token, up, down, left, right, or in time.

Rotary positions let a query that is a constant key, turned by the angle of an offset, match the key at that offset
alone. A token's neighbors tell most about what its own latents leave out, and finding them from random queries takes
a small training budget longer than all the rest. What the heads read is added to nothing yet: the output projections
stay zero.
"""

import torch
from torch import nn

from atoken.layers_atoken import AtokenAttention

# Offsets in t, x, y; one per head. The second block looks along the diagonals.
NEAREST = [(0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1), (1, 0, 0), (-1, 0, 0)]
DIAGONAL = [(0, 1, 1), (0, 1, -1), (0, -1, 1), (0, -1, -1), (0, 2, 0), (0, -2, 0)]
SHARPNESS = 5.0  # logit of a match for each rotary frequency of an axis; the next token over gets about 5 less
NOISE = 0.02  # lets heads that start alike part, and content enter the queries


@torch.no_grad()
def look_at_neighbors(tower: nn.Module, sources: list[torch.Tensor], constant_channel: int = 0) -> None:
    """
    Sets queries, keys and values of all blocks of an encoder or decoder.

    Args:
        tower: `model.vision_model` or `model.decoder`.
        sources: index tensors (K,); a head's value i is the sum of their channels i, as far as head_dim and K reach.
        constant_channel: the channel that reads as 1 behind every norm.
    """
    for i, block in enumerate(tower.blocks):
        offsets = DIAGONAL if i == 1 else NEAREST
        for head in range(block.attn.num_heads):
            offset = offsets[head % len(offsets)]
            _aim_head(block.attn, head, offset, sources, constant_channel, tower.config.rope_theta)


def _aim_head(
    attention: AtokenAttention, head: int, offset: tuple, sources: list[torch.Tensor], constant: int, theta: float
) -> None:
    head_dim = attention.head_dim
    frequencies = theta ** (-torch.arange(head_dim // 8) / head_dim)  # as in `rotary_table`
    angles = (torch.tensor([*offset, 0.0])[:, None] * frequencies).flatten()  # (head_dim / 2,)
    query, key, value = (
        weight[head * head_dim : (head + 1) * head_dim] for weight in attention.qkv.weight.detach().chunk(3)
    )
    for rows in (query, key, value):
        nn.init.normal_(rows, std=NOISE)
    # scaling * amplitude^2 is the logit of one matching pair.
    amplitude = (SHARPNESS * head_dim**0.5) ** 0.5
    query[0::2, constant], query[1::2, constant] = amplitude * angles.cos(), amplitude * angles.sin()
    key[0::2, constant] = amplitude
    if attention.q_norm is not None:  # which makes every pair of a unit vector 2 ** 0.5 long
        for norm in (attention.q_norm, attention.k_norm):
            norm.weight[head] = amplitude / 2**0.5
    for channels in sources:
        read = min(head_dim, len(channels))
        value[torch.arange(read), channels[:read]] += 1.0
