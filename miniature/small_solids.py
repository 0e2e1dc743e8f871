"""Solids as the tiny generator of 3D objects learns them: small, and upright, so that one picture can tell them."""

from dataclasses import replace

from atoken.processing.colored_mesh_atoken import ColoredMesh

from .scenes import Scene
from .solids import draw_object

SCALE = 0.375  # longest side of a solid in the cube, which gives about 1,600 voxels


def small_solid(scene: Scene) -> ColoredMesh:
    """
    Makes an object's mesh, upright, the longest side `SCALE` and the middle at 0.

    The world turns its solids at random, which a picture from an unknown side cannot tell; without the turn, an object
    can be told from one picture, as those of real collections that mostly face the same way.

    Args:
        scene: of kind "object".
    """
    mesh = draw_object(scene, turned=False)
    return replace(mesh, vertices=SCALE * mesh.vertices)
