"""Stage 2 of image to 3D: the latents of occupied voxels (AToken paper, section 5.5)."""

from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.modeling_utils import ModelMixin  # noqa: F401 - diffusers looks it up here to load the class below
from diffusers.models.normalization import FP32LayerNorm
from torch import nn

from .conditioned_flow_atoken import OUTPUT_EPS, Condition, ConditionedFlowModel, check_timestep, grid_positions
from .sparse_blocks_atoken import HalvingResBlock, RestoringResBlock, SparseResBlock
from .sparse_grid_atoken import SparseLayout
from .transformer_lightning_dit_atoken import check_statistics


class StructuredLatentFlowModel(ConditionedFlowModel):
    r"""
    Gives the velocity from data to noise of voxels' latents, for a condition; TRELLIS's second stage.

    Time runs from 0, data, to 1,000, noise. Sparse convolutions are gathers and matrix products; voxels are halved once
    before the blocks, within which all cells of an object attend to each other.

    Args:
        sample_size (`int`): Voxels R along a side of the grid, an even number.
        in_channels (`int`): Channels C of a voxel's latent, also of the velocity.
        num_layers, num_attention_heads, attention_head_dim, cross_attention_dim, mlp_ratio, qk_norm, qk_norm_cross: As
            in [`SparseStructureFlowModel`].
        io_channels (`int`): Channels of a voxel before the grid is halved and after it is restored.
        io_layers (`int`): Residual blocks on each of these sides.
        pool_counts_zero (`bool`): Whether a cell's m voxels are summed and divided by m + 1, as TRELLIS's weights need
            it, or by m.
        latents_mean, latents_std (`list[float]`, *optional*): Of the latents that it was trained on, by channel; what
            it sees is (latent - mean) / std. Sampling refuses a model without them.
        vae_latents_mean, vae_latents_std (`list[float]`, *optional*): Of the configuration of the tokenizer that it was
            trained on, so that another is noticed.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 64,
        in_channels: int = 48,
        num_layers: int = 24,
        num_attention_heads: int = 16,
        attention_head_dim: int = 64,
        cross_attention_dim: int = 1024,
        mlp_ratio: float = 4.0,
        qk_norm: bool = True,
        qk_norm_cross: bool = False,
        io_channels: int = 128,
        io_layers: int = 2,
        pool_counts_zero: bool = False,
        latents_mean: list[float] | None = None,
        latents_std: list[float] | None = None,
        vae_latents_mean: list[float] | None = None,
        vae_latents_std: list[float] | None = None,
    ):
        super().__init__()
        if sample_size < 2 or sample_size % 2:
            raise ValueError(f"sample_size must be an even number above 0, got {sample_size}")
        for name in ("io_channels", "io_layers"):
            if self.config[name] < 1:
                raise ValueError(f"{name} must be at least 1, got {self.config[name]}")
        check_statistics(in_channels, latents_mean, latents_std)
        self._build_trunk()
        width, inner = self.width, io_channels
        self.proj_in = nn.Linear(in_channels, inner)
        self.input_blocks = nn.ModuleList(
            [
                *(SparseResBlock(inner, inner, width) for _ in range(io_layers - 1)),
                HalvingResBlock(inner, width, width, pool_counts_zero),
            ]
        )
        self.output_blocks = nn.ModuleList(
            [
                RestoringResBlock(2 * width, inner, width),
                *(SparseResBlock(2 * inner, inner, width) for _ in range(io_layers - 1)),
            ]
        )
        self.norm_out = FP32LayerNorm(inner, eps=OUTPUT_EPS, elementwise_affine=False)
        self.proj_out = nn.Linear(inner, in_channels)
        self._initialize()

    @classmethod
    def _preset_options(cls, name: str) -> dict[str, Any]:
        return {"XL": {"io_channels": 256, "io_layers": 3}, "tiny": {"io_channels": 48}}.get(name, {})

    def with_latent_channels(self, in_channels: int) -> "StructuredLatentFlowModel":
        """
        Makes a model of another tokenizer's latents out of this one.

        All weights but those of the first and the last layer are copied; these begin anew, so that velocities are zero.
        The new model has no statistics yet.

        Args:
            in_channels: of the other latents.
        """
        statistics = ("latents_mean", "latents_std", "vae_latents_mean", "vae_latents_std")
        changes = {"in_channels": in_channels, **dict.fromkeys(statistics)}
        grown = type(self).from_config({**self.config, **changes})
        kept = {
            name: value for name, value in self.state_dict().items() if not name.startswith(("proj_in.", "proj_out."))
        }
        grown.load_state_dict({**grown.state_dict(), **kept})
        return grown.to(self.device, self.dtype).train(self.training)

    def forward(
        self,
        hidden_states: torch.Tensor,
        coords: torch.Tensor,
        cu_seqlens: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: Condition,
        layout: SparseLayout | None = None,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[torch.Tensor]:
        """
        Gives velocities.

        Args:
            hidden_states: (N, C) noisy normalized latents of the voxels of B packed objects.
            coords: (N, 4) integers [t, x, y, z] in any order within an object, x, y, z in [0, R); t has no effect.
            cu_seqlens: (B + 1,) integers, where each object starts.
            timestep: (B,) in [0, 1000], where 1000 is noise.
            encoder_hidden_states: (B, M, c), or (1, M, c) for all objects, or what `condition_keys` gives of it; None
                for no condition, which is the same as zeros and cheaper.
            layout: `SparseLayout.build(coords, cu_seqlens, sample_size)`, where the same voxels are used again; coords
                and cu_seqlens are not read then.
            return_dict: False for the tuple `(sample,)`.

        Returns:
            `sample`: (N, C), noise - data.

        Raises:
            ValueError: a shape, a dtype or a coordinate does not fit.
        """
        channels = self.config.in_channels
        if hidden_states.ndim != 2 or hidden_states.shape[1] != channels:
            raise ValueError(f"hidden_states must be (N, {channels}), got {tuple(hidden_states.shape)}")
        if layout is None:
            layout = SparseLayout.build(coords, cu_seqlens, self.config.sample_size)
        count = len(layout.voxels.coords)
        if len(hidden_states) != count:
            raise ValueError(f"hidden_states must have a row for each of {count} voxels, got {len(hidden_states)}")
        check_timestep(timestep, len(layout.voxels.sequences.lengths))
        time = self.time_vectors(timestep)
        hidden, skips = self.proj_in(hidden_states), []
        *fine, halving = self.input_blocks
        for block in fine:
            hidden = self._checkpointed(block, hidden, time, layout.voxels)
            skips.append(hidden)
        hidden = self._checkpointed(halving, hidden, time, layout)
        halved = hidden
        hidden = hidden + grid_positions(layout.cells.coords, self.width).to(hidden.dtype)
        hidden = self._run_blocks(hidden, time, encoder_hidden_states, layout.cells.sequences)
        restoring, *fine = self.output_blocks
        hidden = self._checkpointed(restoring, torch.cat([hidden, halved], dim=1), time, layout)
        for block in fine:
            hidden = self._checkpointed(block, torch.cat([hidden, skips.pop()], dim=1), time, layout.voxels)
        sample = self.proj_out(self.norm_out(hidden))
        return Transformer2DModelOutput(sample=sample) if return_dict else (sample,)

    def _checkpointed(self, block: nn.Module, *inputs: Any) -> torch.Tensor:
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            return self._gradient_checkpointing_func(block, *inputs)
        return block(*inputs)
