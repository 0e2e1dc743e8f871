"""Figure 6: a clip through temporal tiles with a cache, alone, and overlapping; seconds and PSNR, measured."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from atoken.pages.paper import TitledTable
from atoken.pages.report import Table
from atoken.tokenizing.loading import LoadedModel, load_model
from atoken.tokenizing.quality import psnr
from atoken.tokenizing.streams import MediaStream

from ..sets.video_sets import load_video
from ..yaml_files import read_yaml
from .counting import Media, hours_text
from .curriculum_table import FILES, STAGES
from .parts import Part
from .protocol import facts_text
from .reconstruction_config import CONTINUOUS
from .section import Real
from .workspace import Workspace

FRAMES, SIDE, TILE, OVERLAP = 64, 128, 16, 8
CACHES = (4, 8, 16)
REPEATS = 3
HEADING = ["temporal tiles", "encode, s", "decode, s", "frames encoded", "PSNR ↑", "PSNR at the seams ↑"]


def make(workspace: Workspace) -> Part:
    """Makes Figure 6."""
    source = workspace.source("video")
    loaded = load_model(workspace.checkpoint(CONTINUOUS), "cpu", "float32")
    clip = load_video(source.folder / source.names[0], FRAMES, SIDE, 16)  # (T, 3, H, W)
    methods: dict[str, Callable[[], tuple[torch.Tensor, float, float, int]]] = {
        "alone": lambda: tiled(loaded, clip, 0),
        **{f"with a cache of {frames} frames": _cached(loaded, clip, frames) for frames in CACHES},
        f"overlapping by {OVERLAP} frames, blended": lambda: overlapping(loaded, clip),
    }
    rows = []
    for name, method in methods.items():
        workspace.progress(f"{len(clip)} frames: tiles {name}")
        method()  # memory and caches of libraries are there from now on
        runs = [method() for _ in range(REPEATS)]
        encode, decode = (statistics.median(run[place] for run in runs) for place in (1, 2))
        result, frames = runs[0][0], runs[0][3]
        value, at_seams = psnr(result, clip), psnr(seams(result), seams(clip))
        rows.append([name, f"{encode:.2f}", f"{decode:.2f}", str(frames), f"{value:.2f}", f"{at_seams:.2f}"])
    measured = (
        f"The first {len(clip)} frames of {source.names[0]}, {clip.shape[3]} x {clip.shape[2]}, through {CONTINUOUS} "
        f"in tiles of {TILE} frames, encoder and decoder in the same way. Seams are the last and the first frame of "
        f"neighboring tiles. Seconds are medians of {REPEATS} runs on this machine. {_training_note(workspace)}"
    )
    facts = {
        "model": loaded.name,
        "decoder_fingerprint": loaded.fingerprint,
        "clip": source.note,
        "dtype": "float32",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    return Part(measured, [TitledTable("Ways of tiling", Table(HEADING, rows))], protocol=[facts_text(facts)])


def tiled(loaded: LoadedModel, clip: torch.Tensor, cache_frames: int) -> tuple[torch.Tensor, float, float, int]:
    """
    Encodes and decodes a clip tile by tile.

    Args:
        loaded: the model.
        clip: (T, 3, H, W) uint8.
        cache_frames: frames of the past whose keys and values a tile attends to, in encoder and decoder.

    Returns:
        The result (T, 3, H, W) uint8, seconds of encoding and of decoding, and how many frames were encoded.
    """
    stream = MediaStream.of_frames(loaded, clip.permute(0, 2, 3, 1).numpy())
    patches = [piece.patches for piece in stream]
    start = time.perf_counter()
    options: dict[str, Any] = {"tile_frames": TILE, "cache_frames": cache_frames, "as_patches": True}
    latents = list(loaded.model.encode_stream(patches, **options))
    middle = time.perf_counter()
    decoded = list(loaded.model.decode_stream(latents, **options))
    end = time.perf_counter()
    frames = torch.cat([torch.from_numpy(stream.to_pixels(piece.float())) for piece in decoded])
    return frames[: len(clip)].permute(0, 3, 1, 2).contiguous(), middle - start, end - middle, len(clip)


def overlapping(loaded: LoadedModel, clip: torch.Tensor) -> tuple[torch.Tensor, float, float, int]:
    """Encodes and decodes tiles that overlap, each by itself, and blends what two of them show; as `tiled`."""
    total = torch.zeros(clip.shape)
    weights = torch.zeros(len(clip), 1, 1, 1)
    encode = decode = 0.0
    encoded = 0
    for start in range(0, max(len(clip) - OVERLAP, 1), TILE - OVERLAP):
        window = clip[start : start + TILE]
        result, first, second, frames = tiled(loaded, window, 0)
        weight = _ramp(len(window), start > 0, start + TILE < len(clip))[:, None, None, None]
        total[start : start + TILE] += weight * result
        weights[start : start + TILE] += weight
        encode, decode, encoded = encode + first, decode + second, encoded + frames
    return (total / weights).round().to(torch.uint8), encode, decode, encoded


def _ramp(frames: int, rises: bool, falls: bool) -> torch.Tensor:
    """Gives weights (frames,) that rise over the overlap with the tile before, and fall over that with the next."""
    weight, slope = torch.ones(frames), (torch.arange(OVERLAP) + 0.5) / OVERLAP
    if rises:
        shared = min(OVERLAP, frames)
        weight[:shared] *= slope[:shared]
    if falls:
        weight[-OVERLAP:] *= slope.flip(0)
    return weight


def _cached(loaded: LoadedModel, clip: torch.Tensor, frames: int) -> Callable[[], Any]:
    return lambda: tiled(loaded, clip, frames)


def seams(clip: torch.Tensor) -> torch.Tensor:
    """Takes the frames on both sides of the borders of tiles; all frames of a clip of one tile."""
    borders = range(TILE, len(clip), TILE)
    return clip[[place for border in borders for place in (border - 1, border)]] if len(borders) else clip


def _training_note(workspace: Workspace) -> str:
    """Says whether the weights have seen a cache in training, by their stage files."""
    pattern = FILES["Tiny, on a laptop"]
    files = [workspace.root / pattern.format(stage) for stage in STAGES]
    if not all(path.is_file() for path in files):
        return ""
    if any("cached_share" in read_yaml(path, "stage") for path in files):
        return "A share of the steps of training went through the cache."
    return (
        "These weights never saw a cache in training (their stage files have no cached_share, those of So400m do), so "
        "what a cache does to PSNR here is not what it does to weights that know it."
    )


def real() -> Real:
    """Says what Figure 6 needs."""
    media = [Media.videos("a video of 64 frames at 720p", 64, 720, 1280)]
    return Real(
        "python benchmarks/streaming.py --size so400m --device cuda for memory and seconds; PSNR through "
        "`encode_stream` and `decode_stream` of So/C with `cache_frames`",
        "any video; the paper's figure is a drawing without numbers",
        hours_text(media),
    )
