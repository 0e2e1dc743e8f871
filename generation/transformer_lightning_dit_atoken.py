"""Lightning-DiT: a diffusion transformer that generates latents of a class (AToken paper, section 5.2).

It is trained with flow matching and gives velocities. Released checkpoints of its authors are converted by
`convert_lightning_dit`. Needs `pip install "atoken[diffusers]"`.
"""

import math
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from .attention_atoken import GeneratorAttention
from .input_checks_atoken import check_names, check_range
from .modulation_atoken import Modulation, RMSNorm

# d, blocks, heads; the number after a slash in a preset's name is the patch size.
PRESETS = {
    "tiny": (256, 8, 8),
    "B": (768, 12, 12),
    "L": (1024, 24, 16),
    "XL": (1152, 28, 16),
    "1p0B": (1536, 24, 24),
    "1p6B": (1792, 28, 28),
}
TIME_CHANNELS = 256  # sines and cosines of the time


class SwiGLU(nn.Module):
    """Applies a gated MLP: d -> (a, b) of m channels each, SiLU(a) * b -> d, with m = 2/3 of `ratio` * d."""

    def __init__(self, width: int, ratio: float):
        super().__init__()
        inner = int(2 / 3 * int(width * ratio))
        self.proj_in = nn.Linear(width, 2 * inner)
        self.proj_out = nn.Linear(inner, width)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., d) -> (..., d)."""
        gate, value = self.proj_in(hidden).chunk(2, dim=-1)
        gate = nn.functional.silu(gate)
        # Without gradients the product needs no memory of its own, which a CPU would first have to clear.
        return self.proj_out(gate * value if torch.is_grad_enabled() else gate.mul_(value))


class LightningDiTBlock(nn.Module):
    """Applies attention and a gated MLP, each with shift, scale and gate of the condition."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, qk_norm: bool):
        super().__init__()
        self.norm1 = RMSNorm(width)
        self.attn = GeneratorAttention(width, heads, qk_norm=RMSNorm if qk_norm else None)
        self.norm2 = RMSNorm(width)
        self.mlp = SwiGLU(width, mlp_ratio)
        self.modulation = Modulation(width, 6)

    def forward(self, hidden: torch.Tensor, condition: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
        """(B, N, d), condition (B, 1, d), rotation (N, 1, 1, e / 2) complex -> (B, N, d)."""
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self.modulation(condition)
        found = self.attn(self.norm1(hidden, shift_1, scale_1), rotation)
        hidden = torch.addcmul(hidden, gate_1, found)
        found = self.mlp(self.norm2(hidden, shift_2, scale_2))
        return torch.addcmul(hidden, gate_2, found)


class LightningDiTTransformer2DModel(ModelMixin, ConfigMixin):
    r"""
    Gives the velocity from noise to data of noisy latents, for classes.

    Time runs from 0, noise, to 1, data: noisy = t * data + (1 - t) * noise, velocity = data - noise.

    Args:
        sample_size (`int`): Side of the square of latents.
        patch_size (`int`): Side p of the square of latents that is one token.
        in_channels (`int`): Channels C of a latent, also of the velocity.
        num_layers (`int`), num_attention_heads (`int`), attention_head_dim (`int`): Blocks, heads, channels e of each
            head, a multiple of 4; the width is their product, a multiple of 4.
        mlp_ratio (`float`): Of the MLP's width before a third is given to the gate.
        num_classes (`int`): K; label K means "no class".
        qk_norm (`bool`): Whether queries and keys are normed by head, against NaN in long runs.
        latents_mean, latents_std (`list[float]`, *optional*): Of the latents that it was trained on, by channel; what
            it sees is (latent - mean) / std * latents_multiplier. Sampling refuses a model without them.
        latents_multiplier (`float`): See above.
        vae_latents_mean, vae_latents_std (`list[float]`, *optional*): Of the configuration of the autoencoder that it
            was trained on, so that another is noticed.
        id2label (`dict[int, str]`, *optional*): Names of classes; a comma separates several names of one.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["LightningDiTBlock"]
    _repeated_blocks = ["LightningDiTBlock"]
    _skip_layerwise_casting_patterns = ["patch_embed", "pos_embed", "time_embed", "label_embed", "norm", "proj_out"]

    @register_to_config
    def __init__(
        self,
        sample_size: int = 16,
        patch_size: int = 1,
        in_channels: int = 48,
        num_layers: int = 28,
        num_attention_heads: int = 16,
        attention_head_dim: int = 72,
        mlp_ratio: float = 4.0,
        num_classes: int = 1000,
        qk_norm: bool = False,
        latents_mean: list[float] | None = None,
        latents_std: list[float] | None = None,
        latents_multiplier: float = 1.0,
        vae_latents_mean: list[float] | None = None,
        vae_latents_std: list[float] | None = None,
        id2label: dict[int, str] | None = None,
    ):
        super().__init__()
        for name in ("sample_size", "patch_size", "in_channels", "num_layers", "num_attention_heads", "num_classes"):
            if getattr(self.config, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self.config, name)}")
        if attention_head_dim < 4 or attention_head_dim % 4:
            raise ValueError(f"attention_head_dim must be a multiple of 4, got {attention_head_dim}")
        if sample_size % patch_size:
            raise ValueError(f"sample_size must be a multiple of patch_size, {patch_size}, got {sample_size}")
        if not 0 < mlp_ratio < math.inf:
            raise ValueError(f"mlp_ratio must be above 0, got {mlp_ratio}")
        if not 0 < latents_multiplier < math.inf:
            raise ValueError(f"latents_multiplier must be above 0, got {latents_multiplier}")
        check_statistics(in_channels, latents_mean, latents_std)
        check_names(id2label, num_classes)
        width = num_attention_heads * attention_head_dim
        self.grid = sample_size // patch_size
        self.patch_embed = nn.Conv2d(in_channels, width, patch_size, stride=patch_size)
        # A tensor of the released files, which is never trained.
        self.pos_embed = nn.Parameter(position_table(self.grid, width)[None], requires_grad=False)
        self.time_proj = Timesteps(TIME_CHANNELS, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embed = TimestepEmbedding(TIME_CHANNELS, width)
        self.label_embed = nn.Embedding(num_classes + 1, width)
        self.transformer_blocks = nn.ModuleList(
            LightningDiTBlock(width, num_attention_heads, mlp_ratio, qk_norm) for _ in range(num_layers)
        )
        self.norm_out = RMSNorm(width)
        self.modulation_out = Modulation(width, 2)
        self.proj_out = nn.Linear(width, patch_size * patch_size * in_channels)
        self.gradient_checkpointing = False
        self._initialize()

    @classmethod
    def from_preset(cls, name: str, **kwargs: Any) -> "LightningDiTTransformer2DModel":
        """
        Makes a model with random weights of one of the published sizes, such as "XL/1".

        Args:
            name: "B", "L", "XL", "1p0B", "1p6B" or "tiny", then a slash and the patch size; "XL/1" is the paper's.
            kwargs: other arguments of the class.

        Raises:
            ValueError: there is no such preset.
        """
        size, _, patch = name.partition("/")
        if size not in PRESETS or not patch.isdecimal():
            raise ValueError(f'name must be one of {", ".join(PRESETS)} with a patch size, as in "XL/1", got {name!r}')
        width, layers, heads = PRESETS[size]
        sizes = {"num_layers": layers, "num_attention_heads": heads, "attention_head_dim": width // heads}
        return cls(**{**sizes, "patch_size": int(patch), **kwargs})

    def _initialize(self) -> None:
        for block in self.transformer_blocks:
            for layer in (block.attn.to_qkv, block.attn.to_out, block.mlp.proj_in, block.mlp.proj_out):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        nn.init.xavier_uniform_(self.patch_embed.weight.view(self.patch_embed.weight.shape[0], -1))
        nn.init.zeros_(self.patch_embed.bias)
        nn.init.normal_(self.label_embed.weight, std=0.02)
        for layer in (self.time_embed.linear_1, self.time_embed.linear_2):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        # So that the velocity is zero at the first step.
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(
        self,
        hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        class_labels: torch.Tensor,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[torch.Tensor]:
        """
        Gives velocities.

        Args:
            hidden_states: (B, C, H, W) noisy normalized latents, H = W = `sample_size`.
            timestep: (B,) in [0, 1], where 1 is data; not multiplied by 1,000.
            class_labels: (B,) int64 in [0, K]; K means "no class".
            return_dict: False for the tuple `(sample,)`.

        Returns:
            `sample`: (B, C, H, W), data - noise.

        Raises:
            ValueError: a shape or a dtype does not fit, or, on a CPU, a time or a label is out of range.
        """
        self._check(hidden_states, timestep, class_labels)
        # The channels of a token side by side in memory, from here on: there are fewer of them before the embedding.
        latents = hidden_states.contiguous(memory_format=torch.channels_last)
        hidden = self.patch_embed(latents).flatten(2).transpose(1, 2)  # (B, N, d)
        hidden = hidden.contiguous() + self.pos_embed
        time = self.time_embed(self.time_proj(timestep).to(hidden.dtype))
        condition = (time + self.label_embed(class_labels))[:, None]  # (B, 1, d)
        rotation = rotations(self.grid, self.config.attention_head_dim, hidden.device)
        for block in self.transformer_blocks:
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                hidden = self._gradient_checkpointing_func(block, hidden, condition, rotation)
            else:
                hidden = block(hidden, condition, rotation)
        shift, scale = self.modulation_out(condition)
        patches = self.proj_out(self.norm_out(hidden, shift, scale))  # (B, N, p p C)
        side, channels = self.config.patch_size, self.config.in_channels
        patches = patches.unflatten(2, (side, side, channels)).unflatten(1, (self.grid, self.grid))
        # (B, h, w, p, p, C) -> (B, C, H, W)
        sample = patches.permute(0, 5, 1, 3, 2, 4).reshape(hidden_states.shape)
        return Transformer2DModelOutput(sample=sample) if return_dict else (sample,)

    def _check(self, hidden_states: torch.Tensor, timestep: torch.Tensor, class_labels: torch.Tensor) -> None:
        side, channels = self.config.sample_size, self.config.in_channels
        if hidden_states.ndim != 4 or tuple(hidden_states.shape[1:]) != (channels, side, side):
            raise ValueError(f"hidden_states must be (B, {channels}, {side}, {side}), got {tuple(hidden_states.shape)}")
        batch = hidden_states.shape[:1]
        if timestep.shape != batch or not timestep.is_floating_point():
            raise ValueError(
                f"timestep must be ({batch[0]},) and floating point in [0, 1], got {tuple(timestep.shape)} "
                f"{timestep.dtype}"
            )
        if class_labels.shape != batch or class_labels.is_floating_point():
            raise ValueError(
                f"class_labels must be ({batch[0]},) integers, got {tuple(class_labels.shape)} {class_labels.dtype}"
            )
        check_range("timestep", timestep, 0, 1)
        check_range("class_labels", class_labels, 0, self.config.num_classes)


def check_statistics(channels: int, mean: list[float] | None, std: list[float] | None) -> None:
    """
    Checks the statistics of latents.

    Raises:
        ValueError: they have another number of channels, or one is without the other, a value is not finite, or a
            deviation not positive.
    """
    if (mean is None) != (std is None):
        raise ValueError("latents_mean and latents_std must be given together, got one of them")
    if mean is None or std is None:
        return
    for name, values in (("latents_mean", mean), ("latents_std", std)):
        if len(values) != channels:
            raise ValueError(f"{name} must have in_channels = {channels} values, got {len(values)}")
        if not all(map(math.isfinite, values)):
            raise ValueError(f"{name} must be finite, got {values}")
    if min(std) <= 0:
        raise ValueError(f"latents_std must be above 0, got {min(std)}")


def position_table(grid: int, width: int) -> torch.Tensor:
    """
    Computes the positions that are added to tokens of a square grid, row by row: (grid * grid, d) fp32.

    The channels are [sin(c w), cos(c w), sin(r w), cos(r w)] of column c and row r, with w_k = 10000^(-4 k / d).

    Raises:
        ValueError: the width is no multiple of 4.
    """
    if width % 4:
        raise ValueError(f"the width, heads times channels of each, must be a multiple of 4, got {width}")
    frequencies = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    angles = torch.arange(grid, dtype=torch.float64)[:, None] * frequencies  # (grid, d / 4)
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)  # (grid, d / 2)
    columns, rows = waves[None].expand(grid, -1, -1), waves[:, None].expand(-1, grid, -1)
    return torch.cat([columns, rows], dim=-1).flatten(0, 1).float()


def rotations(grid: int, channels: int, device: torch.device) -> torch.Tensor:
    """
    Computes what pairs of channels of queries and keys are turned by on a square grid: (N, 1, 1, e / 2) complex64.

    The first half of the pairs turns with the row, the second with the column, pair i by 10000^(-4 i / e) a position.
    """
    frequencies = 10000.0 ** -(torch.arange(0, channels // 2, 2, device=device) / (channels / 2))
    angles = torch.arange(grid, device=device)[:, None] * frequencies  # (grid, e / 4)
    rows, columns = angles[:, None].expand(-1, grid, -1), angles[None].expand(grid, -1, -1)
    both = torch.cat([rows, columns], dim=-1).flatten(0, 1)[:, None, None]  # (N, 1, 1, e / 2)
    return torch.polar(torch.ones_like(both), both)
