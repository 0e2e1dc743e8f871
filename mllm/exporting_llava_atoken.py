"""A model and its processor with their code, for those who do not have this package."""

from pathlib import Path
from typing import Any

from .configuration_llava_atoken import AtokenLlavaConfig
from .image_processing_llava_atoken import AtokenLlavaImageProcessor
from .modeling_llava_atoken import AtokenLlavaForConditionalGeneration
from .processing_llava_atoken import AtokenLlavaProcessor
from .video_processing_llava_atoken import AtokenLlavaVideoProcessor


def save_with_code(
    model: AtokenLlavaForConditionalGeneration,
    processor: AtokenLlavaProcessor,
    folder: str | Path,
    max_shard_size: str = "5GB",
) -> None:
    """
    Saves what `AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)` loads without this package.

    Args:
        model: as it is to be stored, in its dtype.
        processor: goes along.
        folder: an existing folder, such as a `NewFolder` of `atoken.tokenizing.files`.
        max_shard_size: weights above it are split.

    Raises:
        ValueError: if the folder does not exist.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"folder must be an existing folder, got {folder}")
    tower = model.model.vision_tower
    classes: dict[Any, str] = {
        AtokenLlavaConfig: "AutoConfig",
        AtokenLlavaForConditionalGeneration: "AutoModelForImageTextToText",
        AtokenLlavaProcessor: "AutoProcessor",
        AtokenLlavaImageProcessor: "AutoImageProcessor",
        AtokenLlavaVideoProcessor: "AutoVideoProcessor",
        type(tower): "AutoModel",
        type(tower.config): "AutoConfig",
    }
    before = {cls: cls._auto_class for cls in classes}
    configs = (model.config, tower.config, processor, processor.image_processor, processor.video_processor)
    named = [getattr(config, "auto_map", None) for config in configs]
    try:
        for cls, auto_class in classes.items():
            cls._auto_class = auto_class
        model.save_pretrained(folder, max_shard_size=max_shard_size)
        processor.save_pretrained(folder)
    finally:
        for cls, auto_class in before.items():
            cls._auto_class = auto_class
        # What is saved later without its code must not name it.
        for config, auto_map in zip(configs, named, strict=True):
            if auto_map is None and hasattr(config, "auto_map"):
                del config.auto_map


__all__ = ["save_with_code"]
