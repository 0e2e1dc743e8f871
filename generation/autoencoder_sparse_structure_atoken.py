"""The autoencoder of occupied voxels that stage 1 of image to 3D works in (AToken paper, section 5.5)."""

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import AutoencoderMixin, DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.normalization import FP32LayerNorm
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn

NORM_EPS = 1e-5


class ChannelNorm(FP32LayerNorm):
    """Applies layer norm over the channels of (B, C, X, Y, Z), in fp32."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, X, Y, Z) -> (B, C, X, Y, Z)."""
        return super().forward(hidden.movedim(1, -1)).movedim(-1, 1)


class DenseResBlock(nn.Module):
    """Adds two convolutions, each after a norm and SiLU, to a grid."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm1 = ChannelNorm(channels, eps=NORM_EPS)
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.norm2 = ChannelNorm(channels, eps=NORM_EPS)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, X, Y, Z) -> (B, C, X, Y, Z)."""
        found = self.conv1(nn.functional.silu(self.norm1(hidden)))
        return hidden + self.conv2(nn.functional.silu(self.norm2(found)))


class Downsample3D(nn.Module):
    """Halves a grid by a convolution of 2 x 2 x 2 cells."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, 2, stride=2)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, X, Y, Z) -> (B, C', X / 2, Y / 2, Z / 2)."""
        return self.conv(hidden)


class Upsample3D(nn.Module):
    """Doubles a grid: each cell's 8 C' channels become 2 x 2 x 2 cells, the last of x, y, z changing fastest."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv3d(in_channels, 8 * out_channels, 3, padding=1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, X, Y, Z) -> (B, C', 2 X, 2 Y, 2 Z)."""
        cells = self.conv(hidden).unflatten(1, (-1, 2, 2, 2))  # (B, C', 2, 2, 2, X, Y, Z)
        cells = cells.permute(0, 1, 5, 2, 6, 3, 7, 4)
        return cells.flatten(6, 7).flatten(4, 5).flatten(2, 3)


class StructureEncoder(nn.Module):
    """Turns occupancy into mean and log-variance of latents."""

    def __init__(self, in_channels: int, widths: list[int], latent_channels: int, blocks: int, middle_blocks: int):
        super().__init__()
        self.conv_in = nn.Conv3d(in_channels, widths[0], 3, padding=1)
        self.blocks = _levels(widths, blocks, Downsample3D)
        self.mid_blocks = nn.ModuleList(DenseResBlock(widths[-1]) for _ in range(middle_blocks))
        self.norm_out = ChannelNorm(widths[-1], eps=NORM_EPS)
        self.conv_out = nn.Conv3d(widths[-1], 2 * latent_channels, 3, padding=1)

    def forward(self, occupancy: torch.Tensor) -> torch.Tensor:
        """(B, 1, R, R, R) -> (B, 2 C, r, r, r)."""
        hidden = self.conv_in(occupancy)
        for block in (*self.blocks, *self.mid_blocks):
            hidden = block(hidden)
        return self.conv_out(nn.functional.silu(self.norm_out(hidden)))


class StructureDecoder(nn.Module):
    """Turns latents into logits of occupancy; `widths` from the latents on."""

    def __init__(self, out_channels: int, widths: list[int], latent_channels: int, blocks: int, middle_blocks: int):
        super().__init__()
        self.conv_in = nn.Conv3d(latent_channels, widths[0], 3, padding=1)
        self.mid_blocks = nn.ModuleList(DenseResBlock(widths[0]) for _ in range(middle_blocks))
        self.blocks = _levels(widths, blocks, Upsample3D)
        self.norm_out = ChannelNorm(widths[-1], eps=NORM_EPS)
        self.conv_out = nn.Conv3d(widths[-1], out_channels, 3, padding=1)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """(B, C, r, r, r) -> (B, 1, R, R, R)."""
        hidden = self.conv_in(latents)
        for block in (*self.mid_blocks, *self.blocks):
            hidden = block(hidden)
        return self.conv_out(nn.functional.silu(self.norm_out(hidden)))


class SparseStructureAutoencoder(ModelMixin, AutoencoderMixin, ConfigMixin):
    r"""
    Encodes which voxels of a cube are occupied, and decodes that; TRELLIS's structure VAE.

    Args:
        in_channels (`int`): Channels of occupancy, also of the logits.
        latent_channels (`int`): Channels C of a latent.
        block_out_channels (`tuple[int]`): Channels at each resolution, the finest first; the grid is halved between
            them.
        layers_per_block (`int`): Residual blocks at each resolution.
        mid_layers (`int`): Residual blocks at the coarsest resolution besides these.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    _no_split_modules = ["DenseResBlock"]
    _skip_layerwise_casting_patterns = ["conv_in", "norm", "conv_out"]

    @register_to_config
    def __init__(
        self,
        in_channels: int = 1,
        latent_channels: int = 8,
        block_out_channels: tuple[int, ...] = (32, 128, 512),
        layers_per_block: int = 2,
        mid_layers: int = 2,
    ):
        super().__init__()
        for name, least in (("in_channels", 1), ("latent_channels", 1), ("layers_per_block", 0), ("mid_layers", 0)):
            if self.config[name] < least:
                raise ValueError(f"{name} must be at least {least}, got {self.config[name]}")
        widths = list(block_out_channels)
        if not widths or min(widths) < 1:
            raise ValueError(f"block_out_channels must be one positive number or more, got {widths}")
        self.encoder = StructureEncoder(in_channels, widths, latent_channels, layers_per_block, mid_layers)
        self.decoder = StructureDecoder(in_channels, widths[::-1], latent_channels, layers_per_block, mid_layers)

    @property
    def spatial_compression_ratio(self) -> int:
        """Gives how many voxels along an axis one latent stands for."""
        return 2 ** (len(self.config.block_out_channels) - 1)

    @apply_forward_hook
    def encode(
        self, occupancy: torch.Tensor, return_dict: bool = True
    ) -> AutoencoderKLOutput | tuple[DiagonalGaussianDistribution]:
        """
        Encodes occupancy.

        Args:
            occupancy: (B, 1, R, R, R) along x, y, z, 1 where a voxel is occupied and 0 elsewhere, of any dtype.
            return_dict: False for the tuple `(latent_dist,)`.

        Returns:
            `latent_dist`: of latents (B, C, r, r, r); generators take its mean, `mode()`, as it is.

        Raises:
            ValueError: the shape does not fit.
        """
        ratio, channels = self.spatial_compression_ratio, self.config.in_channels
        shape = tuple(occupancy.shape)
        if len(shape) != 5 or shape[1] != channels or any(side % ratio or not side for side in shape[2:]):
            raise ValueError(f"occupancy must be (B, {channels}, X, Y, Z), sides multiples of {ratio}, got {shape}")
        posterior = DiagonalGaussianDistribution(self.encoder(occupancy.to(self.dtype)))
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    @apply_forward_hook
    def decode(self, latents: torch.Tensor, return_dict: bool = True) -> DecoderOutput | tuple[torch.Tensor]:
        """
        Decodes latents.

        Args:
            latents: (B, C, r, r, r).
            return_dict: False for the tuple `(sample,)`.

        Returns:
            `sample`: (B, 1, R, R, R) logits; a voxel is occupied where its logit is above 0.

        Raises:
            ValueError: the shape does not fit.
        """
        channels = self.config.latent_channels
        if latents.ndim != 5 or latents.shape[1] != channels:
            raise ValueError(f"latents must be (B, {channels}, r, r, r), got {tuple(latents.shape)}")
        logits = self.decoder(latents.to(self.dtype))
        return DecoderOutput(sample=logits) if return_dict else (logits,)

    def forward(self, occupancy: torch.Tensor, return_dict: bool = True) -> DecoderOutput | tuple[torch.Tensor]:
        """Encodes and decodes: occupancy (B, 1, R, R, R) to logits of the same shape, by the latents' mean."""
        return self.decode(self.encode(occupancy).latent_dist.mode(), return_dict=return_dict)


def _levels(widths: list[int], blocks: int, change: type[nn.Module]) -> nn.ModuleList:
    """Makes residual blocks at each width, and between two widths what changes one into the other."""
    layers: list[nn.Module] = []
    for index, width in enumerate(widths):
        layers += [DenseResBlock(width) for _ in range(blocks)]
        if index + 1 < len(widths):
            layers.append(change(width, widths[index + 1]))
    return nn.ModuleList(layers)


def occupied_voxels(logits: torch.Tensor) -> tuple[torch.Tensor, list[int]]:
    """
    Finds the voxels whose logit is above 0.

    Args:
        logits: (B, 1, R, R, R) along x, y, z.

    Returns:
        (N, 4) int64 [0, x, y, z], sample by sample in the order of x, y, z; and the voxels of each sample, which may be
        0.
    """
    found = (logits[:, 0] > 0).nonzero()  # (N, 4) [sample, x, y, z]
    counts = torch.bincount(found[:, 0], minlength=len(logits)).tolist()
    return torch.cat([torch.zeros_like(found[:, :1]), found[:, 1:]], dim=1), counts
