"""The physical limit: the matrix products and the attention of a forward pass, and nothing else.

The weights are the model's own and the other operands are drawn beforehand, so that what remains is the work that no
implementation of this architecture can avoid. Left out are norms, activations, positions, residuals, the cutting into
patches, and all bookkeeping.
"""

from collections.abc import Callable

import torch
from torch.nn import functional as F

from atoken import AtokenGaussianDecoder
from atoken.modeling_atoken import AtokenModel
from atoken.tokens_atoken import TokenBatch
from atoken.transformer_atoken import TILE_BATCH_TOKENS, AtokenTransformer


def bare_encoder(model: AtokenModel, video: torch.Tensor) -> Callable[[], None]:
    """The products of `model.encode(video, pool=False)` for video (B, T, C, H, W)."""
    batch = model.vision_model.tokenize(video)
    return bare_transformer(model.vision_model, batch, model.latent_proj)


def bare_decoder(model: AtokenModel, latents: torch.Tensor) -> Callable[[], None]:
    """The products of `model.decode(latents)` for latents (B, t, h, w, latent_channels)."""
    return bare_transformer(model.decoder, TokenBatch.from_grid(latents), model.decoder.out_layer)


def bare_transformer(transformer: AtokenTransformer, batch: TokenBatch, output: torch.nn.Linear) -> Callable[[], None]:
    """The products of an encoder or decoder on a batch of tokens, and of the layer behind it."""
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


def bare_gaussian_decoder(decoder: AtokenGaussianDecoder, coords: torch.Tensor) -> Callable[[], None]:
    """
    The products of the Gaussian decoder for one sample's voxels (N, 3). Attention is that of PyTorch, so without the
    soft-capping, and every window has its own length: nothing is filled up.
    """
    config, weight = decoder.config, decoder.input_layer.weight
    heads, head_dim = config.num_attention_heads, config.hidden_size // config.num_attention_heads

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=weight.dtype, device=weight.device)

    windows = []  # by shift: (query, key, value) for each length that a window has
    for shift in (0, config.window_shift):
        sizes = torch.unique((coords + shift) // config.window_size, dim=0, return_counts=True)[1]
        lengths, counts = torch.stack(torch.unique(sizes, return_counts=True)).tolist()
        runs = zip(lengths, counts, strict=True)
        windows.append([tuple(draw(count, heads, length, head_dim) for _ in range(3)) for length, count in runs])
    features = draw(len(coords), config.in_channels)
    narrow, wide = draw(len(coords), config.hidden_size), draw(len(coords), config.intermediate_size)

    def run() -> None:
        linear(decoder.input_layer, features)
        for layer, block in enumerate(decoder.blocks):
            linear(block.attn.qkv, narrow)
            for query, key, value in windows[layer % 2]:
                F.scaled_dot_product_attention(query, key, value)
            linear(block.attn.out_proj, narrow)
            linear(block.mlp.fc1, narrow)
            linear(block.mlp.fc2, wide)
        linear(decoder.out_layer, narrow)

    return run


def linear(layer: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """The layer's product, without the module's hooks."""
    return F.linear(x, layer.weight, layer.bias)
