"""The objects of this recipe: solids of the miniature world, so small that they have about 1,600 voxels."""

import torch
from PIL import Image

from atoken.miniature.captions import full_caption
from atoken.miniature.scenes import Scene
from atoken.miniature.small_solids import small_solid
from atoken.miniature.world import MiniatureWorld
from atoken.processing.cameras_atoken import Cameras, hammersley_cameras
from atoken.processing.colored_mesh_atoken import ColoredMesh
from atoken.processing.views_atoken import Views, mesh_views
from atoken.tokenizing.condition_pictures import condition_cameras, draw_views

SPLITS = ("train", "held_out")
# A smaller object is seen as large as a whole one in a smaller angle.
COMPARED_ANGLE = 15.0
PICTURE_SIZE = 128  # pixels of the pictures that the generators see, once the object is cut out
_SEED = 24
_LENGTH = 1_000_000
_TOKEN_VIEW_SIZE, _DRAWN_SIZE = 256, 384  # the processor makes patches of pictures of 256 pixels


def scene_of(split: str, index: int) -> Scene:
    """Gives an object's scene; "held_out" has pairs of color and shape that "train" never has."""
    return MiniatureWorld("object", split, _LENGTH, _SEED).describe(index)[0]


def caption_of(split: str, index: int) -> str:
    """Says what an object is."""
    return full_caption(scene_of(split, index))


def mesh_of(split: str, index: int) -> ColoredMesh:
    """Makes an object's mesh."""
    return small_solid(scene_of(split, index))


def token_views(split: str, index: int) -> Views:
    """Looks at an object as its tokens are made of."""
    return mesh_views(mesh_of(split, index), size=_TOKEN_VIEW_SIZE)


def condition_views(split: str, index: int, count: int) -> tuple[list[Image.Image], Cameras]:
    """Draws the pictures in mode RGBA that an object is to be made of again, with their cameras."""
    numbers = torch.Generator().manual_seed(SPLITS.index(split) + len(SPLITS) * index)
    cameras = condition_cameras(count, numbers)
    return draw_views(mesh_of(split, index), cameras, _DRAWN_SIZE), cameras


def compared_cameras(count: int) -> Cameras:
    """Places the cameras that objects are compared from, none of which tokens or pictures come from."""
    return hammersley_cameras(count, fov_degrees=COMPARED_ANGLE, offset=(0.5, 0.3))
