"""Media and text to what a model takes, and back."""

from .image_processing_atoken import AtokenImageProcessor
from .processing_atoken import AtokenProcessor
from .text_processing_atoken import canonicalize_text
from .video_processing_atoken import AtokenVideoProcessor

__all__ = ["AtokenImageProcessor", "AtokenProcessor", "AtokenVideoProcessor", "canonicalize_text"]
