"""Stage 1 of image to 3D: which voxels an object has, as a dense grid of latents (AToken paper, section 5.5)."""

from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.modeling_utils import ModelMixin  # noqa: F401 - diffusers looks it up here to load the class below
from diffusers.models.normalization import FP32LayerNorm
from torch import nn

from .conditioned_flow_atoken import OUTPUT_EPS, Condition, ConditionedFlowModel, check_timestep, grid_positions
from .packed_sequences_atoken import PackedSequences


class SparseStructureFlowModel(ConditionedFlowModel):
    r"""
    Gives the velocity from data to noise of structure latents, for a condition; TRELLIS's first stage.

    Time runs from 0, data, to 1,000, noise.

    Args:
        sample_size (`int`): Side R of the cube of latents.
        in_channels (`int`): Channels C of a latent, also of the velocity.
        num_layers (`int`), num_attention_heads (`int`), attention_head_dim (`int`): Blocks, heads, channels of each
            head; the width is their product.
        cross_attention_dim (`int`): Channels c of the condition.
        mlp_ratio (`float`): Of the MLP's width to the model's.
        qk_norm, qk_norm_cross (`bool`): Whether queries and keys of attention among tokens, and to the condition, are
            normed by head.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 16,
        in_channels: int = 8,
        num_layers: int = 24,
        num_attention_heads: int = 16,
        attention_head_dim: int = 64,
        cross_attention_dim: int = 1024,
        mlp_ratio: float = 4.0,
        qk_norm: bool = True,
        qk_norm_cross: bool = False,
    ):
        super().__init__()
        if sample_size < 1:
            raise ValueError(f"sample_size must be at least 1, got {sample_size}")
        self._build_trunk()
        self.proj_in = nn.Linear(in_channels, self.width)
        self.norm_out = FP32LayerNorm(self.width, eps=OUTPUT_EPS, elementwise_affine=False)
        self.proj_out = nn.Linear(self.width, in_channels)
        self._initialize()

    @classmethod
    def _preset_options(cls, name: str) -> dict[str, Any]:
        return {"qk_norm_cross": True} if name == "XL" else {}

    def position_table(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """Computes what is added to tokens for their place: (R^3, d) fp32, in the order of x, y, z."""
        axis = torch.arange(self.config.sample_size, device=device)
        return grid_positions(torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3), self.width)

    def forward(
        self,
        hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: Condition,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[torch.Tensor]:
        """
        Gives velocities.

        Args:
            hidden_states: (B, C, R, R, R) noisy latents along x, y, z.
            timestep: (B,) in [0, 1000], where 1000 is noise.
            encoder_hidden_states: (B, M, c), or (1, M, c) for all samples, or what `condition_keys` gives of it; None
                for no condition, which is the same as zeros and cheaper.
            return_dict: False for the tuple `(sample,)`.

        Returns:
            `sample`: (B, C, R, R, R), noise - data.

        Raises:
            ValueError: a shape or a dtype does not fit.
        """
        side, channels = self.config.sample_size, self.config.in_channels
        if hidden_states.ndim != 5 or tuple(hidden_states.shape[1:]) != (channels, side, side, side):
            raise ValueError(
                f"hidden_states must be (B, {channels}, {side}, {side}, {side}), got {tuple(hidden_states.shape)}"
            )
        batch = hidden_states.shape[0]
        check_timestep(timestep, batch)
        sequences = PackedSequences.of([side**3] * batch, hidden_states.device)
        tokens = self.proj_in(hidden_states.flatten(2).transpose(1, 2))  # (B, R^3, d)
        tokens = (tokens + self.position_table(tokens.device).to(tokens.dtype)).flatten(0, 1)
        tokens = self._run_blocks(tokens, self.time_vectors(timestep), encoder_hidden_states, sequences)
        velocity = self.proj_out(self.norm_out(tokens))  # (B R^3, C)
        sample = velocity.unflatten(0, (batch, side**3)).transpose(1, 2).reshape(hidden_states.shape)
        return Transformer2DModelOutput(sample=sample) if return_dict else (sample,)
