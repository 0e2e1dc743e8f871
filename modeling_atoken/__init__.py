"""AToken: one tokenizer for images, videos and 3D objects."""

from .configuration_atoken import AtokenConfig, AtokenDecoderConfig, AtokenQuantizerConfig, AtokenVisionConfig
from .modeling_atoken import AtokenDecoder, AtokenModel, AtokenVisionModel

__version__ = "0.1.0"
__all__ = [
    "AtokenConfig",
    "AtokenDecoder",
    "AtokenDecoderConfig",
    "AtokenModel",
    "AtokenQuantizerConfig",
    "AtokenVisionConfig",
    "AtokenVisionModel",
]

# Eager, because diffusers looks the class up in sys.modules when it loads a pipeline.
try:
    from .autoencoder_atoken import AutoencoderAtoken
except ImportError as error:
    _autoencoder_error = error

    def __getattr__(name: str):
        if name == "AutoencoderAtoken":
            raise ImportError(str(_autoencoder_error)) from _autoencoder_error
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
else:
    __all__ += ["AutoencoderAtoken"]
