"""The physical limit: the matrix products and the attention of a forward pass, and nothing else.

The weights are the model's own and the other operands are drawn beforehand, so that what remains is the work that no
implementation of this architecture can avoid. Left out are norms, activations, positions, residuals, the cutting into
patches, and all bookkeeping.
"""

from collections.abc import Callable

import torch
from torch.nn import functional as F

from atoken.modeling_atoken import TILE_BATCH_TOKENS, AtokenModel, AtokenTransformer
from atoken.tokens_atoken import TokenBatch


def bare_encoder(model: AtokenModel, video: torch.Tensor) -> Callable[[], None]:
    """The products of `model.encode(video, pool=False)` for video (B, T, C, H, W)."""
    batch = model.vision_model.tokenize(video)
    return _bare(model.vision_model, batch, model.latent_proj)


def bare_decoder(model: AtokenModel, latents: torch.Tensor) -> Callable[[], None]:
    """The products of `model.decode(latents)` for latents (B, t, h, w, latent_channels)."""
    return _bare(model.decoder, TokenBatch.from_grid(latents), model.decoder.out_layer)


def _bare(transformer: AtokenTransformer, batch: TokenBatch, output: torch.nn.Linear) -> Callable[[], None]:
    config = transformer.config
    layout = batch.layout(config.tile_frames // transformer.patch_size[0])
    weight = transformer.input_layer.weight
    heads, head_dim = config.num_attention_heads, config.hidden_size // config.num_attention_heads

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=weight.dtype, device=weight.device)

    tokens = sum(batch.lengths)
    features = draw(tokens, transformer.input_layer.in_features)
    hidden = draw(tokens, config.hidden_size)
    pieces = []
    for start, end, sequences in layout.sequences.split(TILE_BATCH_TOKENS):
        # Every product's operand is contiguous: the layout that attention likes best.
        attention = [
            tuple(draw(count, heads, length, head_dim) for length in (query, key, key))
            for count, query, key in sequences.runs
        ]
        pieces.append((hidden[start:end], draw(end - start, config.intermediate_size), attention))

    def run() -> None:
        linear(transformer.input_layer, features)
        for narrow, wide, attention in pieces:
            for block in transformer.blocks:
                linear(block.attn.qkv, narrow)
                for query, key, value in attention:
                    F.scaled_dot_product_attention(query, key, value)
                linear(block.attn.out_proj, narrow)
                linear(block.mlp.fc1, narrow)
                linear(block.mlp.fc2, wide)
        linear(output, hidden)

    return run


def linear(layer: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """The layer's product, without the module's hooks."""
    return F.linear(x, layer.weight, layer.bias)
