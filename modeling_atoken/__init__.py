"""AToken: one tokenizer for images, videos and 3D objects."""

from .torchao_warnings_atoken import without_torchao_warnings

with without_torchao_warnings():
    from transformers import (
        AutoConfig,
        AutoImageProcessor,
        AutoModel,
        AutoModelForZeroShotImageClassification,
        AutoProcessor,
        AutoVideoProcessor,
    )
    from transformers.pipelines import PIPELINE_REGISTRY

    from atoken.processing import AtokenImageProcessor, AtokenProcessor, AtokenVideoProcessor
    from atoken.processing.pipelines_atoken import PIPELINES

    from .configuration_atoken import (
        AtokenConfig,
        AtokenDecoderConfig,
        AtokenGaussianConfig,
        AtokenQuantizerConfig,
        AtokenVisionConfig,
    )
    from .gaussian_decoder_atoken import AtokenGaussianDecoder
    from .gaussians_atoken import Gaussians
    from .modeling_atoken import AtokenDecoder, AtokenModel, AtokenVisionModel
    from .rendering_atoken import render

__version__ = "0.1.0"
__all__ = [
    "AtokenConfig",
    "AtokenDecoder",
    "AtokenDecoderConfig",
    "AtokenGaussianConfig",
    "AtokenGaussianDecoder",
    "AtokenImageProcessor",
    "AtokenModel",
    "AtokenProcessor",
    "AtokenQuantizerConfig",
    "AtokenVideoProcessor",
    "AtokenVisionConfig",
    "AtokenVisionModel",
    "Gaussians",
    "render",
]

# Checkpoints load through the auto classes without trust_remote_code. The tower and the decoder have configurations of
# their own, as LLaVA-style models name them by model_type.
for config in (AtokenConfig, AtokenVisionConfig, AtokenDecoderConfig, AtokenQuantizerConfig, AtokenGaussianConfig):
    AutoConfig.register(config.model_type, config, exist_ok=True)
AutoModel.register(AtokenConfig, AtokenModel, exist_ok=True)
AutoModel.register(AtokenVisionConfig, AtokenVisionModel, exist_ok=True)
AutoModel.register(AtokenGaussianConfig, AtokenGaussianDecoder, exist_ok=True)
AutoModelForZeroShotImageClassification.register(AtokenConfig, AtokenModel, exist_ok=True)
AutoProcessor.register(AtokenConfig, AtokenProcessor, exist_ok=True)
for config in (AtokenConfig, AtokenVisionConfig):
    AutoImageProcessor.register(config, image_processor_classes={"torchvision": AtokenImageProcessor}, exist_ok=True)
    AutoVideoProcessor.register(config, AtokenVideoProcessor, exist_ok=True)
del config

# Made for the models of others, these classes give the library's own pipelines. `register_pipeline` would warn.
for task, pipeline_class in PIPELINES.items():
    PIPELINE_REGISTRY.supported_tasks[task]["impl"] = pipeline_class
del task, pipeline_class
# The repositories that `atoken export` writes bring these pipelines along for those who do not have this package. Those
# who have it need not trust that code.
AtokenConfig.custom_pipelines = property(lambda config: {}, lambda config, value: None)

# Eager, because diffusers looks the class up in sys.modules when it loads a pipeline.
try:
    with without_torchao_warnings():
        from .autoencoder_atoken import AutoencoderAtoken
except ImportError as error:
    _autoencoder_error = error

    def __getattr__(name: str):
        if name == "AutoencoderAtoken":
            raise ImportError(str(_autoencoder_error)) from _autoencoder_error
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
else:
    __all__ += ["AutoencoderAtoken"]
