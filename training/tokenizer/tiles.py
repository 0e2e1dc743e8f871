"""How clips are cut into temporal tiles in training (paper, section 3.4): one tile each, or windows in a row."""

import random
from dataclasses import dataclass
from typing import Any

import torch

from atoken import AtokenConfig
from atoken.packed_layouts_atoken import PackedLayout

from ..data.batches import TrainingBatch

WHOLE = "sample"


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
            step: of the run, the same in all processes; sharded blocks have to run as often in each of them.
        """
        # Whole batches at once: with gradients, pieces would need as much memory.
        options: dict[str, Any] = {"batch_tokens": batch.num_tokens}
        if batch.task == "video_reconstruction" and random.Random(f"{self.seed} {step}").random() < self.cached_share:
            tile = self.config.vision_config.tile_frames
            return options | {"tile_frames": tile, "cache_frames": tile}
        if batch.layout is not None:
            return options | {"layout": batch.layout}
        if self.frames is None:
            return options
        last = max((grid[0] for grid in batch.grids if grid is not None), default=1) - 1
        return options | {"tile_frames": self.latent_frames(last) * self.config.vision_config.patch_size[0]}
