"""Media and text to what a model takes, and back."""

from .cameras_atoken import Cameras, hammersley_cameras, look_at, read_transforms, turntable_cameras
from .image_processing_atoken import AtokenImageProcessor
from .processing_atoken import AtokenProcessor
from .text_processing_atoken import canonicalize_text
from .video_processing_atoken import AtokenVideoProcessor
from .views_atoken import Views, mesh_views, read_views
from .voxel_processing_atoken import AtokenVoxelProcessor, Voxels

__all__ = [
    "AtokenImageProcessor",
    "AtokenProcessor",
    "AtokenVideoProcessor",
    "AtokenVoxelProcessor",
    "Cameras",
    "Views",
    "Voxels",
    "canonicalize_text",
    "hammersley_cameras",
    "look_at",
    "mesh_views",
    "read_transforms",
    "read_views",
    "turntable_cameras",
]
