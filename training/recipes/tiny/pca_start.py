"""A start for small tokenizers: at step 0 the model equals PCA, of 16x16 patches for images and 4x16x16 for videos.

From random weights a CPU budget ends near 21 dB; from here, training begins where linear coding ends. One set of
latents serves both media, so the network itself decides which basis applies: frames 2 to 4 of an image's patches are
exactly zero, and that is carried to every token and switches one basis off. The switches are built from pairs of GELU
neurons, for which gelu(x) - gelu(-x) = x holds exactly, so that a large negative offset in both turns the identity off.

The official layout normalizes before the latent projection and before the output. A channel that holds a large
constant makes every norm nearly constant, hence nearly linear, and the norms' weights undo the scale.
"""

from dataclasses import dataclass

import torch

from atoken import AtokenModel
from atoken.evaluation.models.pca import Pca

from .neighbor_heads import look_at_neighbors

CONSTANT = 196.0  # bf16 holds it exactly; far above the norm of the whitened components
OFF = 40.0  # components stay below this
IMAGE_ENERGY, VIDEO_ENERGY = 0.12, 0.32  # mean |d| of frames 2 to 4: 0 for images, above 0.5 for nearly every clip


def _linear(layer: torch.nn.Linear, std: float = 0.0) -> None:
    torch.nn.init.normal_(layer.weight, std=std) if std else torch.nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        torch.nn.init.zeros_(layer.bias)


@torch.no_grad()
def start_from_pca(model: AtokenModel, image: Pca, video: Pca, num_spare: int = 0) -> "EncoderChannels":
    """
    Sets all weights of encoder, latent projection and decoder.

    Args:
        model: width of at least 160, at least 3 encoder and 2 decoder blocks, MLP of at least 256.
        image: PCA of one frame's patches (768 values, in [-1, 1]), at least 128 components at the tiny width.
        video: PCA of 4-frame patches (3072 values), likewise.
        num_spare: channels of both towers that stay empty, behind `NULL` in the encoder and behind `SWITCHES` in the
            decoder: no norm lets them through, so they have no gradient, and blocks of a later stage can use them.

    Returns:
        What the encoder's channels hold. The last latent says whether a token belongs to an image or a video, those
        before are the components.
    """
    kept = model.config.latent_channels - 1  # one latent says whether a token belongs to an image or a video
    start_blocks(model)
    channels = start_encoder(model, image, video, kept, num_spare)
    for norm in (*block_norms(model.vision_model), model.vision_model.post_layernorm):
        norm.weight[channels.spare] = 0.0
    projection = model.latent_proj.weight.zero_()
    rows = torch.arange(kept)
    projection[rows, channels.image[:kept]] = 1.0
    projection[rows, channels.video[:kept]] = 1.0
    projection[rows, NULL] = -2.0
    read(model.latent_proj, kept, [channels.is_video], 2.0)
    projection[kept, 0] = -1.0
    projection[kept + 1 :, 0] = -9.0  # log-variance: noise far below the components
    _start_decoder(model, image, video, kept, num_spare)
    return channels


def block_norms(tower: torch.nn.Module) -> list[torch.nn.Module]:
    """Lists the norms of all blocks."""
    return [norm for block in tower.blocks for norm in (block.norm1, block.norm2)]


def start_blocks(model: AtokenModel) -> None:
    """Makes attention and MLPs add nothing yet, and learned positions 0. Heads are aimed afterwards."""
    for tower in (model.vision_model, model.decoder):
        torch.nn.init.zeros_(tower.position_embedding.weight)
        for block in tower.blocks:
            _linear(block.attn.qkv, std=0.05)
            _linear(block.attn.out_proj)
            _linear(block.mlp.fc1, std=0.05)
            _linear(block.mlp.fc2)


@dataclass
class EncoderChannels:
    """Says which channels of the encoder's width hold what; channel 0 reads as 1 behind every norm."""

    is_video: int
    image: torch.Tensor  # components of the first frame, 0 for tokens of a video
    video: torch.Tensor  # components of four frames, 0 for tokens of an image
    spare: torch.Tensor


NULL = 10  # always 0
HAND_WRITTEN = 0.5  # neurons that read a channel by more than this are; random ones are far weaker
SWITCHES = 4  # of the decoder's channels: a constant, the indicator, and the two switches made of it


def read(layer: torch.nn.Linear, row: int, channels: torch.Tensor | list[int], value: float) -> None:
    """
    Makes an output of a layer behind a LayerNorm read value * (sum of channels).

    The norm takes the mean off every channel; reading the difference to the channel that is always 0 undoes that.
    """
    layer.weight[row, channels] = value
    layer.weight[row, NULL] = -value * len(channels)


def start_encoder(model: AtokenModel, image: Pca, video: Pca, kept: int, num_spare: int = 0) -> EncoderChannels:
    """Writes the encoder up to its last norm, where of the first `kept` components those that apply are left."""
    encoder, width = model.vision_model, model.config.vision_config.hidden_size
    energy, mean_energy, is_video, is_image = 2, 3, 4, 5
    detectors = torch.arange(6, 10)
    spare = torch.arange(NULL + 1, NULL + 1 + num_spare)
    rest = torch.arange(NULL + 1 + num_spare, width)
    a, b = rest[: len(rest) // 2], rest[len(rest) // 2 :]  # components of the first frame, and of all four frames
    frame = image.mean.shape[0]

    weight, bias = encoder.input_layer.weight.zero_(), encoder.input_layer.bias.zero_()
    bias[0], bias[1] = CONSTANT, -CONSTANT
    weight[a, :frame] = (image.components / image.units)[:, : len(a)].T
    bias[a] = -weight[a, :frame] @ image.mean
    weight[b] = (video.components / video.units)[:, : len(b)].T
    bias[b] = -weight[b] @ video.mean
    # Four whitened views of frames 2 to 4 alone: zero for an image, whatever it shows. No mean is taken off.
    weight[detectors, frame:] = (image.components / image.deviations)[:, :4].T.repeat(1, 3) / 3

    scale = ((2 * CONSTANT**2 + 2 * width) / width) ** 0.5
    for norm in (*block_norms(encoder), encoder.post_layernorm):
        norm.weight.fill_(scale)
        norm.weight[:2] = 0.0
        norm.bias.zero_()
        norm.bias[0] = 1.0

    look_at_neighbors(encoder, [a, b])
    # Block 1: how much there is in frames 2 to 4, |d| = gelu(k d) / k + gelu(-k d) / k.
    mlp, steep = encoder.blocks[0].mlp, 8.0
    for i, detector in enumerate(detectors.tolist()):
        for neuron, sign in ((2 * i, 1.0), (2 * i + 1, -1.0)):
            mlp.fc1.weight[neuron] = 0
            read(mlp.fc1, neuron, [detector], sign * steep)
            mlp.fc2.weight[energy, neuron] = 1.0 / steep
    # Block 2: the mean over all tokens of the tile (equal attention in the first head), then two ramps between an
    # energy that no image has and one that every video has.
    attention = encoder.blocks[1].attn
    head_dim = attention.head_dim
    attention.qkv.weight[:head_dim] = 0
    attention.qkv.weight[width : width + head_dim] = 0
    attention.qkv.weight[2 * width] = 0
    read(attention.qkv, 2 * width, [energy], 1.0)
    attention.out_proj.weight[mean_energy, 0] = 1.0
    mlp, rise = encoder.blocks[1].mlp, 8.0
    slope = rise / (VIDEO_ENERGY - IMAGE_ENERGY)
    ramps = ((is_video, slope, -slope * IMAGE_ENERGY), (is_image, -slope, slope * VIDEO_ENERGY))
    for i, (channel, factor, offset) in enumerate(ramps):
        for neuron, shift, sign in ((2 * i, 0.0, 1.0), (2 * i + 1, -rise, -1.0)):
            mlp.fc1.weight[neuron] = 0
            read(mlp.fc1, neuron, [mean_energy], factor)
            mlp.fc1.bias[neuron] = offset + shift
            mlp.fc2.weight[channel, neuron] = sign / rise
    # Block 3: remove the components that do not apply. A switch is exactly 0 where it must let pass, as a small offset
    # there would not cancel.
    mlp = encoder.blocks[2].mlp
    for k in range(kept):
        for i, (channel, switch) in enumerate(((a[k], is_image), (b[k], is_video))):
            for neuron, sign in ((4 * k + 2 * i, 1.0), (4 * k + 2 * i + 1, -1.0)):
                mlp.fc1.weight[neuron] = 0
                read(mlp.fc1, neuron, [int(channel)], sign)
                mlp.fc1.weight[neuron, switch] = -OFF
                mlp.fc1.weight[neuron, NULL] += OFF
                mlp.fc2.weight[channel, neuron] = -sign
    return EncoderChannels(is_video, a, b, spare)


def protected_rows(
    model: AtokenModel, encoder_rows: int = NULL + 1, decoder_rows: int = SWITCHES
) -> list[tuple[torch.nn.Parameter, torch.Tensor]]:
    """
    Lists the rows, of each parameter named here, that hold constants and switches; to be called right after the start.

    Training leaves them alone: everything else leans on them, so noise in a switch would cost far more than it gains.
    They are recorded beside the weights (`ProtectedRows`), as training hides which were written by hand.

    Args:
        encoder_rows, decoder_rows: how many of the first channels hold them, spare ones included.
    """
    rows = []
    for tower, count in ((model.vision_model, encoder_rows), (model.decoder, decoder_rows)):
        layers = [tower.input_layer]
        for block in tower.blocks:
            layers += [block.norm1, block.attn.out_proj, block.norm2, block.mlp.fc2]
            written = (block.mlp.fc1.weight.abs().amax(1) > HAND_WRITTEN).nonzero().squeeze(1)
            rows += [(parameter, written) for parameter in block.mlp.fc1.parameters()]
        rows += [(parameter, torch.arange(count)) for layer in layers for parameter in layer.parameters()]
    averaging = model.vision_model.blocks[1].attn
    head, width = torch.arange(averaging.head_dim), averaging.qkv.in_features
    rows += [
        (parameter, torch.cat([head, width + head, head[:1] + 2 * width])) for parameter in averaging.qkv.parameters()
    ]
    return rows


def spare_channels(recorded: dict[str, torch.Tensor]) -> int:
    """Reads from the rows recorded beside a model (see `protected_rows`) how many spare channels its towers have."""
    return len(recorded["decoder.input_layer.weight"]) - SWITCHES


def _start_decoder(model: AtokenModel, image: Pca, video: Pca, kept: int, num_spare: int) -> None:
    decoder, width = model.decoder, model.config.decoder_config.hidden_size
    indicator, is_video, is_image = 1, 2, 3
    first = SWITCHES + num_spare
    a = first + torch.arange(kept)
    b = first + kept + torch.arange(kept)
    frame = image.mean.shape[0]

    look_at_neighbors(decoder, [a, b])
    decoder.position_embedding.weight[:, 0] = CONSTANT  # there are no biases to hold it
    weight = decoder.input_layer.weight.zero_()
    weight[a, torch.arange(kept)] = 1.0
    weight[b, torch.arange(kept)] = 1.0
    weight[indicator, kept] = 1.0

    scale = ((CONSTANT**2 + 2 * kept) / width) ** 0.5
    for norm in (*block_norms(decoder), decoder.out_norm):
        norm.weight.fill_(scale)
        norm.weight[0] = scale / CONSTANT
        norm.weight[SWITCHES:first] = 0.0
    # Block 1: the indicator latent, 1 or -1, to two switches; block 2: remove the components that do not apply.
    mlp, rise = decoder.blocks[0].mlp, 8.0
    for i, (channel, slope) in enumerate(((is_video, 2 * rise), (is_image, -2 * rise))):
        for neuron, offset, sign in ((2 * i, 0.0, 1.0), (2 * i + 1, -rise, -1.0)):
            mlp.fc1.weight[neuron] = 0
            mlp.fc1.weight[neuron, indicator] = slope
            mlp.fc1.weight[neuron, 0] = offset
            mlp.fc2.weight[channel, neuron] = sign / rise
    mlp = decoder.blocks[1].mlp
    for k in range(kept):
        for i, (channel, switch) in enumerate(((a[k], is_image), (b[k], is_video))):
            for j, sign in enumerate((1.0, -1.0)):
                neuron = 4 * k + 2 * i + j
                mlp.fc1.weight[neuron] = 0
                mlp.fc1.weight[neuron, channel] = sign
                mlp.fc1.weight[neuron, switch] = -OFF
                mlp.fc2.weight[channel, neuron] = -sign

    out = decoder.out_layer.weight.zero_()
    out[:frame, a] = image.components[:, :kept] * image.units[:kept]
    out[:, b] = video.components[:, :kept] * video.units[:kept]
    out[:frame, 0] = image.mean
    out[:, is_video] = video.mean - out[:, 0]
    offer_finer_components(model, image, video, kept, first_spare=first + 2 * kept)


def offer_finer_components(model: AtokenModel, image: Pca, video: Pca, kept: int, first_spare: int) -> None:
    """
    Gives the decoder's unused channels the components after the first `kept` as their output.

    They are empty at the start. Without them the network could only rearrange what the latents hold already.
    """
    out = model.decoder.out_layer.weight
    spare = torch.arange(first_spare, out.shape[1])
    for_image, for_video = spare[: 2 * len(spare) // 3], spare[2 * len(spare) // 3 :]
    finer = slice(kept, kept + len(for_image))
    out[: image.mean.shape[0], for_image] = image.components[:, finer] * image.units[finer]
    finer = slice(kept, kept + len(for_video))
    out[:, for_video] = video.components[:, finer] * video.units[finer]
