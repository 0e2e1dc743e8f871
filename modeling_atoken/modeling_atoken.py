"""AToken: the encoder (`AtokenVisionModel`), the decoder (`AtokenDecoder`) and the whole tokenizer (`AtokenModel`).

Read it top-down: media or packed tokens -> `AtokenTransformer.run` -> latents (-> codes) -> the same transformer ->
patches. Images, videos and 3D objects differ only in the coordinates of their tokens.
"""

import math
from collections.abc import Iterable, Iterator
from functools import partial
from numbers import Integral

import torch
from torch import nn
from transformers import (
    PreTrainedModel,  # noqa: F401 - in this file diffusers looks it up, to know how it loads an AtokenModel in a pipeline
    Siglip2TextModel,
)
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .configuration_atoken import AtokenConfig, AtokenDecoderConfig, AtokenVisionConfig
from .gaussian_decoder_atoken import AtokenGaussianDecoder
from .gaussians_atoken import Gaussians
from .keywords_atoken import check_keywords
from .layers_atoken import (
    AtokenPoolingHead,
    AtokenRMSNorm,
    TemporalCache,
)
from .outputs_atoken import AtokenDecoderOutput, AtokenEncoderOutput, AtokenOutput, LatentDistribution
from .packed_layouts_atoken import PackedLayout
from .quantization_atoken import AtokenQuantizer
from .remote_code_atoken import bind_to_package
from .scalar_weights_atoken import give_scalars_a_dimension
from .text_padding_atoken import pad_texts, states_at
from .token_layouts_atoken import grid_coords, sample_index
from .tokens_atoken import TokenBatch, pack_grids, patchify, unpatchify, valid_pixels
from .transformer_atoken import (
    TILE_BATCH_TOKENS,
    AtokenPreTrainedModel,
    AtokenTransformer,
    check_floating,
    wanted_states,
)

# Weights of the total loss (paper, equation 4; the values are those of the released training).
RECONSTRUCTION_WEIGHT, SEMANTIC_WEIGHT, KL_WEIGHT = 0.2, 1.0, 1e-8


class AtokenVisionModel(AtokenTransformer):
    """
    The encoder with its pooling head (paper, section 3.2): a vision tower for images, videos and 3D objects.

    `vision_model` inside [`AtokenModel`]; `AtokenVisionModel.from_pretrained` also takes it out of a full checkpoint.
    """

    config: AtokenVisionConfig
    base_model_prefix = "vision_model"
    # What else a full checkpoint holds.
    _keys_to_ignore_on_load_unexpected = [
        r"^(decoder|latent_proj|text_model|gaussian_decoder)\.",
        r"^logit_(scale|bias)$",
    ]
    input_modalities = ("image", "video")

    def __init__(self, config: AtokenVisionConfig):
        norm = partial(nn.LayerNorm, config.hidden_size, eps=config.layer_norm_eps)
        super().__init__(config, config.patch_dim, norm, bias=True, qk_norm=False)
        self.post_layernorm = norm()
        self.head = AtokenPoolingHead(config) if config.vision_use_head else None
        self.post_init()

    def tokenize(
        self,
        pixel_values: torch.Tensor,
        coords: torch.Tensor | None = None,
        cu_seqlens: torch.Tensor | None = None,
        image_sizes: torch.Tensor | None = None,
        layout: PackedLayout | None = None,
    ) -> TokenBatch:
        """
        Packed tokens from packed or dense media.

        Args:
            pixel_values: (N, patch_dim) with `coords` and `cu_seqlens`, (B, C, H, W) or (B, T, C, H, W); in [-1, 1].
            coords: (N, 4) integers [t, x, y, z], for packed input only.
            cu_seqlens: (B + 1,) integers, for packed input only.
            image_sizes: (B, 2) heights and widths, for (B, C, H, W) only: what lies beyond is left out.
            layout: of packed input, where it has been computed already.

        Raises:
            ValueError: naming the argument whose shape or type does not fit.
        """
        check_floating("pixel_values", pixel_values, "in [-1, 1]")
        if image_sizes is not None and pixel_values.ndim != 4:
            raise ValueError(
                f"image_sizes go with pixel_values (B, C, H, W), got pixel_values of shape {tuple(pixel_values.shape)}"
            )
        if pixel_values.ndim == 2:
            if coords is None or cu_seqlens is None:
                raise ValueError(
                    "coords and cu_seqlens must be given with packed pixel_values (N, patch_dim); dense input is "
                    "(B, C, H, W) or (B, T, C, H, W)"
                )
            return TokenBatch.from_packed(pixel_values, coords, cu_seqlens, layout)
        if coords is not None or cu_seqlens is not None or layout is not None:
            raise ValueError(
                "coords, cu_seqlens and layout go with packed pixel_values (N, patch_dim), got pixel_values of shape "
                f"{tuple(pixel_values.shape)}"
            )
        channels = self.config.num_channels
        if pixel_values.ndim not in (4, 5) or pixel_values.shape[-3] != channels or 0 in pixel_values.shape:
            raise ValueError(
                f"pixel_values must be (N, {self.config.patch_dim}), (B, {channels}, H, W) or (B, T, {channels}, H, W) "
                f"and not empty, got {tuple(pixel_values.shape)}"
            )
        if image_sizes is not None:
            return self._tokenize_sizes(pixel_values, image_sizes)
        video = pixel_values if pixel_values.ndim == 5 else pixel_values[:, None]
        return TokenBatch.from_grid(patchify(video, self.patch_size))

    def _tokenize_sizes(self, images: torch.Tensor, image_sizes: torch.Tensor) -> TokenBatch:
        sizes = torch.as_tensor(image_sizes)
        rows, columns = self.patch_size[1:]
        if sizes.shape != (len(images), 2) or sizes.is_floating_point():
            raise ValueError(
                f"image_sizes must be integers ({len(images)}, 2), one height and width for each image, got "
                f"{sizes.dtype} {tuple(sizes.shape)}"
            )
        features, coords, lengths = [], [], []
        for image, (height, width) in zip(images, sizes.tolist(), strict=True):
            fits = 0 < height <= image.shape[1] and 0 < width <= image.shape[2]
            if not fits or height % rows or width % columns:
                raise ValueError(
                    f"image_sizes must be multiples of {rows} x {columns} within pixel_values, got {height} x {width} "
                    f"in {image.shape[1]} x {image.shape[2]}"
                )
            patches = patchify(image[None, None, :, :height, :width], self.patch_size)
            features.append(patches.flatten(0, 3))
            coords.append(grid_coords(tuple(patches.shape[1:4]), image.device))
            lengths.append(len(features[-1]))
        return TokenBatch(torch.cat(features), lengths, coords=torch.cat(coords))

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        coords: torch.Tensor | None = None,
        cu_seqlens: torch.Tensor | None = None,
        tile_frames: int | None = None,
        cache_frames: int | None = None,
        cache: TemporalCache | None = None,
        batch_tokens: int = TILE_BATCH_TOKENS,
        pool: bool = True,
        image_sizes: torch.Tensor | None = None,
        output_hidden_states: bool | int | list[int] | None = None,
        layout: PackedLayout | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPooling:
        r"""
        Encodes packed or dense media. Of a processor's batch, it takes what it does not need as well.

        Args:
            pixel_values (`torch.Tensor`): (N, patch_dim) packed, or dense (B, C, H, W) or (B, T, C, H, W), in [-1, 1].
                Dense heights and widths must be multiples of the patch; frames are filled up with zeros.
            coords (`torch.Tensor`, *optional*): (N, 4) integers [t, x, y, z] of packed tokens.
            cu_seqlens (`torch.Tensor`, *optional*): (B + 1,) integers, where each packed sample starts.
            tile_frames (`int`, *optional*): frames of a temporal tile; default from the configuration.
            cache_frames (`int`, *optional*): frames of the past that a tile attends to; default from the configuration.
            cache (`TemporalCache`, *optional*): the state left by the windows before this one, updated in place.
            batch_tokens (`int`): tokens that run at a time when tiles are independent.
            pool (`bool`): whether to compute `pooler_output`.
            image_sizes (`torch.Tensor`, *optional*): (B, 2) true heights and widths, multiples of the patch, of images
                (B, C, H, W) that are filled up at the bottom and right, as LLaVA gives them. The filling is left out.
            output_hidden_states (`bool` or `int` or `list[int]`, *optional*): whether to return all hidden states.
                LLaVA gives the indices it uses instead; then the others are None.
            layout (`PackedLayout`, *optional*): of packed input, on its device. Then nothing is read back from the
                device, coordinates are not checked, and tiles are those of the layout.

        Returns:
            `last_hidden_state`: (N, d) for packed input, (B, L, d) for dense input, (1, N, d) with `image_sizes`.
            `pooler_output`: (B, d), not normalized. `hidden_states`: the embeddings and every block's output, shaped
            like `last_hidden_state`.

        Raises:
            ValueError: naming the argument that does not fit.
            TypeError: naming keyword arguments that do not exist.
        """
        # Llava-OneVision hands over how it will arrange the features.
        check_keywords("AtokenVisionModel.forward", kwargs, "num_items_in_batch", "vision_aspect_ratio")
        batch = self.tokenize(pixel_values, coords, cu_seqlens, image_sizes, layout)
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        collect = wanted is not None and wanted is not False  # 0 is the index of the embeddings
        hidden, states = self.run(batch, tile_frames, cache_frames, cache, batch_tokens, collect)
        hidden = self.post_layernorm(hidden)
        pooled = None
        if self.head is not None and pool:
            pooled = self.head(hidden, batch.pooling_sequences())
        if batch.grid is not None:
            shape = (batch.num_samples, -1)
            hidden = hidden.unflatten(0, shape)
            states = tuple(state.unflatten(0, shape) for state in states) if collect else None
        elif image_sizes is not None:
            hidden, states = hidden[None], tuple(state[None] for state in states) if collect else None
        states = wanted_states(states, wanted)
        return BaseModelOutputWithPooling(last_hidden_state=hidden, pooler_output=pooled, hidden_states=states)


class AtokenDecoder(AtokenTransformer):
    """
    Implements the decoder (paper, section 3.2): latents of any coordinates to patches of pixels.

    `decoder` inside [`AtokenModel`]; `AtokenDecoder.from_pretrained` also takes it out of a full checkpoint.
    """

    config: AtokenDecoderConfig
    base_model_prefix = "decoder"
    main_input_name = "latents"
    # What else a full checkpoint holds.
    _keys_to_ignore_on_load_unexpected = [
        r"^(vision_model|latent_proj|text_model|gaussian_decoder)\.",
        r"^logit_(scale|bias)$",
    ]
    input_modalities = ("image", "video")

    def __init__(self, config: AtokenDecoderConfig, latent_channels: int | None = None):
        if latent_channels is not None:
            config.latent_channels = latent_channels
        norm = partial(AtokenRMSNorm, config.hidden_size, eps=config.rms_norm_eps)
        super().__init__(config, config.latent_channels, norm, bias=False, qk_norm=True)
        self.out_norm = norm()
        self.out_layer = nn.Linear(config.hidden_size, config.patch_dim, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        latents: torch.Tensor,
        coords: torch.Tensor | None = None,
        cu_seqlens: torch.Tensor | None = None,
        tile_frames: int | None = None,
        cache_frames: int | None = None,
        cache: TemporalCache | None = None,
        batch_tokens: int = TILE_BATCH_TOKENS,
        output_hidden_states: bool | int | list[int] | None = None,
        layout: PackedLayout | None = None,
        **kwargs,
    ) -> AtokenDecoderOutput:
        r"""
        Decodes packed or dense latents.

        Args:
            latents (`torch.Tensor`): (N, latent_channels) packed, or a dense grid (B, t, h, w, latent_channels).
            coords, cu_seqlens, tile_frames, cache_frames, cache, batch_tokens, output_hidden_states, layout: as in
                [`AtokenVisionModel.forward`].

        Returns:
            `pixel_values`: (N, patch_dim) for packed, (B, T, C, H, W) for dense input; about [-1, 1], not clamped.

        Raises:
            ValueError: naming the argument that does not fit.
            TypeError: naming keyword arguments that do not exist.
        """
        check_keywords("AtokenDecoder.forward", kwargs)
        check_floating("latents", latents, "(for integers, give codes)")
        if latents.ndim == 5 and coords is None and cu_seqlens is None and layout is None and 0 not in latents.shape:
            batch = TokenBatch.from_grid(latents)
        elif latents.ndim == 2 and coords is not None and cu_seqlens is not None:
            batch = TokenBatch.from_packed(latents, coords, cu_seqlens, layout)
        else:
            raise ValueError(
                "latents must be (N, latent_channels) with coords and cu_seqlens, or a non-empty grid "
                f"(B, t, h, w, latent_channels) without them; got {tuple(latents.shape)}"
            )
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        collect = wanted is not None and wanted is not False
        hidden, states = self.run(batch, tile_frames, cache_frames, cache, batch_tokens, collect)
        patches = self.out_layer(self.out_norm(hidden))
        if batch.grid is not None:
            patches = unpatchify(patches.unflatten(0, (batch.num_samples, *batch.grid)), self.patch_size)
        return AtokenDecoderOutput(pixel_values=patches, hidden_states=wanted_states(states, wanted))


class AtokenModel(AtokenPreTrainedModel):
    """
    Implements the tokenizer: media to latents (and codes) and back, and embeddings that text is compared with.

    ```python
    inputs = processor(images=[...], videos=[...])
    encoded = model.encode(inputs.pixel_values, inputs.coords, inputs.cu_seqlens)
    decoded = model.decode(encoded.latents, inputs.coords, inputs.cu_seqlens)
    media = processor.post_process(decoded.pixel_values, inputs.coords, inputs.cu_seqlens, inputs.media_sizes)
    ```
    """

    _tied_weights_keys = {}
    # The loss is a mean over a batch, so that Trainer has to divide it by the number of accumulated batches.
    accepts_loss_kwargs = False

    def __init__(self, config: AtokenConfig):
        super().__init__(config)
        self.vision_model = AtokenVisionModel._from_config(config.vision_config)
        self.latent_proj = nn.Linear(config.vision_config.hidden_size, 2 * config.latent_channels, bias=False)
        self.quantizer = AtokenQuantizer(config.quantizer_config) if config.quantizer_config is not None else None
        self.decoder = AtokenDecoder._from_config(config.decoder_config, latent_channels=config.latent_channels)
        self.text_model = None
        if config.text_config is not None:
            config.text_config._attn_implementation = _text_attention(config.text_config._attn_implementation)
            self.text_model = Siglip2TextModel._from_config(config.text_config)
        self.gaussian_decoder = None
        if config.gaussian_config is not None:
            self.gaussian_decoder = AtokenGaussianDecoder._from_config(config.gaussian_config)
        # One value each, but not without dimensions: FSDP cannot shard such a parameter.
        self.logit_scale = nn.Parameter(torch.tensor([config.logit_scale_init_value]))
        self.logit_bias = nn.Parameter(torch.tensor([config.logit_bias_init_value]))
        self.register_load_state_dict_pre_hook(give_scalars_a_dimension)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if module is self:
            init.constant_(self.logit_scale, self.config.logit_scale_init_value)
            init.constant_(self.logit_bias, self.config.logit_bias_init_value)

    def initialize_weights(self) -> None:
        if self.text_model is not None:
            # For models outside of transformers the base class passes over modules that hold no weights themselves, and
            # it is such modules, attention and MLP, whose weights SigLIP2 draws in its own way.
            self.text_model.initialize_weights()
        super().initialize_weights()

    def get_input_embeddings(self) -> nn.Module:
        """Gives the text tower's token embeddings, as in SigLIP2; without one, the encoder's projection of patches."""
        tower = self.vision_model if self.text_model is None else self.text_model
        return tower.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        tower = self.vision_model if self.text_model is None else self.text_model
        tower.set_input_embeddings(value)

    def set_attn_implementation(self, attn_implementation: str | dict, **kwargs) -> None:
        quantizer = self.config.quantizer_config
        if isinstance(attn_implementation, str):
            parts = dict.fromkeys(["", *self.config.sub_configs], attn_implementation)
            attn_implementation = parts | {"text_config": _text_attention(attn_implementation)}
        if quantizer is None or "quantizer_config" not in attn_implementation:
            super().set_attn_implementation(attn_implementation, **kwargs)
            return
        # The quantizer attends to nothing; left behind, its configuration would set off a warning.
        before = quantizer._attn_implementation
        quantizer._attn_implementation = attn_implementation["quantizer_config"]
        try:
            super().set_attn_implementation(attn_implementation, **kwargs)
        except Exception:  # of many kinds: no such implementation, or its package is missing
            quantizer._attn_implementation = before
            raise

    def save_pretrained(self, *args, **kwargs) -> None:
        for part in (self.vision_model, self.decoder, self.text_model, self.gaussian_decoder):
            if part is not None:  # transformers writes the dtype of the whole only
                part.config.dtype = part.dtype
        super().save_pretrained(*args, **kwargs)

    def encode(
        self,
        pixel_values: torch.Tensor,
        coords: torch.Tensor | None = None,
        cu_seqlens: torch.Tensor | None = None,
        tile_frames: int | None = None,
        cache_frames: int | None = None,
        cache: TemporalCache | None = None,
        batch_tokens: int = TILE_BATCH_TOKENS,
        pool: bool = True,
        image_sizes: torch.Tensor | None = None,
        output_hidden_states: bool | int | list[int] | None = None,
        layout: PackedLayout | None = None,
    ) -> AtokenEncoderOutput:
        """
        Encodes media to latents. The arguments are those of [`AtokenVisionModel.forward`]; dense input is packed, and
        `coords` and `cu_seqlens` of the result tell how.
        """
        if image_sizes is not None:
            pixel_values, coords, cu_seqlens = self._pack_sizes(pixel_values, coords, cu_seqlens, image_sizes)
        features = self.vision_model(
            pixel_values,
            coords,
            cu_seqlens,
            tile_frames=tile_frames,
            cache_frames=cache_frames,
            cache=cache,
            batch_tokens=batch_tokens,
            pool=pool,
            output_hidden_states=output_hidden_states,
            layout=layout,
            return_dict=True,
        )
        if coords is None:
            coords, cu_seqlens = pack_grids(pixel_values.shape[0], self._latent_grid(pixel_values), pixel_values.device)
        hidden = features.last_hidden_state.reshape(-1, self.config.vision_config.hidden_size)
        posterior = LatentDistribution(self.latent_proj(hidden))
        latents, codes = posterior.mode(), None
        if self.quantizer is not None:
            quantized = self.quantizer(latents)
            latents, codes = quantized.to(latents.dtype), self.quantizer.to_codes(quantized)
        states = features.hidden_states
        return AtokenEncoderOutput(
            latents=latents,
            latent_dist=posterior,
            codes=codes,
            last_hidden_state=hidden,
            pooler_output=features.pooler_output,
            coords=coords,
            cu_seqlens=cu_seqlens,
            hidden_states=None if states is None else tuple(s if s is None else s.flatten(0, -2) for s in states),
        )

    def _pack_sizes(self, pixel_values, coords, cu_seqlens, image_sizes):
        """Packs images of different sizes out of one dense batch: pixel_values (N, patch_dim), coords, cu_seqlens."""
        batch = self.vision_model.tokenize(pixel_values, coords, cu_seqlens, image_sizes)
        return batch.features, *batch.packed()

    def _latent_grid(self, pixel_values: torch.Tensor) -> tuple[int, int, int]:
        """(t, h, w) of dense media (B, C, H, W) or (B, T, C, H, W)."""
        frames, height, width = self.vision_model.patch_size
        num_frames = pixel_values.shape[1] if pixel_values.ndim == 5 else 1
        return -(-num_frames // frames), pixel_values.shape[-2] // height, pixel_values.shape[-1] // width

    def decode(
        self,
        latents: torch.Tensor | None = None,
        coords: torch.Tensor | None = None,
        cu_seqlens: torch.Tensor | None = None,
        codes: torch.Tensor | None = None,
        tile_frames: int | None = None,
        cache_frames: int | None = None,
        cache: TemporalCache | None = None,
        batch_tokens: int = TILE_BATCH_TOKENS,
        output_hidden_states: bool | int | list[int] | None = None,
        layout: PackedLayout | None = None,
    ) -> AtokenDecoderOutput:
        """
        Decodes latents or codes to patches.

        Args:
            latents: (N, latent_channels), or a grid (B, t, h, w, latent_channels) without coords and cu_seqlens. For a
                discrete model these are quantized values, such as `encode(...).latents`.
            codes: instead of latents, integers (N, num_codebooks) or (B, t, h, w, num_codebooks) of a discrete model.
                With a `layout` their values are not checked.
            coords, cu_seqlens, tile_frames, cache_frames, cache, batch_tokens, output_hidden_states, layout: as in
                [`AtokenVisionModel.forward`].

        Returns:
            `pixel_values`: (N, patch_dim), or (B, T, C, H, W) for a grid.

        Raises:
            ValueError: naming the argument that does not fit.
        """
        if (latents is None) == (codes is None):
            raise ValueError("exactly one of latents and codes must be given")
        if codes is not None:
            if self.quantizer is None:
                raise ValueError("codes need a discrete model, but this one has no quantizer; give latents")
            if not isinstance(codes, torch.Tensor) or codes.ndim not in (2, 5):
                given = tuple(codes.shape) if isinstance(codes, torch.Tensor) else type(codes).__name__
                raise ValueError(
                    f"codes must be a tensor (N, num_codebooks) or (B, t, h, w, num_codebooks), got {given}"
                )
            latents = self.quantizer.from_codes(codes, check_values=layout is None)
        return self.decoder(
            latents,
            coords,
            cu_seqlens,
            tile_frames=tile_frames,
            cache_frames=cache_frames,
            cache=cache,
            batch_tokens=batch_tokens,
            output_hidden_states=output_hidden_states,
            layout=layout,
            return_dict=True,
        )

    def decode_gaussians(
        self,
        latents: torch.Tensor | None = None,
        coords: torch.Tensor | None = None,
        cu_seqlens: torch.Tensor | None = None,
        codes: torch.Tensor | None = None,
        layout: PackedLayout | None = None,
        batch_tokens: int = TILE_BATCH_TOKENS,
        tile_frames: int | None = None,
    ) -> list[Gaussians]:
        """
        Decodes latents or codes of voxels to 3D Gaussians.

        Args:
            latents, codes: packed, one of them, as in `decode`.
            coords: (N, 4) integers [t, x, y, z] as the processor gives them; t has no effect.
            cu_seqlens: (B + 1,) integers, where each packed sample starts.
            layout, batch_tokens, tile_frames: as in [`AtokenVisionModel.forward`]; the layout has the Gaussian
                decoder's windows.

        Returns:
            One [`Gaussians`] per sample; see [`AtokenGaussianDecoder.forward`].

        Raises:
            ValueError: if the model has no Gaussian decoder, or naming the argument that does not fit.
        """
        if self.gaussian_decoder is None:
            raise ValueError(
                "this model has no Gaussian decoder: set gaussian_config, or add one with "
                "attach_gaussian_decoder of atoken.gaussian_conversion_atoken"
            )
        if coords is None or cu_seqlens is None:
            raise ValueError("coords and cu_seqlens must be given: Gaussians are decoded from packed voxels")
        features = self.decode(
            latents,
            coords,
            cu_seqlens,
            codes=codes,
            tile_frames=tile_frames,
            batch_tokens=batch_tokens,
            layout=layout,
        ).pixel_values
        features = features[:, : self.config.gaussian_config.in_channels]
        return self.gaussian_decoder(features, coords[:, 1:], cu_seqlens, layout=layout)

    @torch.no_grad()
    def encode_stream(
        self,
        frames: Iterable[torch.Tensor],
        tile_frames: int | None = None,
        cache_frames: int | None = None,
        as_patches: bool = False,
    ) -> Iterator[torch.Tensor]:
        """
        Encodes a video that arrives piece by piece, in memory that does not grow with its length.

        Args:
            frames: tensors (C, H, W) or (T, C, H, W) in [-1, 1], in order; H and W multiples of the patch. The last
                frames are padded with zeros to a multiple of the patch's frames.
            tile_frames, cache_frames: default from the configuration.
            as_patches: `frames` are grids of patches (t, h, w, patch_dim) instead, as a processor packs them.

        Yields:
            Latents (t, h, w, latent_channels) of one tile after another: the mean, or the quantized values.
        """
        tile_frames = self.config.vision_config.tile_frames if tile_frames is None else tile_frames
        stride = self.vision_model._latent_frames("tile_frames", tile_frames, at_least=1)
        cache, device = self.vision_model.new_cache(cache_frames), self.execution_device
        if as_patches:
            for patches in _regroup(frames, stride, "frames", ndim=4):
                grid = patches.shape[:3]
                packed = patches.flatten(0, 2).to(device), *pack_grids(1, grid, device)
                encoded = self.encode(*packed, tile_frames=tile_frames, cache=cache, pool=False)
                yield encoded.latents.unflatten(0, grid)
            return
        for clip in _regroup(frames, tile_frames, "frames", ndim=4):
            encoded = self.encode(clip[None].to(device), tile_frames=tile_frames, cache=cache, pool=False)
            yield encoded.latents.unflatten(0, self._latent_grid(clip[None]))

    @torch.no_grad()
    def decode_stream(
        self,
        latents: Iterable[torch.Tensor],
        tile_frames: int | None = None,
        cache_frames: int | None = None,
        num_frames: int | None = None,
        as_patches: bool = False,
    ) -> Iterator[torch.Tensor]:
        """
        Decodes latents that arrive piece by piece, in memory that does not grow with the video's length.

        Args:
            latents: tensors (t, h, w, latent_channels) in order, such as `encode_stream` yields.
            tile_frames, cache_frames: default from the configuration.
            num_frames: true length of the video, with as many latent frames as there are; what the last one has more
                is the encoder's padding, and is dropped.
            as_patches: yield grids of patches instead, which hold whole patches, so that `num_frames` has no effect.

        Yields:
            Frames (T, C, H, W), or patches (t, h, w, patch_dim), about [-1, 1], of one tile after another.

        Raises:
            ValueError: naming the argument that does not fit; that `num_frames` is larger than the latents' at their
                end.
        """
        tile_frames = self.config.decoder_config.tile_frames if tile_frames is None else tile_frames
        stride = self.decoder._latent_frames("tile_frames", tile_frames, at_least=1)
        if num_frames is not None and (not isinstance(num_frames, Integral) or num_frames < 1):
            raise ValueError(f"num_frames must be a positive integer, got {num_frames}")
        cache, device = self.decoder.new_cache(cache_frames), self.execution_device
        patch_frames, decoded_frames = self.decoder.patch_size[0], 0
        for grid in _regroup(latents, stride, "latents", ndim=4):
            if as_patches:
                packed = grid.flatten(0, 2).to(device), *pack_grids(1, grid.shape[:3], device)
                decoded = self.decode(*packed, tile_frames=tile_frames, cache=cache)
                yield decoded.pixel_values.unflatten(0, grid.shape[:3])
                continue
            video = self.decode(grid[None].to(device), tile_frames=tile_frames, cache=cache).pixel_values[0]
            decoded_frames += len(video)
            if num_frames is not None and num_frames <= decoded_frames - patch_frames:
                raise ValueError(
                    f"num_frames must be above {decoded_frames - patch_frames}, as there are "
                    f"{decoded_frames // patch_frames} latent frames or more, got {num_frames}"
                )
            yield video if num_frames is None else video[: len(video) - max(0, decoded_frames - num_frames)]
        if num_frames is not None and not as_patches and num_frames > decoded_frames:
            raise ValueError(
                f"num_frames must be at most {decoded_frames}, as there are {decoded_frames // patch_frames} latent "
                f"frames, got {num_frames}"
            )

    @can_return_tuple
    def get_image_features(
        self,
        pixel_values: torch.Tensor,
        coords: torch.Tensor | None = None,
        cu_seqlens: torch.Tensor | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPooling:
        """Gives the vision tower's output; `.pooler_output` (B, d) is the image-side embedding, not normalized."""
        kwargs["return_dict"] = True
        return self.vision_model(pixel_values, coords, cu_seqlens, **kwargs)

    @can_return_tuple
    def get_text_features(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs
    ) -> BaseModelOutputWithPooling:
        """
        Gives the text tower's output for (texts, length) ids; `.pooler_output` (texts, d) is not normalized.

        Texts are padded to the tower's length as it was trained (see `pad_texts`), so that it does not matter how they
        were batched. Hidden states are those of the given ids.

        Raises:
            ValueError: if the model has no text tower, or naming the argument that does not fit.
            TypeError: naming keyword arguments that do not exist.
        """
        self._check_text(input_ids)
        input_ids, attention_mask, places = pad_texts(input_ids, attention_mask, self.config.text_config)
        check_keywords("AtokenModel.get_text_features", kwargs)
        options = {name: value for name, value in kwargs.items() if name in TransformersKwargs.__annotations__}
        output = self.text_model(input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **options)
        output.last_hidden_state = states_at(output.last_hidden_state, places)
        if output.hidden_states is not None:
            output.hidden_states = tuple(states_at(states, places) for states in output.hidden_states)
        return output

    def _check_text(self, input_ids: torch.Tensor) -> None:
        if self.text_model is None:
            raise ValueError(
                "input_ids were given, but this model has no text tower: set text_config, or convert with text_tower"
            )
        is_tensor = isinstance(input_ids, torch.Tensor)
        if not is_tensor or input_ids.dtype not in (torch.int32, torch.int64) or input_ids.ndim != 2:
            given = f"{input_ids.dtype} {tuple(input_ids.shape)}" if is_tensor else type(input_ids).__name__
            raise ValueError(f"input_ids must be integers of shape (texts, length), got {given}")

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        coords: torch.Tensor | None = None,
        cu_seqlens: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        media_sizes: torch.Tensor | None = None,
        pixel_mask: torch.Tensor | None = None,
        sample_posterior: bool = False,
        generator: torch.Generator | None = None,
        return_loss: bool | None = None,
        output_hidden_states: bool | int | list[int] | None = None,
        tile_frames: int | None = None,
        cache_frames: int | None = None,
        batch_tokens: int = TILE_BATCH_TOKENS,
        pool: bool = True,
        image_sizes: torch.Tensor | None = None,
        **kwargs,
    ) -> AtokenOutput:
        r"""
        Encodes and decodes media, compares them with texts if there are any, and computes the loss on request.

        Args:
            pixel_values, coords, cu_seqlens: packed or dense media, as in [`AtokenVisionModel.forward`].
            input_ids, attention_mask (`torch.Tensor`, *optional*): (texts, length) for the text tower.
            media_sizes (`torch.Tensor`, *optional*): (B, 3) true frames, height and width of images and videos; the
                loss leaves out what lies beyond. Without it, and without `pixel_mask`, every value counts.
            pixel_mask (`torch.Tensor`, *optional*): (N, frames * rows * columns) bool, as the processors give it; the
                loss leaves out pixels of patches where it is False. It goes before `media_sizes`, and voxels need it.
            sample_posterior (`bool`): decode a sample of the posterior instead of its mean.
            generator (`torch.Generator`, *optional*): for that sample.
            return_loss (`bool`, *optional*): whether to return 0.2 * L1 + 1e-8 * KL, plus the sigmoid contrastive loss
                of the diagonal pairs if text is given (paper, equation 4, without the perceptual terms, which need
                frozen networks).
            output_hidden_states, tile_frames, cache_frames, batch_tokens: as in [`AtokenVisionModel.forward`], of
                encoder and decoder.
            pool, image_sizes: as in [`AtokenVisionModel.forward`].

        Raises:
            ValueError: naming the argument that does not fit.
            TypeError: naming keyword arguments that do not exist.
        """
        # Data sets for Trainer may have labels; a tokenizer learns without.
        check_keywords("AtokenModel.forward", kwargs, "labels")
        if input_ids is not None:
            self._check_text(input_ids)
            if self.vision_model.head is None:
                raise ValueError("input_ids were given, but vision_config.vision_use_head is off: nothing to compare")
            if not pool:
                raise ValueError("pool must be True with input_ids, got False: there would be nothing to compare")
        if image_sizes is not None:
            pixel_values, coords, cu_seqlens = self._pack_sizes(pixel_values, coords, cu_seqlens, image_sizes)
        if output_hidden_states is None and self.config.output_hidden_states:
            output_hidden_states = self.config.output_hidden_states
        options = {
            "tile_frames": tile_frames,
            "cache_frames": cache_frames,
            "batch_tokens": batch_tokens,
            "output_hidden_states": output_hidden_states,
        }
        encoded = self.encode(pixel_values, coords, cu_seqlens, pool=pool, **options)
        latents = encoded.latents
        if sample_posterior and self.quantizer is None:
            latents = encoded.latent_dist.sample(generator)
        decoder_output = self.decode(latents, encoded.coords, encoded.cu_seqlens, **options)
        decoded = decoder_output.pixel_values

        image_embeds = text_embeds = logits_per_image = logits_per_text = None
        if encoded.pooler_output is not None:
            image_embeds = nn.functional.normalize(encoded.pooler_output, dim=-1)
        if input_ids is not None:
            text = self.get_text_features(input_ids, attention_mask, return_dict=True)
            text_embeds = nn.functional.normalize(text.pooler_output, dim=-1)
            logits_per_image = self.compare(image_embeds, text_embeds)
            logits_per_text = logits_per_image.T

        loss = None
        if return_loss:
            target = pixel_values if pixel_values.ndim == 2 else self.vision_model.tokenize(pixel_values).features
            if pixel_mask is None and media_sizes is not None:
                pixel_mask = self._mask_of_sizes(media_sizes, encoded)
            loss = self._loss(target, decoded, encoded, pixel_mask, logits_per_text)
        return AtokenOutput(
            loss=loss,
            logits_per_image=logits_per_image,
            logits_per_text=logits_per_text,
            reconstruction=decoded,
            image_embeds=image_embeds,
            text_embeds=text_embeds,
            latent_dist=encoded.latent_dist,
            codes=encoded.codes,
            last_hidden_state=encoded.last_hidden_state,
            pooler_output=encoded.pooler_output,
            hidden_states=encoded.hidden_states,
            decoder_hidden_states=decoder_output.hidden_states,
        )

    def compare(self, image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
        """
        Compares media with texts, as SigLIP does (paper, section 3.4).

        Args:
            image_embeds: (B, d) of norm 1, such as `forward` gives.
            text_embeds: (texts, d) of norm 1.

        Returns:
            Logits (B, texts); the sigmoid of one is the probability that a sample and a text belong together.
        """
        text_embeds, scale, bias = (x.to(image_embeds.device) for x in (text_embeds, self.logit_scale, self.logit_bias))
        return (text_embeds @ image_embeds.T * scale.exp() + bias).T

    def _mask_of_sizes(self, media_sizes: torch.Tensor, encoded: AtokenEncoderOutput) -> torch.Tensor:
        """Which pixels of each patch lie inside images and videos of these sizes: (N, frames * rows * columns)."""
        lengths = encoded.cu_seqlens.diff().tolist()
        fits = media_sizes.shape == (len(lengths), 3) and not media_sizes.is_floating_point()
        if not fits or not (media_sizes > 0).all():
            raise ValueError(
                f"media_sizes must be positive integers of shape ({len(lengths)}, 3), the true frames, height and "
                f"width of each sample, got {media_sizes.dtype} {tuple(media_sizes.shape)}; voxels need pixel_mask"
            )
        sample = sample_index(lengths, encoded.coords.device)
        return valid_pixels(encoded.coords, sample, media_sizes, self.vision_model.patch_size).flatten(1)

    def _loss(
        self,
        target: torch.Tensor,
        decoded: torch.Tensor,
        encoded: AtokenEncoderOutput,
        pixel_mask: torch.Tensor | None,
        logits_per_text: torch.Tensor | None,
    ) -> torch.Tensor:
        error = (decoded.float() - target.to(decoded.device).float()).abs()
        if pixel_mask is None:
            l1 = error.mean()
        else:
            pixels = math.prod(self.vision_model.patch_size)
            if pixel_mask.shape != (len(error), pixels) or pixel_mask.dtype != torch.bool:
                raise ValueError(
                    f"pixel_mask must be bool ({len(error)}, {pixels}), one for each pixel of each patch, got "
                    f"{pixel_mask.dtype} {tuple(pixel_mask.shape)}"
                )
            pixel_mask = pixel_mask.to(error.device)
            error = error.unflatten(-1, (pixels, -1)) * pixel_mask[..., None]
            l1 = error.sum() / (pixel_mask.sum() * error.shape[-1])
        loss = RECONSTRUCTION_WEIGHT * l1 + KL_WEIGHT * encoded.latent_dist.kl().mean().to(l1.device)
        if logits_per_text is not None:
            texts, samples = logits_per_text.shape
            if texts != samples:
                raise ValueError(f"return_loss with text needs one text per sample, got {texts} for {samples}")
            signs = 2 * torch.eye(texts, device=logits_per_text.device) - 1
            pairs = nn.functional.logsigmoid(signs * logits_per_text.float())
            loss = loss - SEMANTIC_WEIGHT * pairs.sum(-1).mean().to(loss.device)
        return loss


def _text_attention(implementation: str | None) -> str | None:
    """What the text tower attends through where the other parts have `implementation`: not all are supported there."""
    is_flex = implementation == "flex_attention" and not Siglip2TextModel._supports_flex_attn
    return "sdpa" if is_flex else implementation


def _regroup(pieces: Iterable[torch.Tensor], size: int, name: str, ndim: int) -> Iterator[torch.Tensor]:
    """Cuts a stream of tensors with time in front into tensors of `size`; the last may be shorter."""
    if isinstance(pieces, torch.Tensor) and pieces.ndim != ndim:
        raise ValueError(f"{name} given as one tensor must have {ndim} dimensions, got {tuple(pieces.shape)}")
    waiting: list[torch.Tensor] = []
    held = 0
    shape = None
    for piece in pieces:
        check_floating(name, piece)
        piece = piece[None] if piece.ndim == ndim - 1 else piece
        shape = piece.shape[1:] if shape is None else shape
        if piece.ndim != ndim or piece.shape[1:] != shape or piece.shape[0] == 0:
            raise ValueError(
                f"{name} must be non-empty tensors of {ndim} dimensions (or {ndim - 1}, without time) and of one size "
                f"per stream; got {tuple(piece.shape)} after {tuple(shape)}"
            )
        waiting.append(piece)
        held += piece.shape[0]
        while held >= size:
            # One long piece is cut as it is: joining would copy all that is left of it for every cut.
            joined = waiting[0] if len(waiting) == 1 else torch.cat(waiting)
            yield joined[:size]
            waiting, held = [joined[size:]], held - size
    if held:
        yield waiting[0] if len(waiting) == 1 else torch.cat(waiting)


bind_to_package(__name__)

__all__ = ["AtokenDecoder", "AtokenModel", "AtokenPreTrainedModel", "AtokenVisionModel", "LatentDistribution"]
