"""What encoder and decoder share: how packed tokens run through their blocks, in tiles or windows of time."""

from dataclasses import replace

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from .configuration_atoken import AtokenConfig, PatchSize
from .layers_atoken import (
    AtokenBlock,
    AtokenHeadNorm,
    AtokenPoolingHead,
    AtokenPositionTable,
    AtokenRMSNorm,
    CacheWindow,
    RotaryTable,
    TemporalCache,
    rotary_table,
)
from .remote_code_atoken import auto_class_of, bind_to_package
from .token_layouts_atoken import TokenLayout
from .tokens_atoken import TokenBatch, temporal_windows

# Tiles that run together: enough to fill a GPU, and few enough that the MLP's activations stay near 1 GB at So400m.
TILE_BATCH_TOKENS = 32768


class AtokenPreTrainedModel(PreTrainedModel):
    _auto_class = auto_class_of(__name__, "AutoModel")
    config: AtokenConfig
    base_model_prefix = "atoken"
    main_input_name = "pixel_values"
    input_modalities = ("image", "video", "text")
    supports_gradient_checkpointing = True
    _no_split_modules = ["AtokenBlock", "AtokenPoolingHead", "AtokenPositionTable", "Siglip2EncoderLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    @property
    def execution_device(self) -> torch.device:
        """Gives the device of inputs: where it computes. Offloaded by accelerate, its weights lie elsewhere."""
        for module in self.modules():
            hook = getattr(module, "_hf_hook", None)
            for one in getattr(hook, "hooks", (hook,)):
                if getattr(one, "execution_device", None) is not None:
                    return torch.device(one.execution_device)
        return self.device

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, (AtokenRMSNorm, AtokenHeadNorm)):
            init.ones_(module.weight)
        elif isinstance(module, AtokenPositionTable):
            init.normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, AtokenPoolingHead):
            init.normal_(module.probe, std=self.config.initializer_range)


class AtokenTransformer(AtokenPreTrainedModel):
    """Holds what encoder and decoder share: input projection, positions, blocks, and how a batch runs through them."""

    _input_embed_layer = "input_layer"

    def __init__(self, config, in_features: int, norm, bias: bool, qk_norm: bool):
        super().__init__(config)
        self.patch_size = PatchSize(config.patch_size)
        self.in_features = in_features
        self.input_layer = nn.Linear(in_features, config.hidden_size, bias=bias)
        self.position_embedding = AtokenPositionTable(config.position_embedding_size, config.hidden_size)
        self.blocks = nn.ModuleList(
            AtokenBlock(config, layer_idx, norm, bias=bias, qk_norm=qk_norm)
            for layer_idx in range(config.num_hidden_layers)
        )
        self.gradient_checkpointing = False

    @property
    def compute_dtype(self) -> torch.dtype:
        """
        Gives the dtype in which it computes, to which inputs are cast.

        It is that of the position table: quantization and layerwise casting replace linear layers, whose weights then
        have the dtype in which they are stored.
        """
        return self.position_embedding.weight.dtype

    def new_cache(self, cache_frames: int | None = None) -> TemporalCache:
        """Makes an empty cache for `cache_frames` frames (default: the configuration's), to hand to every window."""
        cache_frames = self.config.cache_frames if cache_frames is None else cache_frames
        return TemporalCache(self._latent_frames("cache_frames", cache_frames, at_least=0))

    def _latent_frames(self, name: str, frames: int, at_least: int) -> int:
        latent_frames, rest = divmod(frames, self.patch_size[0]) if isinstance(frames, int) else (0, 1)
        if rest or latent_frames < at_least:
            raise ValueError(
                f"{name} must be a multiple of the patch's {self.patch_size[0]} frames"
                f"{' and at least one patch' if at_least else ' or 0'}, got {frames}"
            )
        return latent_frames

    def run(
        self,
        batch: TokenBatch,
        tile_frames: int | None,
        cache_frames: int | None,
        cache: TemporalCache | None,
        batch_tokens: int,
        collect: bool,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...] | None]:
        """
        Input projection and blocks over a batch.

        Without a cache the temporal tiles are independent and run together, as many at a time as `batch_tokens`
        allows. With one, windows follow each other in time.

        Returns:
            The last block's output (N, d) in the order given and, if `collect`, all hidden states.
        """
        if batch.features.shape[-1] != self.in_features:
            raise ValueError(
                f"{self.main_input_name} must have {self.in_features} features per token, got "
                f"{batch.features.shape[-1]}"
            )
        if batch_tokens < 1:
            raise ValueError(f"batch_tokens must be positive, got {batch_tokens}")
        if cache is not None and not isinstance(cache, TemporalCache):
            raise ValueError(f"cache must be a TemporalCache (see new_cache), got {type(cache).__name__}")
        batch = replace(batch, features=batch.features.to(self.compute_dtype))
        cache_frames = self.config.cache_frames if cache_frames is None else cache_frames
        if tile_frames is None and batch.handed is not None:
            tile_frames = batch.handed.tile * self.patch_size[0]
        tile_frames = self.config.tile_frames if tile_frames is None else tile_frames
        tile = self._latent_frames("tile_frames", tile_frames, at_least=1)
        if batch.handed is not None and batch.handed.tile != tile:
            raise ValueError(f"layout must be of tiles of {tile} latent frames, got one of {batch.handed.tile}")
        if cache is not None or self._latent_frames("cache_frames", cache_frames, at_least=0):
            states, order = self._run_windows(batch, tile, cache or self.new_cache(cache_frames), collect)
        else:
            layout = batch.layout(tile)
            features, order = layout.gather(batch.features), layout.order
            if features.shape[0] <= batch_tokens:
                states = self._run_blocks(features, layout, None, collect)
            else:
                pieces = [
                    self._run_blocks(features[start:end], layout.piece(start, end, sequences), None, collect)
                    for start, end, sequences in layout.sequences.split(batch_tokens)
                ]
                states = [torch.cat(parts) for parts in zip(*pieces, strict=True)]
        if order is not None:
            inverse = torch.argsort(order)
            states = [state[inverse.to(state.device)] for state in states]
        return states[-1], tuple(states) if collect else None

    def _run_windows(self, batch: TokenBatch, tile: int, cache: TemporalCache, collect: bool):
        self._check_checkpointing()
        coords, sample, order, windows = temporal_windows(batch, tile)
        pieces, origin = [], cache.next_frame
        for start, end, first_frame, num_frames in windows:
            cache.next_frame = origin + first_frame  # frames without any token pass as well
            index = order[start:end]
            local = torch.cat([coords[index, :1] - first_frame, coords[index, 1:]], dim=1)
            window = cache.open_window(local, sample[index], num_frames)
            pieces.append(self._run_blocks(batch.features[index], window.layout, window, collect))
            cache.close_window(window)
        return [torch.cat(parts) for parts in zip(*pieces, strict=True)], order

    def _check_checkpointing(self) -> None:
        # Reentrant checkpointing runs blocks without gradients, so the keys that windows hand on would have none.
        for block in self.blocks:
            if block.training and block.gradient_checkpointing and torch.is_grad_enabled():
                if getattr(block._gradient_checkpointing_func, "keywords", {}).get("use_reentrant"):
                    raise ValueError("use_reentrant must be False for gradient checkpointing with a temporal cache")

    def _run_blocks(
        self, features: torch.Tensor, layout: TokenLayout, window: CacheWindow | None, collect: bool
    ) -> list[torch.Tensor]:
        hidden_states = self.input_layer(features)
        # Of a model that is spread over devices, the table may lie on another one.
        hidden_states = hidden_states + self.position_embedding(layout).to(hidden_states.device)
        if len(layout.sequences.runs) > 1 and not torch.compiler.is_compiling():
            layout.sequences.prepare()
        q_rotary = k_rotary = None
        if self.config.use_rope:
            head_dim, theta = self.config.hidden_size // self.config.num_attention_heads, self.config.rope_theta
            q_rotary = k_rotary = RotaryTable(rotary_table(layout.coords, head_dim, theta))
            if window is not None:
                k_rotary = RotaryTable(rotary_table(window.key_coords, head_dim, theta))
        states = [hidden_states]
        for block in self.blocks:
            hidden_states = block(hidden_states, q_rotary, k_rotary, layout.sequences, window)
            if collect:
                states.append(hidden_states)
        return states if collect else [hidden_states]


def wanted_states(states: tuple[torch.Tensor, ...] | None, wanted: bool | int | list[int] | None):
    """Gives all hidden states for True; for indices, which may count from the end, None in place of the others."""
    if states is None or isinstance(wanted, bool):
        return states
    indices = [wanted] if isinstance(wanted, int) else wanted
    return tuple(
        state if index in indices or index - len(states) in indices else None for index, state in enumerate(states)
    )


def check_floating(name: str, value: torch.Tensor, hint: str = "") -> None:
    """Raises a ValueError that names the argument unless `value` is a floating point tensor."""
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        given = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
        raise ValueError(f"{name} must be a floating point tensor{' ' if hint else ''}{hint}, got {given}")


bind_to_package(__name__)
