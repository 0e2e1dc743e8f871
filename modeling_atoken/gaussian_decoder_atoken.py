"""The 3D Gaussian decoder: decoded voxel features to 3D Gaussians (paper, section 3.3; design "3D Gaussian decoder").

The computation is that of the released `3d_decode_gs` weights.
"""

import math
from collections.abc import Callable

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_atoken import AtokenGaussianConfig
from .gaussian_windows_atoken import WindowGroups, shifted_windows
from .gaussians_atoken import Gaussians
from .keywords_atoken import check_keywords
from .layers_atoken import AtokenMLP, AtokenRMSNorm
from .packed_layouts_atoken import PackedLayout
from .remote_code_atoken import auto_class_of

# The released activations: standard deviation and opacity of an output of 0, the smallest standard deviation, how far
# outside its voxel a center may lie (in voxels), the factor on the rotation output.
_SCALE_BIAS, _OPACITY_BIAS, _MIN_SCALE, _REACH, _ROTATION_RATE = 0.004, 0.1, 0.0009, 1.5, 0.1
_CHANNELS = (3, 3, 3, 4, 1)  # offset, color, scale, rotation, opacity


class AtokenWindowAttention(nn.Module):
    """Full attention within each window, with logits soft-capped to cap * tanh(logit / cap)."""

    def __init__(self, config: AtokenGaussianConfig):
        super().__init__()
        self.num_heads, self.soft_cap = config.num_attention_heads, config.soft_cap
        self.scaling = (config.hidden_size // config.num_attention_heads) ** -0.5
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, hidden_states: torch.Tensor, groups: WindowGroups) -> torch.Tensor:
        """Maps (N, hidden_size) to (N, hidden_size)."""
        qkv = self.qkv(hidden_states).unflatten(-1, (3, self.num_heads, -1))  # (N, 3, heads, head_dim)
        pieces = []
        for batch in groups.batches:
            query, key, value = qkv[batch.index].permute(2, 0, 3, 1, 4)  # each (W, heads, L, head_dim)
            logits = (query @ key.mT).float() * self.scaling
            logits = self.soft_cap * torch.tanh(logits / self.soft_cap)
            logits = logits.masked_fill(batch.filling[:, None, None, :], -math.inf)
            attended = logits.softmax(-1).to(value.dtype) @ value
            attended = attended.transpose(1, 2).flatten(2).flatten(0, 1)  # (W * L, hidden_size)
            pieces.append(attended[batch.selected])
        return self.out_proj(torch.cat(pieces)[groups.inverse])


class AtokenGaussianBlock(GradientCheckpointingLayer):
    def __init__(self, config: AtokenGaussianConfig):
        super().__init__()
        self.norm1 = AtokenRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attn = AtokenWindowAttention(config)
        self.norm2 = AtokenRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = AtokenMLP(config, bias=False)

    def forward(self, hidden_states: torch.Tensor, groups: WindowGroups) -> torch.Tensor:
        hidden_states = hidden_states + self.attn(self.norm1(hidden_states), groups)
        return hidden_states + self.mlp(self.norm2(hidden_states))


def sinusoidal_positions(coords: torch.Tensor, width: int) -> torch.Tensor:
    """Turns (N, 3) into (N, width) fp32: for x, y, z in turn [sin, cos] of width // 6 frequencies, then zeros."""
    frequencies = width // 6
    exponents = torch.arange(frequencies, device=coords.device, dtype=torch.float32) / frequencies
    angles = coords[:, :, None].float() * 10000.0**-exponents  # (N, 3, f)
    table = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)
    return nn.functional.pad(table, (0, width - table.shape[1]))


def hammersley_offsets(count: int) -> torch.Tensor:
    """Gives (count, 3) raw offsets that spread an untrained decoder's centers over the voxel: Hammersley points."""
    index = torch.arange(count, dtype=torch.float64)
    points = [index / count]
    for base in (2, 3):
        inverse, rest, digit = torch.zeros_like(index), index.clone(), 1 / base
        while digit * base * count > 1:  # until every digit of count - 1 is mirrored
            inverse += rest % base * digit
            rest = (rest / base).floor()
            digit /= base
        points.append(inverse)
    return torch.atanh((2 * torch.stack(points, dim=1) - 1) / _REACH).float()


class AtokenGaussianDecoder(PreTrainedModel):
    """
    Decoded features of occupied voxels to `config.num_gaussians` 3D Gaussians per voxel.

    `gaussian_decoder` inside [`AtokenModel`], where `decode_gaussians` feeds it.
    """

    _auto_class = auto_class_of(__name__, "AutoModel")
    config: AtokenGaussianConfig
    config_class = AtokenGaussianConfig
    base_model_prefix = "gaussian_decoder"
    main_input_name = "features"
    supports_gradient_checkpointing = True
    _no_split_modules = ["AtokenGaussianBlock"]
    _input_embed_layer = "input_layer"
    # No backend computes its soft-capping, so its attention is always its own; with these the rest of an AtokenModel
    # that holds it may still use any backend.
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = _supports_attention_backend = True

    def __init__(self, config: AtokenGaussianConfig):
        super().__init__(config)
        self.input_layer = nn.Linear(config.in_channels, config.hidden_size, bias=False)
        self.blocks = nn.ModuleList(AtokenGaussianBlock(config) for _ in range(config.num_hidden_layers))
        self.out_layer = nn.Linear(config.hidden_size, config.num_gaussians * sum(_CHANNELS))
        self.register_buffer("offset_perturbation", hammersley_offsets(config.num_gaussians))
        self.gradient_checkpointing = False
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, AtokenRMSNorm):
            init.ones_(module.weight)
        elif isinstance(module, AtokenGaussianDecoder):
            init.copy_(module.offset_perturbation, hammersley_offsets(self.config.num_gaussians))

    @property
    def compute_dtype(self) -> torch.dtype:
        """Gives the dtype in which it computes, that of a norm: linear layers may be stored in another one."""
        return self.blocks[0].norm1.weight.dtype

    def forward(
        self,
        features: torch.Tensor,
        coords: torch.Tensor,
        cu_seqlens: torch.Tensor,
        layout: PackedLayout | None = None,
        **kwargs,
    ) -> list[Gaussians]:
        r"""
        Decodes voxel features to Gaussians.

        Args:
            features (`torch.Tensor`): (N, in_channels), the first features of each decoded voxel.
            coords (`torch.Tensor`): (N, 3) integers [x, y, z] in [0, resolution); no voxel of a sample twice.
            cu_seqlens (`torch.Tensor`): (B + 1,) integers, where each packed sample starts.
            layout (`PackedLayout`, *optional*): of these voxels, with the windows of this decoder. Then nothing is read
                back from the device, and values are not checked.

        Returns:
            One [`Gaussians`] per sample in fp32, `num_gaussians` for each voxel in the order given, in world units:
            the grid is the cube [-0.5, 0.5]^3, and a center lies at most 0.75 voxels from its voxel's along each axis.

        Raises:
            ValueError: naming the argument that does not fit.
            TypeError: naming keyword arguments that do not exist.
        """
        check_keywords("AtokenGaussianDecoder.forward", kwargs)
        config = self.config
        if layout is None:
            lengths = _check_input(features, coords, cu_seqlens, config)
            coords = coords.to(features.device).long()
            groups = shifted_windows(coords, lengths, config)
        elif layout.gaussian_windows is None:
            raise ValueError(
                "layout must have the Gaussian decoder's windows, got none; give build its gaussian_config"
            )
        else:
            lengths, groups, coords = layout.lengths, layout.gaussian_windows, coords.long()
        hidden_states = self.input_layer(features.to(self.compute_dtype))
        hidden_states = hidden_states + sinusoidal_positions(coords, config.hidden_size).to(hidden_states)
        for layer, block in enumerate(self.blocks):
            hidden_states = block(hidden_states, groups[layer % 2])
        hidden_states = nn.functional.layer_norm(hidden_states, (config.hidden_size,), eps=1e-5)
        make = Gaussians if layout is None else Gaussians.unchecked
        raw = self.out_layer(hidden_states).float()
        return self._activate(raw, coords.to(raw.device), lengths, make)

    def _activate(
        self, raw: torch.Tensor, coords: torch.Tensor, lengths: list[int], make: Callable[..., Gaussians]
    ) -> list[Gaussians]:
        count, resolution = self.config.num_gaussians, self.config.resolution
        parts = raw.split([count * width for width in _CHANNELS], dim=-1)
        offset, color, scale, rotation, opacity = (
            part.unflatten(-1, (count, width)) for part, width in zip(parts, _CHANNELS, strict=True)
        )  # (N, count, width)
        center = (coords[:, None].float() + 0.5) / resolution - 0.5
        means = center + torch.tanh(offset + self.offset_perturbation.to(offset)) * (0.5 * _REACH / resolution)
        scale = nn.functional.softplus(scale + math.log(math.expm1(_SCALE_BIAS)))
        identity = rotation.new_tensor([1.0, 0.0, 0.0, 0.0])
        fields = {
            "means": means,
            "quats": nn.functional.normalize(_ROTATION_RATE * rotation + identity, dim=-1),
            "scales": torch.sqrt(scale.square() + _MIN_SCALE**2),
            "opacities": torch.sigmoid(opacity + math.log(_OPACITY_BIAS / (1 - _OPACITY_BIAS))).squeeze(-1),
            "sh0": color,
        }
        pieces = {name: value.flatten(0, 1).split([n * count for n in lengths]) for name, value in fields.items()}
        return [make(**dict(zip(pieces, values, strict=True))) for values in zip(*pieces.values(), strict=True)]


def _check_input(
    features: torch.Tensor, coords: torch.Tensor, cu_seqlens: torch.Tensor, config: AtokenGaussianConfig
) -> list[int]:
    """The samples' lengths; ValueError for input that does not fit."""
    if not isinstance(features, torch.Tensor) or not features.is_floating_point() or features.ndim != 2:
        given = f"{features.dtype} {tuple(features.shape)}" if isinstance(features, torch.Tensor) else type(features)
        raise ValueError(f"features must be a floating point tensor (N, {config.in_channels}), got {given}")
    if features.shape[1] != config.in_channels or not len(features):
        raise ValueError(f"features must be (N, {config.in_channels}) with N > 0, got {tuple(features.shape)}")
    for name, value in (("coords", coords), ("cu_seqlens", cu_seqlens)):
        if not isinstance(value, torch.Tensor) or value.dtype not in (torch.int32, torch.int64):
            given = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
            raise ValueError(f"{name} must be a tensor of integers, got {given}")
    if tuple(coords.shape) != (len(features), 3):
        raise ValueError(f"coords must be ({len(features)}, 3), [x, y, z] of every voxel, got {tuple(coords.shape)}")
    if cu_seqlens.ndim != 1 or len(cu_seqlens) < 2:
        raise ValueError(f"cu_seqlens must be (B + 1,) with B > 0, got {tuple(cu_seqlens.shape)}")
    starts = cu_seqlens.tolist()
    lengths = [end - start for start, end in zip(starts, starts[1:], strict=False)]
    if starts[0] != 0 or starts[-1] != len(features) or min(lengths) < 1:
        raise ValueError(f"cu_seqlens must rise from 0 to the number of voxels, {len(features)}, got {starts}")
    # One synchronization for both checks on values.
    finite = features.detach().isfinite().all().to(coords)
    low, high, finite = torch.stack([*coords.aminmax(), finite]).tolist()
    if low < 0 or high >= config.resolution:
        raise ValueError(f"coords must be in [0, {config.resolution}), got values from {low} to {high}")
    if not finite:
        raise ValueError("features must be finite, got NaN or infinity")
    return lengths


__all__ = ["AtokenGaussianDecoder", "hammersley_offsets", "sinusoidal_positions"]
