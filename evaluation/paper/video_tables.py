"""Tables 6 and 7: reconstruction of clips, and retrieval of drawn clips."""

from typing import Any

from atoken.pages.paper import TitledTable

from ..number_tables import set_table
from ..results import Result
from .counting import Media, hours_text
from .image_tables import COMMAND
from .parts import Part
from .protocol import protocol_lines
from .reconstruction_config import CONTINUOUS, DISCRETE, reconstruction_config
from .section import Real
from .stage_records import stage_table
from .understanding import understanding_table
from .workspace import Workspace

CONTINUOUS_BITS, DISCRETE_BITS = 0.75, 0.09375  # a pixel, of both models' tokens of four frames
WANTED = ("lpips", "rfvd")  # ST-LPIPS of all frames would take a CPU longer than everything else together
RANKS = (1, 5, 10)
DAVIS_FRAMES, DAVIS_SIZE = 3_455, (1080, 1920)  # of all 50 videos of DAVIS 2016
TOKENBENCH_VIDEOS, TOKENBENCH_FRAMES, TOKENBENCH_SIZE = 471, 300, (720, 1280)  # the frames are an assumption


def video_config(workspace: Workspace) -> tuple[dict[str, Any], list[str]]:
    """Gives the harness's configuration for clips, and what is missing for more."""
    codecs = {
        name: {"adapter": "video-codec", "codec": "h264", "bits_per_pixel": bits}
        for name, bits in (("H.264", CONTINUOUS_BITS), ("H.264, low", DISCRETE_BITS))
    }
    return reconstruction_config(workspace, {"clips": workspace.source("video").entry}, codecs, WANTED)


def video_results(workspace: Workspace) -> tuple[list[Result], list[str]]:
    """Measures the reconstruction of clips; also says what is missing for more."""
    config, missing = video_config(workspace)
    return workspace.evaluate("videos", **config), missing


def video_understanding(workspace: Workspace) -> list[Result]:
    """Measures retrieval of drawn clips, with frames one by one as in the paper, and whole."""
    sets = {"retrieval": {"set": "miniature-retrieval", "task": "retrieval", "kind": "video"}}
    sets["retrieval"]["count"] = workspace.counts.scenes
    embedders = {
        f"{name}, {what}": {"adapter": "atoken", "model": workspace.checkpoint(name), "video": video}
        for name in (CONTINUOUS, DISCRETE)
        for video, what in (("frames", "mean of its frames"), ("whole", "whole clip"))
    }
    return workspace.evaluate("video-understanding", sets=sets, embedders=embedders)


def make_reconstruction(workspace: Workspace) -> Part:
    """Makes Table 6."""
    results, missing = video_results(workspace)
    measured = (
        f"{results[0].numbers['count']} pieces of 16 frames, short side 256 ({workspace.source('video').note}), "
        f"through the tiny checkpoints and codecs of about the same bits: {CONTINUOUS_BITS:g} bits a pixel, "
        f"{DISCRETE_BITS:g} where a name ends in low or -d."
    )
    tables = [TitledTable("Clips", set_table(results)), *stage_table(workspace, "clips")]
    return Part(measured, tables, protocol=protocol_lines(results), missing=missing)


def real_reconstruction() -> Real:
    """Says what Table 6 needs."""
    frames = TOKENBENCH_VIDEOS * TOKENBENCH_FRAMES
    media = [
        Media.videos(f"{DAVIS_FRAMES:,} frames of DAVIS at 1080p", DAVIS_FRAMES, *DAVIS_SIZE),
        Media.videos(f"{frames:,} frames of TokenBench at 720p (300 a video are assumed)", frames, *TOKENBENCH_SIZE),
    ]
    data = "DAVIS at 1080p (50 videos), TokenBench at 720p (471 videos, made by its script); StyleGAN-V's I3D"
    return Real(COMMAND, data, hours_text(media))


def make_understanding(workspace: Workspace) -> Part:
    """Makes Table 7."""
    results = video_understanding(workspace)
    measured = (
        f"{workspace.counts.scenes} drawn clips of 8 frames of 64 x 64, each with a caption that no other has, from "
        "text and to text. Only a whole clip tells motion: the mean of frames, which the paper takes, does not know "
        "their order."
    )
    tables = [
        TitledTable("Drawn clips and texts", understanding_table(results, RANKS)),
        *stage_table(workspace, "videos"),
    ]
    return Part(measured, tables, protocol=protocol_lines(results))


def real_understanding() -> Real:
    """Says what Table 7 needs."""
    frames = 12 * (1_000 + 670)
    media = Media.images(frames, 224, decoded=False)
    data = "MSR-VTT's 1K-A split (1,000 videos) and MSVD's test split (670), at most 12 frames of each"
    return Real(COMMAND, data, hours_text([media]))
