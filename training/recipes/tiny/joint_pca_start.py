"""A start for towers too narrow for two bases: at step 0 the model equals one PCA of images and videos together.

A picture's patch is its frame and three frames of zeros, as the processor pads it. One basis for both costs each of
them a few decibels against a basis of its own; which of the two a token belongs to is then for training to find out.
Nothing in such a start has to be protected.
"""

import torch

from atoken import AtokenModel
from atoken.evaluation.models.pca import Pca

from .neighbor_heads import look_at_neighbors
from .pca_start import CONSTANT, block_norms, start_blocks

ENCODER_NULL = 2  # behind the constant and its opposite: always 0, so that reading it takes a LayerNorm's mean off
FIRST_IN_ENCODER, FIRST_IN_DECODER = 3, 1


@torch.no_grad()
def start_from_joint_pca(model: AtokenModel, joint: Pca) -> None:
    """
    Sets all weights of encoder, latent projection and decoder.

    Args:
        model: of a width above the number of latents by at least 3.
        joint: PCA of 4-frame patches (3072 values, in [-1, 1]) of images and videos, of at least as many components as
            the encoder is wide, less 3.

    Raises:
        ValueError: the model is too narrow, or there are too few components.
    """
    width, kept = model.config.vision_config.hidden_size, model.config.latent_channels
    held = width - FIRST_IN_ENCODER
    if held < kept:
        raise ValueError(f"model must have a width of at least {kept + FIRST_IN_ENCODER}, got {width}")
    if joint.components.shape[1] < held:
        raise ValueError(f"joint must have at least {held} components, got {joint.components.shape[1]}")
    start_blocks(model)
    _start_encoder(model, joint, held)
    projection = model.latent_proj.weight.zero_()
    rows = torch.arange(kept)
    projection[rows, FIRST_IN_ENCODER + rows] = 1.0
    projection[rows, ENCODER_NULL] = -1.0
    projection[kept:, 0] = -9.0  # log-variance: noise far below the components
    _start_decoder(model, joint, kept)


def _start_encoder(model: AtokenModel, joint: Pca, held: int) -> None:
    encoder, width = model.vision_model, model.config.vision_config.hidden_size
    channels = FIRST_IN_ENCODER + torch.arange(held)
    weight, bias = encoder.input_layer.weight.zero_(), encoder.input_layer.bias.zero_()
    bias[0], bias[1] = CONSTANT, -CONSTANT
    weight[channels] = (joint.components / joint.units)[:, :held].T
    bias[channels] = -weight[channels] @ joint.mean
    scale = ((2 * CONSTANT**2 + width) / width) ** 0.5
    for norm in (*block_norms(encoder), encoder.post_layernorm):
        norm.weight.fill_(scale)
        norm.weight[:2] = 0.0
        norm.bias.zero_()
        norm.bias[0] = 1.0
    look_at_neighbors(encoder, [channels])


def _start_decoder(model: AtokenModel, joint: Pca, kept: int) -> None:
    decoder, width = model.decoder, model.config.decoder_config.hidden_size
    rows = torch.arange(kept)
    decoder.position_embedding.weight[:, 0] = CONSTANT  # there are no biases to hold it
    decoder.input_layer.weight.zero_()[FIRST_IN_DECODER + rows, rows] = 1.0
    scale = ((CONSTANT**2 + kept) / width) ** 0.5
    for norm in (*block_norms(decoder), decoder.out_norm):
        norm.weight.fill_(scale)
        norm.weight[0] = scale / CONSTANT
    look_at_neighbors(decoder, [FIRST_IN_DECODER + rows])
    out = decoder.out_layer.weight.zero_()
    # Channels that no latent fills offer finer components: blocks can guess them from neighbors.
    offered = min(width - FIRST_IN_DECODER, joint.components.shape[1])
    out[:, FIRST_IN_DECODER : FIRST_IN_DECODER + offered] = (joint.components * joint.units)[:, :offered]
    out[:, 0] = joint.mean
