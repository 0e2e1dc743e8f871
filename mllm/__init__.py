"""A multimodal language model on the AToken encoder (paper, section 5.1): answers about images and videos."""

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoVideoProcessor,
)

from .configuration_llava_atoken import AtokenLlavaConfig
from .exporting_llava_atoken import save_with_code
from .image_processing_llava_atoken import AtokenLlavaImageProcessor
from .modeling_llava_atoken import AtokenLlavaForConditionalGeneration, AtokenLlavaModel
from .processing_llava_atoken import AtokenLlavaProcessor
from .projector_llava_atoken import AtokenLlavaMultiModalProjector
from .video_processing_llava_atoken import AtokenLlavaVideoProcessor

__all__ = [
    "AtokenLlavaConfig",
    "AtokenLlavaForConditionalGeneration",
    "AtokenLlavaImageProcessor",
    "AtokenLlavaModel",
    "AtokenLlavaMultiModalProjector",
    "AtokenLlavaProcessor",
    "AtokenLlavaVideoProcessor",
    "save_with_code",
]

# Checkpoints load through the auto classes after `import atoken.mllm`.
AutoConfig.register(AtokenLlavaConfig.model_type, AtokenLlavaConfig, exist_ok=True)
AutoModel.register(AtokenLlavaConfig, AtokenLlavaModel, exist_ok=True)
AutoModelForImageTextToText.register(AtokenLlavaConfig, AtokenLlavaForConditionalGeneration, exist_ok=True)
AutoProcessor.register(AtokenLlavaConfig, AtokenLlavaProcessor, exist_ok=True)
AutoImageProcessor.register(
    AtokenLlavaConfig, image_processor_classes={"torchvision": AtokenLlavaImageProcessor}, exist_ok=True
)
AutoVideoProcessor.register(AtokenLlavaConfig, AtokenLlavaVideoProcessor, exist_ok=True)
