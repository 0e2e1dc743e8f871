"""Table 8: reconstruction of 3D objects, and the zero-shot accuracy of Table 3."""

from typing import Any

from atoken.pages.paper import TitledTable

from ..number_tables import set_table
from ..results import Result
from .counting import Media, hours_text
from .image_tables import COMMAND
from .parts import Part
from .protocol import protocol_lines
from .reconstruction_config import CONTINUOUS, DISCRETE
from .section import Real
from .workspace import Workspace

WANTED = ("lpips", "st-lpips-vgg")
TOYS4K_OBJECTS, TOYS4K_VOXELS = 3_229, 20_000  # voxels are about the most that an object has


def object_config(workspace: Workspace) -> tuple[dict[str, Any], list[str]]:
    """Gives the harness's configuration for objects, and what is missing for more."""
    measures, missing = workspace.measures_at_hand(*WANTED)
    tokenizers: dict[str, Any] = {
        name: {"adapter": "atoken-objects", "model": workspace.checkpoint(name)} for name in (CONTINUOUS, DISCRETE)
    }
    tokenizers["flat voxels"] = {"adapter": "flat-voxels"}
    sets = {"objects": workspace.source("object").entry}
    return {"measures": ["psnr", "ssim", *measures], "sets": sets, "tokenizers": tokenizers}, missing


def object_results(workspace: Workspace) -> tuple[list[Result], list[str]]:
    """Measures the reconstruction of objects; also says what is missing for more."""
    config, missing = object_config(workspace)
    return workspace.evaluate("objects", **config), missing


def object_understanding(workspace: Workspace) -> list[Result]:
    """Measures zero-shot classification of drawn objects by shape."""
    drawn = {"set": "miniature-classification", "task": "classification", "kind": "object", "attribute": "shape"}
    embedders = {name: {"adapter": "atoken", "model": workspace.checkpoint(name)} for name in (CONTINUOUS, DISCRETE)}
    sets = {"shape": {**drawn, "count": workspace.counts.solids}}
    return workspace.evaluate("object-understanding", sets=sets, embedders=embedders)


def make_reconstruction(workspace: Workspace) -> Part:
    """Makes Table 8."""
    results, missing = object_results(workspace)
    measured = (
        f"{results[0].numbers['count']} meshes ({workspace.source('object').note}), decoded to Gaussians and compared "
        "in 8 views of 256 x 256 on black, between the cameras that tokens come from. Flat voxels have one color each. "
        "ST-LPIPS is a distance of its own and not LPIPS."
    )
    return Part(
        measured, [TitledTable("Objects", set_table(results))], protocol=protocol_lines(results), missing=missing
    )


def real_reconstruction() -> Real:
    """Says what Table 8 needs."""
    what = f"{TOYS4K_OBJECTS:,} objects, each of {TOYS4K_VOXELS:,} voxels, about the most that one has"
    data = "Toys4k (3,229 assets of TRELLIS's list); So/C and So/D with their Gaussian decoders; Trellis-SLAT's renders"
    return Real(COMMAND, data, hours_text([Media(what, TOYS4K_OBJECTS, TOYS4K_VOXELS)]))
