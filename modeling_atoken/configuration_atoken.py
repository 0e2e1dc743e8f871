"""Configuration of AToken: encoder ("vision"), decoder, quantizer and the optional text tower.

Where the paper and the released checkpoints differ, the defaults follow the checkpoints.
"""

import json
from pathlib import Path
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig, Siglip2TextConfig
from transformers.activations import ACT2FN
from transformers.configuration_utils import SubConfigSpec
from transformers.utils import logging

from .remote_code_atoken import auto_class_of, bind_to_package

_AUTO_CLASS = auto_class_of(__name__, "AutoConfig")


class PatchSize(tuple):
    """
    Holds frames, rows and columns of a patch. Image sizes can be divided by it: `size // patch_size` counts patches.

    Multimodal models of transformers compute so with the patch of their vision tower, which they take for one number:
    LLaVA divides the tensor of all heights and widths, LLaVA-OneVision the number `image_size`.
    """

    __slots__ = ()

    def __rfloordiv__(self, size):
        rows, columns = self[1:]
        if rows != columns:
            raise ValueError(f"only a patch_size with as many rows as columns divides image sizes, got {tuple(self)}")
        return size // rows


class AtokenPartConfig(PreTrainedConfig):
    """Takes the configuration of a part also from the folder of a whole model, where it is one of several."""

    # What the whole says for all of its parts. A part's own dtype may be that of an earlier copy of its weights.
    of_the_whole: ClassVar[tuple[str, ...]] = ("dtype",)

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs) -> tuple[dict[str, Any], dict[str, Any]]:
        whole, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        part = whole.get(cls.base_config_key)
        if part is None:
            return whole, kwargs
        return {**part, **{name: whole[name] for name in cls.of_the_whole if name in whole}}, kwargs


class AtokenTransformerConfig(AtokenPartConfig):
    """Holds what the encoder's and the decoder's configurations have in common: the patch and the checks."""

    _auto_class = _AUTO_CLASS

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if isinstance(self.patch_size, (list, tuple)):  # anything else is for the checks to refuse
            self.patch_size = PatchSize(self.patch_size)

    def validate_heads(self):
        for name in (
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_channels",
            "position_embedding_size",
            "rope_theta",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act must be an activation that transformers knows, got {self.hidden_act!r}")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size must be divisible by num_attention_heads, got {self.hidden_size} and "
                f"{self.num_attention_heads}"
            )
        head_dim = self.hidden_size // self.num_attention_heads
        if self.use_rope and head_dim % 8:
            raise ValueError(
                "hidden_size / num_attention_heads must be a multiple of 8, because the 4D rotary embedding gives each "
                f"of the axes t, x, y, z a quarter of the channel pairs; got {head_dim}"
            )

    def validate_patch(self):
        if len(self.patch_size) != 3 or min(self.patch_size) < 1:
            raise ValueError(f"patch_size must be three positive integers (t, h, w), got {list(self.patch_size)}")

    def validate_temporal_tiling(self):
        frames = self.patch_size[0]
        if self.tile_frames < frames or self.tile_frames % frames:
            raise ValueError(
                f"tile_frames must be a positive multiple of the patch's {frames} frames, got {self.tile_frames}"
            )
        if self.cache_frames < 0 or self.cache_frames % frames:
            raise ValueError(
                f"cache_frames must be 0 or a multiple of the patch's {frames} frames, got {self.cache_frames}"
            )

    @property
    def patch_dim(self) -> int:
        """Features of one packed patch: frames x rows x columns x channels."""
        frames, height, width = self.patch_size
        return frames * height * width * self.num_channels


@strict
class AtokenVisionConfig(AtokenTransformerConfig):
    r"""
    Configuration of the encoder (paper, section 3.2). The defaults are So400m.

    Args:
        hidden_size (`int`): Width d.
        intermediate_size (`int`): Width of the MLP.
        num_hidden_layers (`int`): Number of blocks.
        num_attention_heads (`int`): Heads; `hidden_size / num_attention_heads` must be a multiple of 8.
        num_channels (`int`): Color channels.
        patch_size (`list[int]`): Frames, rows and columns of a patch.
        hidden_act (`str`): Activation of the MLP.
        layer_norm_eps (`float`): Epsilon of the layer norms.
        position_embedding_size (`int`): Side of the learned position table.
        rope_theta (`float`): Base of the rotary frequencies.
        use_rope (`bool`): Whether attention uses 4D rotary embeddings. Off, the encoder is a SigLIP2 vision tower.
        vision_use_head (`bool`): Whether there is an attention-pooling head.
        tile_frames (`int`): Frames of a temporal tile; longer videos are encoded tile by tile.
        cache_frames (`int`): Frames whose keys and values the next tile attends to (paper, Figure 6). The released
            checkpoints were trained without, so 0.
        initializer_range (`float`): Standard deviation of freshly drawn weights.
    """

    model_type = "atoken_vision_model"
    base_config_key = "vision_config"

    hidden_size: int = 1152
    intermediate_size: int = 4304
    num_hidden_layers: int = 27
    num_attention_heads: int = 16
    num_channels: int = 3
    patch_size: list[int] | tuple[int, ...] = (4, 16, 16)
    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6
    position_embedding_size: int = 16
    rope_theta: float | int = 10000.0
    use_rope: bool = True
    vision_use_head: bool = True
    tile_frames: int = 16
    cache_frames: int = 0
    initializer_range: float = 0.02


@strict
class AtokenDecoderConfig(AtokenTransformerConfig):
    r"""
    Configuration of the decoder (paper, section 3.2). The defaults are So400m.

    Args:
        hidden_size, intermediate_size, num_hidden_layers, num_attention_heads: as in [`AtokenVisionConfig`].
        num_channels, patch_size, hidden_act, initializer_range: as there.
        position_embedding_size, rope_theta, use_rope: as there.
        rms_norm_eps (`float`): Epsilon of the RMS norms.
        tile_frames (`int`): Frames decoded at a time (the "stride" of a sliding window).
        cache_frames (`int`): Frames before the window whose keys and values it attends to.
        latent_channels (`int`): Channels of a latent; inside an [`AtokenConfig`], its own applies.
    """

    model_type = "atoken_decoder"
    base_config_key = "decoder_config"
    of_the_whole = ("dtype", "latent_channels")

    hidden_size: int = 1152
    intermediate_size: int = 4304
    num_hidden_layers: int = 27
    num_attention_heads: int = 16
    num_channels: int = 3
    patch_size: list[int] | tuple[int, ...] = (4, 16, 16)
    hidden_act: str = "gelu_pytorch_tanh"
    rms_norm_eps: float = 1e-6
    position_embedding_size: int = 16
    rope_theta: float | int = 10000.0
    use_rope: bool = True
    tile_frames: int = 16
    cache_frames: int = 0
    latent_channels: int = 48
    initializer_range: float = 0.02

    def validate_latents(self):
        if self.latent_channels < 1:
            raise ValueError(f"latent_channels must be positive, got {self.latent_channels}")


@strict
class AtokenQuantizerConfig(PreTrainedConfig):
    r"""
    Configuration of the finite scalar quantizer (paper, section 3.4, stage 4).

    Args:
        num_codebooks (`int`): Groups of channels, one code each.
        codebook_dim (`int`): Channels of a group.
        levels (`int`): Values a channel can take; a codebook has `levels ** codebook_dim` entries.
    """

    _auto_class = _AUTO_CLASS
    model_type = "atoken_quantizer"
    base_config_key = "quantizer_config"

    num_codebooks: int = 8
    codebook_dim: int = 6
    levels: int = 4

    def validate_levels(self):
        if self.levels < 2 or self.num_codebooks < 1 or self.codebook_dim < 1:
            raise ValueError(
                "levels must be at least 2, num_codebooks and codebook_dim at least 1; got "
                f"levels={self.levels}, num_codebooks={self.num_codebooks}, codebook_dim={self.codebook_dim}"
            )
        if self.levels > 1000:
            # The margin of 1e-3 in the bound would let the outermost values round to a level that does not exist.
            raise ValueError(f"levels must be at most 1000, got {self.levels}")
        if self.codebook_size >= 2**63:
            raise ValueError(
                "levels ** codebook_dim must fit into a 64-bit integer, got "
                f"levels={self.levels}, codebook_dim={self.codebook_dim}"
            )

    @property
    def codebook_size(self) -> int:
        return self.levels**self.codebook_dim


@strict
class AtokenGaussianConfig(AtokenPartConfig):
    r"""
    Configuration of the 3D Gaussian decoder. The defaults are the released `3d_decode_gs`; a small one for training is
    `hidden_size=96, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4, num_gaussians=8`.

    Args:
        hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, hidden_act, initializer_range: as in
            [`AtokenVisionConfig`].
        in_channels (`int`): Features of a decoded voxel that are read, the first ones.
        num_gaussians (`int`): Gaussians per voxel.
        resolution (`int`): Voxels along a side of the grid.
        window_size (`int`): Voxels along a side of an attention window.
        window_shift (`int`): Shift of the windows in every second block.
        soft_cap (`float`): Attention logits are bounded to soft_cap * tanh(logit / soft_cap).
        rms_norm_eps (`float`): Epsilon of the RMS norms.
    """

    _auto_class = _AUTO_CLASS
    model_type = "atoken_gaussian_decoder"
    base_config_key = "gaussian_config"

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    in_channels: int = 768
    num_gaussians: int = 32
    resolution: int = 64
    window_size: int = 8
    window_shift: int = 4
    soft_cap: float | int = 30.0
    hidden_act: str = "gelu_pytorch_tanh"
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02

    def validate_sizes(self):
        positive = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "in_channels")
        for name in (*positive, "num_gaussians", "resolution", "window_size", "soft_cap"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act must be an activation that transformers knows, got {self.hidden_act!r}")
        if self.hidden_size % self.num_attention_heads or self.hidden_size < 6:
            raise ValueError(
                "hidden_size must be at least 6 and divisible by num_attention_heads, got "
                f"{self.hidden_size} and {self.num_attention_heads}"
            )
        if not 0 <= self.window_shift < self.window_size:
            raise ValueError(f"window_shift must be in [0, window_size = {self.window_size}), got {self.window_shift}")


@strict
class AtokenConfig(PreTrainedConfig):
    r"""
    Configuration of [`AtokenModel`].

    Args:
        vision_config (`AtokenVisionConfig` or `dict`): The encoder; So400m when not given.
        decoder_config (`AtokenDecoderConfig` or `dict`): The decoder; So400m when not given.
        quantizer_config (`AtokenQuantizerConfig` or `dict`, *optional*): Given, the tokens are discrete.
        text_config (`Siglip2TextConfig` or `dict`, *optional*): Given, the model has a text tower.
        gaussian_config (`AtokenGaussianConfig` or `dict`, *optional*): Given, voxels decode to 3D Gaussians.
        latent_channels (`int`): Channels of a latent.
        logit_scale_init_value (`float`): Logarithm of the factor on the cosines of image and text. The released
            checkpoints go with 4.8438, which is SigLIP2's.
        logit_bias_init_value (`float`): Bias of those logits.
        latents_mean, latents_std (`list[float]`, *optional*): Statistics of the latents by channel, for diffusion.
        weights_license (`str`, *optional*): The license of the weights, as the Hub names it. Converted official weights
            keep theirs, through fine-tuning and saving, too.
        initializer_range (`float`): Standard deviation of freshly drawn weights.
    """

    _auto_class = _AUTO_CLASS
    model_type = "atoken"
    # Trainer gathers tensors with one row per sample: a distribution is none, and the others have one row per token.
    keys_to_ignore_at_inference = [
        "latent_dist",
        "reconstruction",
        "codes",
        "last_hidden_state",
        "hidden_states",
        "decoder_hidden_states",
    ]
    sub_configs_defaults = {
        "vision_config": AtokenVisionConfig,
        "decoder_config": AtokenDecoderConfig,
        "quantizer_config": SubConfigSpec(config_class=AtokenQuantizerConfig, optional=True),
        "text_config": SubConfigSpec(config_class=Siglip2TextConfig, optional=True),
        "gaussian_config": SubConfigSpec(config_class=AtokenGaussianConfig, optional=True),
    }

    vision_config: dict | PreTrainedConfig | None = None
    decoder_config: dict | PreTrainedConfig | None = None
    quantizer_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    gaussian_config: dict | PreTrainedConfig | None = None
    latent_channels: int = 48
    logit_scale_init_value: float = 4.8438
    logit_bias_init_value: float = -15.5625
    latents_mean: list[float] | None = None
    latents_std: list[float] | None = None
    weights_license: str | None = None
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        self.decoder_config.latent_channels = self.latent_channels

    def validate_parts(self):
        vision, decoder, quantizer = self.vision_config, self.decoder_config, self.quantizer_config
        if list(vision.patch_size) != list(decoder.patch_size):
            raise ValueError(
                "vision_config.patch_size and decoder_config.patch_size must be equal, got "
                f"{vision.patch_size} and {decoder.patch_size}"
            )
        if vision.num_channels != decoder.num_channels:
            raise ValueError(
                "vision_config.num_channels and decoder_config.num_channels must be equal, got "
                f"{vision.num_channels} and {decoder.num_channels}"
            )
        if self.latent_channels < 1:
            raise ValueError(f"latent_channels must be positive, got {self.latent_channels}")
        if quantizer is not None and quantizer.num_codebooks * quantizer.codebook_dim != self.latent_channels:
            raise ValueError(
                f"latent_channels must be num_codebooks x codebook_dim = {quantizer.num_codebooks} x "
                f"{quantizer.codebook_dim}, got {self.latent_channels}"
            )
        if self.text_config is not None and self.text_config.projection_size != vision.hidden_size:
            raise ValueError(
                "text_config.projection_size must equal vision_config.hidden_size so that both embeddings can be "
                f"compared, got {self.text_config.projection_size} and {vision.hidden_size}"
            )
        if self.gaussian_config is not None and self.gaussian_config.in_channels > decoder.patch_dim:
            raise ValueError(
                f"gaussian_config.in_channels must be at most the decoder's {decoder.patch_dim} features, got "
                f"{self.gaussian_config.in_channels}"
            )
        for name in ("latents_mean", "latents_std"):
            values = getattr(self, name)
            if values is not None and len(values) != self.latent_channels:
                raise ValueError(f"{name} must have latent_channels={self.latent_channels} values, got {len(values)}")
        if self.latents_std is not None and min(self.latents_std) <= 0:
            raise ValueError(f"latents_std must be positive, got {min(self.latents_std)}")

    def to_diff_dict(self) -> dict[str, Any]:
        """Gives what differs from the defaults, without the warnings that are about those defaults alone."""
        # The defaults of Siglip2TextConfig name tokens that its vocabulary does not have; transformers says so whenever
        # it compares a text tower with them, as it does whenever a model is loaded.
        logger = logging.get_logger("transformers.configuration_utils")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            return super().to_diff_dict()
        finally:
            logger.setLevel(level)

    @classmethod
    def from_preset(cls, name: str, **overrides) -> "AtokenConfig":
        """Gives the configuration of a named size: "so400m", "base" or "tiny". Raises ValueError for another name."""
        folder = Path(__file__).parent / "presets"
        path = folder / f"{name}.json"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in folder.glob("*.json")))
            raise ValueError(f"name must be one of the presets ({known}), got {name!r}")
        return cls(**{**json.loads(path.read_text(encoding="utf-8")), **overrides})


bind_to_package(__name__)

__all__ = [
    "AtokenConfig",
    "AtokenDecoderConfig",
    "AtokenGaussianConfig",
    "AtokenQuantizerConfig",
    "AtokenVisionConfig",
]
