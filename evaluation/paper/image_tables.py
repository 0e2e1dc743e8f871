"""Tables 4 and 5: reconstruction of photos, and zero-shot classification and retrieval of drawn images."""

from typing import Any

from atoken.pages.paper import TitledTable

from ..number_tables import set_table
from ..results import Result
from .counting import Media, hours_text
from .parts import Part
from .protocol import protocol_lines
from .reconstruction_config import CONTINUOUS, DISCRETE, reconstruction_config
from .section import Real
from .stage_records import stage_table
from .understanding import understanding_table
from .workspace import Workspace

CONTINUOUS_BITS, DISCRETE_BITS = 3.0, 0.375  # a pixel, of both models' tokens
WANTED = ("lpips", "rfid", "st-lpips-vgg", "fd-lite0")
COMMAND = "atoken evaluate examples/evaluation/paper.yaml --output OUT --processes 8"


def image_config(workspace: Workspace) -> tuple[dict[str, Any], list[str]]:
    """Gives the harness's configuration for photos, and what is missing for more."""
    codecs = {
        name: {"adapter": "image-codec", "codec": "jpeg", "bits_per_pixel": bits}
        for name, bits in (("JPEG", CONTINUOUS_BITS), ("JPEG, low", DISCRETE_BITS))
    }
    return reconstruction_config(workspace, {"photos": workspace.source("image").entry}, codecs, WANTED)


def image_results(workspace: Workspace) -> tuple[list[Result], list[str]]:
    """Measures the reconstruction of photos; also says what is missing for more."""
    config, missing = image_config(workspace)
    return workspace.evaluate("images", **config), missing


def image_understanding(workspace: Workspace) -> list[Result]:
    """Measures zero-shot classification and retrieval of drawn images."""
    count = workspace.counts.scenes
    drawn = {"set": "miniature-classification", "task": "classification", "kind": "image", "count": count}
    sets = {
        "shape": {**drawn, "attribute": "shape"},
        "color": {**drawn, "attribute": "colour"},
        "pair of color and shape": {**drawn, "attribute": "colour shape"},
        "retrieval": {"set": "miniature-retrieval", "task": "retrieval", "kind": "image", "count": count},
    }
    embedders = {name: {"adapter": "atoken", "model": workspace.checkpoint(name)} for name in (CONTINUOUS, DISCRETE)}
    return workspace.evaluate("image-understanding", sets=sets, embedders=embedders)


def make_reconstruction(workspace: Workspace) -> Part:
    """Makes Table 4."""
    results, missing = image_results(workspace)
    measured = (
        f"{results[0].numbers['count']} photos at 256 x 256 ({workspace.source('image').note}), through the tiny "
        f"checkpoints and codecs of about the same bits: {CONTINUOUS_BITS:g} bits a pixel, {DISCRETE_BITS:g} where a "
        "name ends in low or -d. ST-LPIPS is a distance of its own and not LPIPS, FD by EfficientNet-lite0 is no rFID."
    )
    tables = [TitledTable("Photos", set_table(results)), *stage_table(workspace, "photos")]
    return Part(measured, tables, protocol=protocol_lines(results), missing=missing)


def real_reconstruction() -> Real:
    """Says what Table 4 needs."""
    return Real(
        COMMAND,
        "ImageNet val (50,000 images, on request) and COCO val2017 (5,000); weights of 17 tokenizers, So/C and So/D "
        "by `atoken convert`; torch-fidelity's Inception and torchvision's VGG-16",
        hours_text([Media.images(50_000, 256), Media.images(5_000, 256)]),
    )


def make_understanding(workspace: Workspace) -> Part:
    """Makes Table 5."""
    results = image_understanding(workspace)
    measured = (
        f"{workspace.counts.scenes} drawn images of 64 x 64 of each task, whose pair of color and shape no training "
        "has seen, against texts, zero-shot; retrieval among as many different captions."
    )
    tables = [TitledTable("Drawn images and texts", understanding_table(results)), *stage_table(workspace, "images")]
    return Part(measured, tables, protocol=protocol_lines(results))


def real_understanding() -> Real:
    """Says what Table 5 needs."""
    sizes = (256, 384, 512)
    counts = 50_000 + 10_000 + 5_000 + 1_000  # ImageNet val and v2, COCO's and Flickr30k's test splits
    return Real(
        COMMAND,
        "ImageNet val with class names, ImageNet-V2 (10,000), Karpathy's test splits of COCO (5,000) and Flickr30k "
        "(1,000); So/C and So/D with SigLIP 2's text tower",
        hours_text([Media.images(counts, size, decoded=False) for size in sizes]),
    )
