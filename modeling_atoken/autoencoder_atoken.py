"""AToken behind the autoencoder interface of diffusers: dense images and videos to dense latents and back.

The encoder, the latent projection, the quantizer and the decoder are the modules of `AtokenModel`, under the same
names; this file only lays tensors out the way diffusion pipelines expect them. Needs `pip install "atoken[diffusers]"`.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn

try:
    from diffusers.configuration_utils import ConfigMixin, register_to_config
    from diffusers.models.autoencoders.vae import AutoencoderMixin, DecoderOutput
    from diffusers.models.modeling_utils import ModelMixin
    from diffusers.utils import BaseOutput
    from diffusers.utils.accelerate_utils import apply_forward_hook
except (ImportError, RuntimeError) as error:  # diffusers raises RuntimeError when one of its own imports fails
    raise ImportError(f'AutoencoderAtoken needs diffusers: pip install "atoken[diffusers]" ({error})') from error

# Loading this file as remote code from a local folder, diffusers copies the modules named here and no others. So all
# siblings that are needed are named, even those that only other siblings use.
from .autoencoder_files_atoken import AutoencoderFiles, own_fields
from .configuration_atoken import AtokenConfig
from .conversion_atoken import convert_original_checkpoint  # noqa: F401
from .gaussian_decoder_atoken import AtokenGaussianDecoder  # noqa: F401
from .gaussian_windows_atoken import WindowGroups  # noqa: F401
from .gaussians_atoken import Gaussians  # noqa: F401
from .keywords_atoken import check_keywords  # noqa: F401
from .layers_atoken import TemporalCache  # noqa: F401
from .modeling_atoken import AtokenDecoder, AtokenVisionModel
from .outputs_atoken import LatentDistribution  # noqa: F401
from .packed_layouts_atoken import PackedLayout  # noqa: F401
from .posterior_atoken import Generators, LatentPosterior, QuantizedDistribution
from .quantization_atoken import AtokenQuantizer
from .remote_code_atoken import auto_class_of, bind_to_package
from .scalar_weights_atoken import give_scalars_a_dimension  # noqa: F401
from .text_padding_atoken import pad_texts  # noqa: F401
from .token_layouts_atoken import TokenLayout  # noqa: F401
from .tokens_atoken import TokenBatch  # noqa: F401
from .transformer_atoken import TILE_BATCH_TOKENS
from .varlen_attention_atoken import has_kernel  # noqa: F401


@dataclass
class AutoencoderAtokenOutput(BaseOutput):
    """
    Output of [`AutoencoderAtoken.encode`]. Images have no frame dimension t.

    Attributes:
        latent_dist: with all of diffusers' `DiagonalGaussianDistribution`: `.mode()`, `.sample(generator)`, `.mean`,
            `.logvar`, `.std` and `.var` (B, latent_channels, [t,] h, w), `.parameters`, `.kl()` and `.nll(sample)`
            (B,). A [`QuantizedDistribution`] if the model is discrete.
        latents (B, latent_channels, [t,] h, w): `latent_dist.mode()`.
        codes (B, num_codebooks, [t,] h, w): int64 in [0, codebook_size) of a discrete model, else None.
    """

    latent_dist: LatentPosterior
    latents: torch.Tensor | None = None
    codes: torch.Tensor | None = None


class AutoencoderAtoken(AutoencoderFiles, ModelMixin, AutoencoderMixin, ConfigMixin):
    r"""
    AToken as an autoencoder for diffusion pipelines.

    ```python
    vae = AutoencoderAtoken.from_pretrained(folder)  # a folder of this class or of AtokenModel
    # (B, 3, T, H, W) in [-1, 1] -> (B, 48, ceil(T / 4), H / 16, W / 16)
    latents = vae.encode(video).latent_dist.sample()
    # and back, about [-1, 1] and not clamped
    video = vae.decode(latents, num_frames=T).sample
    ```

    Images (B, C, H, W) become latents (B, latent_channels, h, w) and back. Videos are filled up at the end with zeros
    (mid-gray) to a multiple of the patch's frames.

    **Number of frames.** Video pipelines reckon with causal autoencoders: T = r k + 1 frames are k + 1 latent frames,
    where r is the temporal compression (4). AToken makes as many, but a latent frame decodes to r frames, the last one
    to 1 wanted frame and r - 1 frames of filling. `trim_to_causal_length` drops these, so that 17 frames come back as
    17 and 1 as 1. It is on by default, as every pipeline asks for r k + 1 frames and expects to get them. A video of
    another length would lose real frames, hence `encode` warns; give `num_frames` to `decode`, or switch it off and get
    all r frames of every latent frame.

    **Discrete models.** `encode` gives quantized latents and `decode` takes them: `decode` never quantizes, because
    finite scalar quantization is not idempotent.

    The attention backend is that of transformers: `vae.vision_model.set_attn_implementation(...)`, and likewise for
    `vae.decoder`.

    Args:
        vision_config (`dict`, *optional*): Arguments of [`AtokenVisionConfig`]; So400m when not given.
        decoder_config (`dict`, *optional*): Arguments of [`AtokenDecoderConfig`]; So400m when not given.
        quantizer_config (`dict`, *optional*): Arguments of [`AtokenQuantizerConfig`]. Given, the tokens are discrete.
        latent_channels (`int`): Channels of a latent.
        latents_mean, latents_std (`list[float]`, *optional*): Statistics of the latents by channel, with which
            pipelines normalize; zeros and ones when not given. `encode` and `decode` do not apply them.
        scaling_factor (`float`), shift_factor (`float`): The same for pipelines that use one number for all channels:
            (latents - shift_factor) * scaling_factor.
        trim_to_causal_length (`bool`): Whether `decode` drops the last r - 1 frames of a video, see above.
        timestep_conditioning (`bool`): LTX asks; the decoder has none, so it must be False.
        z_dim, scale_factor_temporal, scale_factor_spatial (`int`, *optional*): What pipelines read instead of the
            above: `latent_channels`, the patch's frames, the patch's side. They follow from the other arguments and
            are only checked when given.
        block_out_channels (`list[int]`, *optional*): Read by pipelines as well, and checked: as many numbers as there
            are halvings to the patch's side, plus one.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    # As remote code it takes its code along when it is saved, see `save_pretrained`.
    _auto_class = auto_class_of(__name__, "AutoModel")
    _supports_gradient_checkpointing = True
    _no_split_modules = ["AtokenBlock", "AtokenPoolingHead", "AtokenPositionTable"]
    _repeated_blocks = ["AtokenBlock"]
    # The first and last projections see pixels and latents.
    _skip_layerwise_casting_patterns = ["input_layer", "position_embedding", "norm", "latent_proj", "out_layer"]

    @register_to_config
    def __init__(
        self,
        vision_config: dict[str, Any] | None = None,
        decoder_config: dict[str, Any] | None = None,
        quantizer_config: dict[str, Any] | None = None,
        latent_channels: int = 48,
        latents_mean: list[float] | None = None,
        latents_std: list[float] | None = None,
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
        trim_to_causal_length: bool = True,
        timestep_conditioning: bool = False,
        z_dim: int | None = None,
        scale_factor_temporal: int | None = None,
        scale_factor_spatial: int | None = None,
        block_out_channels: list[int] | None = None,
    ):
        super().__init__()
        if timestep_conditioning:
            raise ValueError("timestep_conditioning must be False: the decoder takes no timestep")
        try:
            config = AtokenConfig(
                vision_config=vision_config or {},
                decoder_config=decoder_config or {},
                quantizer_config=quantizer_config,
                latent_channels=latent_channels,
                latents_mean=None if latents_mean is None else list(latents_mean),
                latents_std=None if latents_std is None else list(latents_std),
            )
        except StrictDataclassError as error:
            raise ValueError(f"AutoencoderAtoken was given arguments that do not fit: {error}") from error
        vision, quantizer = config.vision_config, config.quantizer_config
        temporal, spatial, columns = vision.patch_size
        if spatial != columns or spatial & (spatial - 1) or temporal & (temporal - 1) or temporal > spatial:
            raise ValueError(
                "vision_config.patch_size must be (t, s, s) with powers of two and t <= s, because pipelines count "
                f"halvings; got {vision.patch_size}"
            )
        halvings, temporal_halvings = spatial.bit_length() - 1, temporal.bit_length() - 1
        derived = {
            "z_dim": (z_dim, latent_channels),
            "scale_factor_temporal": (scale_factor_temporal, temporal),
            "scale_factor_spatial": (scale_factor_spatial, spatial),
        }
        for name, (given, expected) in derived.items():
            if given not in (None, expected):
                raise ValueError(f"{name} must be {expected}, which follows from the other arguments, got {given}")
        if block_out_channels is None:
            block_out_channels = [vision.hidden_size] * (halvings + 1)
        elif len(block_out_channels) != halvings + 1:
            raise ValueError(
                f"block_out_channels must have {halvings + 1} entries, so that pipelines see a compression of "
                f"{spatial}; got {len(block_out_channels)}"
            )

        self.vision_model = AtokenVisionModel._from_config(vision)
        self.latent_proj = nn.Linear(vision.hidden_size, 2 * latent_channels, bias=False)
        nn.init.normal_(self.latent_proj.weight, std=config.initializer_range)
        self.quantizer = AtokenQuantizer(quantizer) if quantizer is not None else None
        self.decoder = AtokenDecoder._from_config(config.decoder_config, latent_channels=latent_channels)

        # Complete values, so that the saved config.json holds whatever a pipeline reads and does not change with
        # the defaults of a later version.
        self.register_to_config(
            vision_config=own_fields(vision),
            decoder_config=own_fields(config.decoder_config),
            quantizer_config=own_fields(quantizer),
            latents_mean=config.latents_mean or [0.0] * latent_channels,
            latents_std=config.latents_std or [1.0] * latent_channels,
            block_out_channels=list(block_out_channels),
            **{name: expected for name, (_, expected) in derived.items()},
        )
        self.spatial_compression_ratio = spatial
        self.temporal_compression_ratio = temporal
        # Wan counts: 2 ** len() is the spatial compression and 2 ** sum() the temporal one. The spelling is theirs.
        before = (halvings - temporal_halvings) // 2
        self.temperal_downsample = [before <= i < before + temporal_halvings for i in range(halvings)]
        self.use_slicing = False
        self.use_tiling = False
        self.tile_frames: int | None = None
        self.cache_frames: int | None = None

    # Pipelines read these as lists from the configuration and as tensors from the model. A buffer of that name would
    # be hidden by the configuration's key, and would be empty when the model is built on the meta device.
    @property
    def latents_mean(self) -> torch.Tensor:
        """Gives (latent_channels,) fp32 on the CPU."""
        return torch.tensor(self.config.latents_mean, dtype=torch.float32)

    @property
    def latents_std(self) -> torch.Tensor:
        """Gives (latent_channels,) fp32 on the CPU."""
        return torch.tensor(self.config.latents_std, dtype=torch.float32)

    def enable_layerwise_casting(
        self,
        storage_dtype: torch.dtype = torch.float8_e4m3fn,
        compute_dtype: torch.dtype | None = None,
        *args,
        **kwargs,
    ) -> None:
        """
        Stores the weights of linear layers in one dtype and computes in another, as with any model of diffusers.

        What is not stored in `storage_dtype` is cast to `compute_dtype`, so that all layers compute in it.
        """
        if compute_dtype is not None:
            self.to(compute_dtype)
        super().enable_layerwise_casting(storage_dtype, compute_dtype, *args, **kwargs)

    def enable_tiling(
        self,
        *,
        tile_frames: int | None = None,
        cache_frames: int | None = None,
        tile_sample_min_num_frames: int | None = None,
        tile_sample_stride_num_frames: int | None = None,
        **spatial: float | None,
    ) -> None:
        """
        Runs the temporal tiles one after another instead of together, so that attention and MLPs need the memory of
        one tile whatever the length of the video. Without arguments the result stays the same.

        Videos are always encoded and decoded in temporal tiles, as in training. Space is not tiled: the model attends
        to whole images and resizes its positions to them, so a part of an image would be another image to it.

        Args:
            tile_frames: frames of a tile when encoding and decoding, a multiple of the patch's; default from the
                configurations. Another number than the configurations' changes the result.
            cache_frames: frames before a tile that it attends to when decoding, 0 or a multiple of the patch's;
                default from the configuration. Another number changes the result. Encoding keeps to
                `vision_config["cache_frames"]`, so that latents do not depend on how they are decoded.
            tile_sample_min_num_frames: diffusers' name of `tile_frames`.
            tile_sample_stride_num_frames: None, or the same number, as tiles do not overlap in time.
            spatial: diffusers' names for tiles in space (`tile_sample_min_height`, `tile_overlap_factor`, ...), which
                must be None.

        Raises:
            ValueError: if a number is not such a multiple, or a tile in space is asked for.
        """
        for name, value in spatial.items():
            if not name.startswith("tile_"):
                raise TypeError(f"enable_tiling() got an unexpected keyword argument {name!r}")
            if value is not None:
                raise ValueError(
                    f"{name} must be None, got {value}: space is not tiled, because attention spans the whole picture; "
                    "only time is. Call enable_tiling() without it"
                )
        names = {"tile_frames": tile_frames, "tile_sample_min_num_frames": tile_sample_min_num_frames}
        given = {name: frames for name, frames in names.items() if frames is not None}
        if len(set(given.values())) > 1:
            raise ValueError(f"tile_frames and tile_sample_min_num_frames must be equal if both are given, got {given}")
        tile_frames = next(iter(given.values()), None)
        if tile_sample_stride_num_frames not in (None, tile_frames):
            raise ValueError(
                f"tile_sample_stride_num_frames must be None or the length of a tile, got "
                f"{tile_sample_stride_num_frames}: tiles do not overlap in time; give cache_frames instead"
            )
        patch = self.temporal_compression_ratio
        for name, frames, least in ((next(iter(given), ""), tile_frames, 1), ("cache_frames", cache_frames, 0)):
            if frames is not None and (frames % patch or frames < least * patch):
                raise ValueError(
                    f"{name} must be a multiple of {patch} frames and at least {least * patch}, got {frames}"
                )
        self.use_tiling = True
        self.tile_frames, self.cache_frames = tile_frames, cache_frames

    def disable_tiling(self) -> None:
        """Goes back to running temporal tiles together, as the configurations describe them."""
        self.use_tiling = False
        self.tile_frames = self.cache_frames = None

    @apply_forward_hook
    def encode(self, x: torch.Tensor, return_dict: bool = True) -> AutoencoderAtokenOutput | tuple[LatentPosterior]:
        """
        Images or videos to latents.

        Args:
            x: (B, C, H, W) or (B, C, T, H, W), floating point in [-1, 1], of any dtype. H and W are multiples of the
                patch's side.
            return_dict: False for the tuple `(latent_dist,)`.

        Returns:
            The latents' distribution, (B, latent_channels, [ceil(T / r),] H / s, W / s).

        Raises:
            ValueError: if `x` does not fit.
        """
        self._check_media("x", x)
        if x.ndim == 5 and self.config.trim_to_causal_length:
            frames, ratio = x.shape[2], self.temporal_compression_ratio
            kept = self._frames_to_keep(-(-frames // ratio))
            if kept < frames:
                warnings.warn(
                    f"A video of {frames} frames will be decoded to {kept}, because trim_to_causal_length is set: give "
                    f"num_frames={frames} to decode, or videos of {ratio} k + 1 frames.",
                    stacklevel=3,
                )
        encoded = self._encode(x)
        return encoded if return_dict else (encoded.latent_dist,)

    @apply_forward_hook
    def decode(
        self,
        z: torch.Tensor,
        temb: None = None,
        return_dict: bool = True,
        generator: Generators | None = None,
        num_frames: int | None = None,
    ) -> DecoderOutput | tuple[torch.Tensor]:
        """
        Decodes latents to images or videos.

        Args:
            z: (B, latent_channels, h, w) or (B, latent_channels, t, h, w), floating point of any dtype. For a discrete
                model these are quantized values, from `encode` or `latents_from_codes`.
            temb: must be None; LTX passes it in this place.
            return_dict: False for the tuple `(sample,)`.
            generator: not used, decoding is deterministic; some pipelines pass one.
            num_frames: frames that the video really has, in (r (t - 1), r t]. Default: r (t - 1) + 1 with
                `trim_to_causal_length`, else r t.

        Returns:
            `sample`: (B, C, H, W) or (B, C, T, H, W) in the model's dtype, about [-1, 1] and not clamped.

        Raises:
            ValueError: naming the argument that does not fit.
        """
        if temb is not None:
            raise ValueError(f"temb must be None, because the decoder takes no timestep; got {type(temb).__name__}")
        channels = self.config.latent_channels
        if z.ndim not in (4, 5) or z.shape[1] != channels or 0 in z.shape:
            raise ValueError(
                f"z must be (B, {channels}, h, w) or (B, {channels}, t, h, w) and not empty, got {tuple(z.shape)}"
            )
        if not z.is_floating_point():
            raise ValueError(f"z must be floating point, got {z.dtype}; codes go through latents_from_codes first")
        if z.ndim == 4 and num_frames not in (None, 1):
            raise ValueError(f"num_frames must be None or 1 for images (z of 4 dimensions), got {num_frames}")
        sample = self._decode(z, num_frames)
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    def latents_from_codes(self, codes: torch.Tensor) -> torch.Tensor:
        """
        Turns codes of a discrete model into the latents that `decode` takes.

        Args:
            codes: (B, num_codebooks, [t,] h, w) integers in [0, codebook_size), such as `encode(...).codes`.

        Returns:
            (B, latent_channels, [t,] h, w) in the model's dtype.

        Raises:
            ValueError: if the model is continuous or `codes` do not fit.
        """
        if self.quantizer is None:
            raise ValueError("codes need a discrete model, but this one has no quantizer_config")
        if codes.ndim not in (4, 5) or codes.shape[1] != self.quantizer.num_codebooks:
            groups = self.quantizer.num_codebooks
            raise ValueError(f"codes must be (B, {groups}, h, w) or (B, {groups}, t, h, w), got {tuple(codes.shape)}")
        return self.quantizer.from_codes(codes.movedim(1, -1)).movedim(-1, 1).to(self.dtype)

    def forward(
        self,
        sample: torch.Tensor,
        sample_posterior: bool = False,
        return_dict: bool = True,
        generator: Generators | None = None,
    ) -> DecoderOutput | tuple[torch.Tensor]:
        """
        Encodes and decodes; the result has the size of the input, whatever `trim_to_causal_length` says.

        Args:
            sample: as in `encode`.
            sample_posterior: decode a sample of the posterior instead of its mode.
            return_dict: False for the tuple `(sample,)`.
            generator: for that sample, or a list of one for each.

        Raises:
            ValueError: if `sample` does not fit.
        """
        self._check_media("sample", sample)
        posterior = self._encode(sample).latent_dist
        z = posterior.sample(generator) if sample_posterior else posterior.mode()
        decoded = self._decode(z, sample.shape[2] if sample.ndim == 5 else None)
        return DecoderOutput(sample=decoded) if return_dict else (decoded,)

    def _check_media(self, name: str, x: torch.Tensor) -> None:
        channels, side = self.vision_model.config.num_channels, self.spatial_compression_ratio
        if x.ndim not in (4, 5) or x.shape[1] != channels or 0 in x.shape:
            raise ValueError(
                f"{name} must be (B, {channels}, H, W) or (B, {channels}, T, H, W) and not empty, got {tuple(x.shape)}"
            )
        if not x.is_floating_point():
            raise ValueError(f"{name} must be floating point in [-1, 1], got {x.dtype}")
        height, width = x.shape[-2:]
        if height % side or width % side:
            raise ValueError(f"{name} must have H and W that are multiples of {side}, got {height} x {width}")

    def _encode(self, x: torch.Tensor) -> AutoencoderAtokenOutput:
        slices = x.split(1) if self.use_slicing else [x]
        moments = torch.cat([self._moments(part) for part in slices])
        if self.quantizer is None:
            posterior, codes = LatentPosterior(moments), None
        else:
            mean = moments.chunk(2, dim=1)[0]
            quantized = self.quantizer(mean.movedim(1, -1))
            codes = self.quantizer.to_codes(quantized).movedim(-1, 1).contiguous()
            posterior = QuantizedDistribution(quantized.movedim(-1, 1).to(mean.dtype).contiguous())
        return AutoencoderAtokenOutput(latent_dist=posterior, latents=posterior.mode(), codes=codes)

    def _moments(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, [T,] H, W) -> (B, 2 * latent_channels, [t,] h, w)."""
        media = x.transpose(1, 2) if x.ndim == 5 else x  # (B, T, C, H, W) or (B, C, H, W)
        hidden = self.vision_model(
            media,
            tile_frames=self.tile_frames,
            batch_tokens=self._batch_tokens(),
            pool=False,
            return_dict=True,
        ).last_hidden_state
        side = self.spatial_compression_ratio
        grid = [x.shape[-2] // side, x.shape[-1] // side]
        if x.ndim == 5:
            grid = [-1, *grid]
        return self.latent_proj(hidden).unflatten(1, grid).movedim(-1, 1).contiguous()

    def _decode(self, z: torch.Tensor, num_frames: int | None) -> torch.Tensor:
        slices = z.split(1) if self.use_slicing else [z]
        return torch.cat([self._media(part, num_frames) for part in slices])

    def _media(self, z: torch.Tensor, num_frames: int | None) -> torch.Tensor:
        """(B, latent_channels, [t,] h, w) -> (B, C, [T,] H, W)."""
        grid = z if z.ndim == 5 else z[:, :, None]
        keep = self._frames_to_keep(grid.shape[2], num_frames)
        video = self.decoder(
            grid.movedim(1, -1),
            tile_frames=self.tile_frames,
            cache_frames=self.cache_frames,
            batch_tokens=self._batch_tokens(),
            return_dict=True,
        ).pixel_values  # (B, T, C, H, W)
        # An image decodes to a patch's frames, of which it is the first.
        return video[:, 0] if z.ndim == 4 else video[:, :keep].transpose(1, 2)

    def _frames_to_keep(self, latent_frames: int, num_frames: int | None = None) -> int:
        ratio = self.temporal_compression_ratio
        most, least = ratio * latent_frames, ratio * (latent_frames - 1) + 1
        if num_frames is None:
            return least if self.config.trim_to_causal_length else most
        if not least <= num_frames <= most:
            raise ValueError(
                f"num_frames must be from {least} to {most} for {latent_frames} latent frames, got {num_frames}"
            )
        return num_frames

    def _batch_tokens(self) -> int:
        # A single token is less than any tile, so that each tile runs alone.
        return 1 if self.use_tiling else TILE_BATCH_TOKENS


bind_to_package(__name__)

__all__ = ["AutoencoderAtoken", "AutoencoderAtokenOutput", "QuantizedDistribution"]
