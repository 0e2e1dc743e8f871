"""How clips are cut into temporal tiles in training (paper, section 3.4): one tile each, or windows in a row."""

import random
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from atoken import AtokenConfig
from atoken.packed_layouts_atoken import PackedLayout

from ..data.batches import TrainingBatch

WHOLE = "sample"
CACHED_TASK = "video_reconstruction"  # the only one whose clips may run through the temporal cache


@dataclass(frozen=True)
class Cut:
    """
    Says how samples are cut in a share of the steps.

    Attributes:
        share: of the steps, above 0 and at most 1.
        tile: latent frames of a tile.
        cache: latent frames before a tile that it attends to, too.
    """

    share: float
    tile: int
    cache: int = 0


@dataclass(frozen=True)
class Tiles:
    """
    Says how encoder and decoder cut the clips of a batch.

    Attributes:
        config: of the model.
        frames: of a tile; "sample" for one tile a clip, 4 to 8 latent frames in the paper; None for the model's own.
        cached_share: of the steps of video reconstruction whose clips run through the temporal cache instead, window
            by window of the model's own tile, so that weights learn what a window sees of the one before.
        seed: decides which steps these are, the same in all processes.
    """

    config: AtokenConfig
    frames: int | str | None = None
    cached_share: float = 0.0
    seed: int = 0

    def __post_init__(self):
        is_number = isinstance(self.frames, int) and not isinstance(self.frames, bool)
        patch = self.config.vision_config.patch_size[0]
        if self.frames not in (None, WHOLE) and not (is_number and self.frames > 0 and self.frames % patch == 0):
            raise ValueError(f'tile_frames must be "sample" or a multiple of {patch}, got {self.frames!r}')
        if not 0 <= self.cached_share <= 1:
            raise ValueError(f"cached_share must be from 0 to 1, got {self.cached_share}")

    def latent_frames(self, last: int) -> int:
        """Gives the latent frames of a tile in a batch whose last latent frame is `last`, counted from 0."""
        if self.frames == WHOLE:
            return last + 1
        patch = self.config.vision_config.patch_size[0]
        return (self.config.vision_config.tile_frames if self.frames is None else self.frames) // patch

    def cuts(self, task: str, last: int) -> list[Cut]:
        """
        Lists how the steps of a task cut its batches; the shares add up to 1.

        Args:
            task: such as "video_reconstruction".
            last: latent frame of a batch, counted from 0.
        """
        cached = self.cached_share if task == CACHED_TASK else 0.0
        own = self.config.vision_config.tile_frames // self.config.vision_config.patch_size[0]
        cuts = Cut(1 - cached, self.latent_frames(last)), Cut(cached, own, own)
        return [cut for cut in cuts if cut.share]

    def is_cached(self, task: str, step: int) -> bool:
        """Tells whether clips of a task run through the temporal cache in a step of the run."""
        return task == CACHED_TASK and random.Random(f"{self.seed} {step}").random() < self.cached_share

    def layout(self, task: str, coords: torch.Tensor, lengths: list[int]) -> PackedLayout:
        """
        Makes the layout of a batch on the host, for `TrainingBatch.layout`.

        Args:
            task: such as "video_reconstruction".
            coords: (N, 4) on the CPU, with t from 0 in every sample.
            lengths: tokens of each sample.
        """
        gaussians = self.config.gaussian_config if task == "3d_reconstruction" else None
        return PackedLayout.build(coords, lengths, self.latent_frames(int(coords[:, 0].max())), gaussians)

    def options(self, batch: TrainingBatch, step: int) -> dict[str, Any]:
        """
        Gives the arguments of encoder and decoder that cut a batch.

        Args:
            step: of the run, the same in all processes. Sharded blocks have to run as often in each of them: once for
                a batch, or for each of its windows, see `packed`.
        """
        # Whole batches at once: with gradients, pieces would need as much memory.
        options: dict[str, Any] = {"batch_tokens": batch.num_tokens}
        if self.is_cached(batch.task, step):
            tile = self.config.vision_config.tile_frames
            return options | {"tile_frames": tile, "cache_frames": tile}
        if batch.layout is not None:
            return options | {"layout": batch.layout}
        if self.frames is None:
            return options
        tile_frames = self.latent_frames(last_frame(batch)) * self.config.vision_config.patch_size[0]
        return options | {"tile_frames": tile_frames}

    def packed(self, batch: TrainingBatch, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Gives the tokens of a batch, in as many windows as every process has, in a step through the temporal cache.

        Clips may be shorter than all were to be in the step. If all of a batch are, and it has fewer windows for it, a
        sample of one empty token in each window follows its own ones, of which nothing is wanted.

        Args:
            step: of the run.

        Returns:
            `pixel_values`, `coords` and `cu_seqlens`.
        """
        packed = batch.pixel_values, batch.coords, batch.cu_seqlens
        if batch.step_frames is None or not self.is_cached(batch.task, step):
            return packed
        patch = self.config.vision_config.patch_size[0]
        tile = self.config.vision_config.tile_frames // patch
        windows = -(-batch.step_frames // (tile * patch))
        if last_frame(batch) // tile + 1 >= windows:
            return packed
        pixel_values, coords, cu_seqlens = packed
        filling = F.pad(tile * torch.arange(windows, device=coords.device)[:, None], (0, 3))
        ends = torch.cat([cu_seqlens, cu_seqlens[-1:] + windows])
        return F.pad(pixel_values, (0, 0, 0, windows)), torch.cat([coords, filling.to(coords)]), ends


def last_frame(batch: TrainingBatch) -> int:
    """Gives the last latent frame of a batch, counted from 0; objects have one frame."""
    return max((grid[0] for grid in batch.grids if grid is not None), default=1) - 1
