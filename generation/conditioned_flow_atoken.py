"""The trunk that both stages of image to 3D share: blocks modulated by the time that attend to a condition.

They compute what TRELLIS computes (Xiang et al., 2024), whose models the paper takes as they are (section 5.5).
"""

import math
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.attention import FeedForward
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.normalization import FP32LayerNorm
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn

from .attention_conditioned_atoken import ConditionAttention, KeysAndValues, PackedAttention
from .modulation_atoken import Modulation, modulate
from .packed_sequences_atoken import PackedSequences

# d, blocks, heads, and what differs: "L" sees pictures, the others texts.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"num_layers": 4, "num_attention_heads": 4, "attention_head_dim": 48, "cross_attention_dim": 192},
    "B": {"num_layers": 12, "num_attention_heads": 12, "attention_head_dim": 64, "cross_attention_dim": 768},
    "L": {"num_layers": 24, "num_attention_heads": 16, "attention_head_dim": 64, "cross_attention_dim": 1024},
    "XL": {"num_layers": 28, "num_attention_heads": 16, "attention_head_dim": 80, "cross_attention_dim": 768},
}
TIME_CHANNELS = 256  # cosines and sines of the time
BLOCK_EPS, OUTPUT_EPS = 1e-6, 1e-5

Condition = torch.Tensor | list[KeysAndValues] | None


class TimeProjection(nn.Module):
    """
    Turns times into cosines and sines.

    Its frequencies are e to the power of numbers in fp32, as the authors' are, but rounded from float64: how torch
    rounds them in fp32 depends on the CPU, and times of 1000 make a last bit of theirs an error of 6e-5.

    Args:
        channels: of the result, an even number.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels

    def forward(self, times: torch.Tensor) -> torch.Tensor:
        """(B,) -> (B, channels) fp32, cosines first."""
        half = self.channels // 2
        powers = -math.log(10000) * torch.arange(half, dtype=torch.float32) / half
        angles = times.float()[:, None] * powers.double().exp().float().to(times.device)
        return torch.cat([angles.cos(), angles.sin()], dim=-1)


class ConditionedBlock(nn.Module):
    """Applies attention among tokens, attention to the condition, and an MLP; the first and the last know the time."""

    def __init__(
        self, width: int, heads: int, condition_width: int, mlp_ratio: float, qk_norm: bool, qk_norm_cross: bool
    ):
        super().__init__()
        self.norm1 = FP32LayerNorm(width, eps=BLOCK_EPS, elementwise_affine=False)
        self.attn = PackedAttention(width, heads, qk_norm)
        self.norm2 = FP32LayerNorm(width, eps=BLOCK_EPS)
        self.cross_attn = ConditionAttention(width, heads, condition_width, qk_norm_cross)
        self.norm3 = FP32LayerNorm(width, eps=BLOCK_EPS, elementwise_affine=False)
        self.mlp = FeedForward(width, inner_dim=int(width * mlp_ratio), activation_fn="gelu-approximate")
        self.modulation = Modulation(width, 6)

    def forward(
        self, hidden: torch.Tensor, time: torch.Tensor, condition: KeysAndValues | None, sequences: PackedSequences
    ) -> torch.Tensor:
        """`rows` of the sequences, time (B, d) -> `rows`."""
        parts = self.modulation(time)
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = (sequences.spread(part) for part in parts)
        found = self.attn(modulate(self.norm1(hidden), shift_1, scale_1), sequences)
        hidden = torch.addcmul(hidden, gate_1, found)
        hidden = hidden + self.cross_attn(self.norm2(hidden), condition, sequences)
        found = self.mlp(modulate(self.norm3(hidden), shift_2, scale_2))
        return torch.addcmul(hidden, gate_2, found)


class ConditionedFlowModel(ModelMixin, PeftAdapterMixin, ConfigMixin):
    """
    Holds time, blocks and condition of a flow model; a subclass brings tokens in and velocities out.

    The subclass's configuration has `num_layers`, `num_attention_heads`, `attention_head_dim`, `cross_attention_dim`,
    `mlp_ratio`, `qk_norm` and `qk_norm_cross`.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["ConditionedBlock"]
    _repeated_blocks = ["ConditionedBlock"]
    _skip_layerwise_casting_patterns = ["proj_in", "time_embed", "norm", "proj_out"]

    @classmethod
    def from_preset(cls, name: str, **kwargs: Any) -> "ConditionedFlowModel":
        """
        Makes a model with random weights of one of TRELLIS's sizes.

        Args:
            name: "L", the paper's, for pictures; "B" or "XL" for texts; or "tiny".
            kwargs: other arguments of the class.

        Raises:
            ValueError: there is no such preset.
        """
        if name not in PRESETS:
            raise ValueError(f"name must be one of {', '.join(PRESETS)}, got {name!r}")
        return cls(**{**PRESETS[name], **cls._preset_options(name), **kwargs})

    @classmethod
    def _preset_options(cls, name: str) -> dict[str, Any]:
        """Gives what a preset says for this stage alone."""
        return {}

    def _build_trunk(self) -> None:
        config = self.config
        for name in ("num_layers", "num_attention_heads", "attention_head_dim", "cross_attention_dim", "in_channels"):
            if config[name] < 1:
                raise ValueError(f"{name} must be at least 1, got {config[name]}")
        if not 0 < config.mlp_ratio < math.inf:
            raise ValueError(f"mlp_ratio must be above 0, got {config.mlp_ratio}")
        width = config.num_attention_heads * config.attention_head_dim
        if width < 6:
            raise ValueError(f"the width, heads times channels of each, must be at least 6, got {width}")
        self.width = width
        self.time_proj = TimeProjection(TIME_CHANNELS)
        self.time_embed = TimestepEmbedding(TIME_CHANNELS, width)
        self.transformer_blocks = nn.ModuleList(
            ConditionedBlock(
                width,
                config.num_attention_heads,
                config.cross_attention_dim,
                config.mlp_ratio,
                config.qk_norm,
                config.qk_norm_cross,
            )
            for _ in range(config.num_layers)
        )
        self.gradient_checkpointing = False

    def _initialize(self) -> None:
        modulations = {id(block.modulation.linear) for block in self.transformer_blocks}
        for module in self.modules():
            if isinstance(module, nn.Linear) and id(module) not in modulations:
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for layer in (self.time_embed.linear_1, self.time_embed.linear_2):
            nn.init.normal_(layer.weight, std=0.02)
        # So that the velocity is zero at the first step.
        nn.init.zeros_(self.proj_out.weight)

    @apply_forward_hook
    def condition_keys(self, encoder_hidden_states: torch.Tensor) -> list[KeysAndValues]:
        """
        Computes what every block sees of a condition, which is the same at all times.

        Args:
            encoder_hidden_states: (B, M, c), or (1, M, c) for any number of samples.

        Returns:
            What `forward` takes for `encoder_hidden_states` in its place.

        Raises:
            ValueError: the shape does not fit.
        """
        width = self.config.cross_attention_dim
        if encoder_hidden_states.ndim != 3 or encoder_hidden_states.shape[2] != width:
            given = tuple(encoder_hidden_states.shape)
            raise ValueError(f"encoder_hidden_states must be (B, M, {width}), got {given}")
        condition = encoder_hidden_states.to(self.dtype)
        return [block.cross_attn.keys_and_values(condition) for block in self.transformer_blocks]

    def time_vectors(self, timestep: torch.Tensor) -> torch.Tensor:
        """Gives (B, d) of (B,) times in [0, 1000]; cosines and sines in fp32."""
        return self.time_embed(self.time_proj(timestep).to(self.dtype))

    def _run_blocks(
        self, hidden: torch.Tensor, time: torch.Tensor, condition: Condition, sequences: PackedSequences
    ) -> torch.Tensor:
        """Gives (N, d) after all blocks, of (N, d) packed tokens."""
        keys = self._keys(condition, len(sequences.lengths))
        hidden = sequences.rows(hidden)
        for block, seen in zip(self.transformer_blocks, keys, strict=True):
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                hidden = self._gradient_checkpointing_func(block, hidden, time, seen, sequences)
            else:
                hidden = block(hidden, time, seen, sequences)
        return sequences.packed(hidden)

    def _keys(self, condition: Condition, batch: int) -> list[KeysAndValues] | list[None]:
        if condition is None:
            return [None] * len(self.transformer_blocks)
        keys = self.condition_keys(condition) if isinstance(condition, torch.Tensor) else condition
        if len(keys) != len(self.transformer_blocks):
            raise ValueError(
                f"encoder_hidden_states must be of this model's {len(self.transformer_blocks)} blocks, got {len(keys)}"
            )
        given = len(keys[0][0])
        if given not in (1, batch):
            raise ValueError(f"encoder_hidden_states must be of 1 or of {batch} samples, got {given}")
        return keys


def check_timestep(timestep: torch.Tensor, batch: int) -> None:
    """
    Checks the shape of times.

    Raises:
        ValueError: it does not fit the batch.
    """
    if tuple(timestep.shape) != (batch,) or not timestep.is_floating_point():
        raise ValueError(
            f"timestep must be ({batch},) and floating point in [0, 1000], got {tuple(timestep.shape)} {timestep.dtype}"
        )


def grid_positions(coords: torch.Tensor, width: int) -> torch.Tensor:
    """
    Computes what is added to tokens for their place.

    Args:
        coords: (N, 3) integers [x, y, z].
        width: d.

    Returns:
        (N, d) fp32: for x, y, z in turn n sines and n cosines of n = d // 6 frequencies 10000^(-k / n), then zeros.
    """
    count = width // 6
    frequencies = 10000.0 ** -(torch.arange(count, device=coords.device, dtype=torch.float32) / count)
    angles = coords[:, :, None].float() * frequencies  # (N, 3, n)
    waves = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)
    return nn.functional.pad(waves, (0, width - waves.shape[1]))
