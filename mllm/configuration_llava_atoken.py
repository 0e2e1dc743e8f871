"""Configuration of the multimodal language model on the AToken encoder (paper, section 5.1)."""

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from .remote_code_atoken import auto_class_of, bind_to_package
from .token_counts_llava_atoken import MediaTokenCounts

_AUTO_CLASS = auto_class_of(__name__, "AutoConfig")


@strict
class AtokenLlavaConfig(PreTrainedConfig):
    r"""
    Configuration of [`AtokenLlavaForConditionalGeneration`].

    Args:
        vision_config (`AtokenVisionConfig` or `dict`): The encoder; So400m when not given.
        text_config (`PreTrainedConfig` or `dict`): Any causal language model of transformers; Qwen2 when not given.
        image_token_id (`int`): Id of the placeholder of an image's tokens; Qwen2.5's `<|image_pad|>`.
        video_token_id (`int`): Id of the placeholder of a video's tokens; Qwen2.5's `<|video_pad|>`.
        vision_feature_layer (`int`, *optional*): Which of the encoder's hidden states to take; when not given, its
            output after the last norm.
        video_input (`str`): "frames" encodes each frame as an image of its own, "clip" as many frames at a time as the
            encoder's patch has.
        image_pool_stride (`int`): Patches along each side of an image that are averaged to one token.
        slow_frames (`int`): Frames of a video's slow path, at most.
        slow_stride (`int`): Patches along each side of a slow frame that are averaged to one token.
        fast_grid (`list[int]`): Rows and columns of tokens to which every frame is averaged in the fast path.
        pool_after_projector (`bool`): Whether features are projected before they are averaged.
        vision_batch_tokens (`int`): Patches that the encoder takes at a time, except in training among several
            processes.
        tie_word_embeddings (`bool`): Taken from the language model.
    """

    _auto_class = _AUTO_CLASS
    model_type = "atoken_llava"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="atoken_vision_model"),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="qwen2"),
    }

    vision_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    image_token_id: int = 151655
    video_token_id: int = 151656
    vision_feature_layer: int | None = None
    video_input: Literal["frames", "clip"] = "frames"
    image_pool_stride: int = 1
    slow_frames: int = 32
    slow_stride: int = 2
    fast_grid: list[int] | tuple[int, ...] = (4, 4)
    pool_after_projector: bool = False
    vision_batch_tokens: int = 16384
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        vision = self.vision_config
        unknown = isinstance(vision, dict) and vision.get("model_type") not in (None, *CONFIG_MAPPING)
        if unknown and "auto_map" in vision:
            # Without the package the encoder's classes are files beside this one, in the repository that was read.
            cls = get_class_from_dynamic_module(vision["auto_map"]["AutoConfig"], vision["name_or_path"])
            AutoConfig.register(vision["model_type"], cls, exist_ok=True)
            self.vision_config = cls(**vision)
        super().__post_init__(**kwargs)
        self.tie_word_embeddings = bool(getattr(self.text_config, "tie_word_embeddings", False))

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs) -> tuple[dict[str, Any], dict[str, Any]]:
        config, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if isinstance(config.get("vision_config"), dict):
            config["vision_config"]["name_or_path"] = str(pretrained_model_name_or_path)
        return config, kwargs

    def validate_fields(self):
        for name in ("image_pool_stride", "slow_frames", "slow_stride", "vision_batch_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if len(self.fast_grid) != 2 or min(self.fast_grid) < 1:
            raise ValueError(f"fast_grid must be two positive integers (rows, columns), got {list(self.fast_grid)}")
        if self.image_token_id == self.video_token_id or min(self.image_token_id, self.video_token_id) < 0:
            raise ValueError(
                "image_token_id and video_token_id must be two different ids from 0 on, got "
                f"{self.image_token_id} and {self.video_token_id}"
            )

    @property
    def token_counts(self) -> MediaTokenCounts:
        """Gives the count of a medium's tokens under this configuration."""
        return MediaTokenCounts(
            image_pool_stride=self.image_pool_stride,
            slow_frames=self.slow_frames,
            slow_stride=self.slow_stride,
            fast_grid=tuple(self.fast_grid),
            frames_per_token=self.vision_config.patch_size[0] if self.video_input == "clip" else 1,
        )


bind_to_package(__name__)

__all__ = ["AtokenLlavaConfig"]
