"""Packed samples of one task: made as bytes on the host, turned into numbers on the device.

A token of an image is 768 bytes this way, where the same as a row of the model's input would be 12,288.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.data import get_worker_info

from atoken.processing import Cameras
from atoken.processing.patching_atoken import PATCH_SIZE

from .samples import TrainingSample

TOKEN_VALUES = PATCH_SIZE[0] * PATCH_SIZE[1] * PATCH_SIZE[2] * 3
Tokenize = Callable[[Sequence[str]], torch.Tensor]
# Task, coords and lengths -> what a model wants to know of a batch beforehand; has `to` and `pin_memory`.
MakeLayout = Callable[[str, torch.Tensor, list[int]], Any]


@dataclass
class TrainingBatch:
    """
    Holds packed samples of one task.

    Attributes:
        task: which.
        pixel_values: (N, 3072) float32 in [-1, 1]; before `to`, (N, W) uint8, the W values that tokens have.
        coords: (N, 4) int64; cu_seqlens: (B + 1,) int32.
        grids: (t, h, w) of every sample, of images and videos.
        lengths: tokens of every sample, known without asking the device.
        numbers: of the samples, over all processes and the whole run; what is random about a sample follows from it.
        input_ids: (B, length), of understanding.
        views: a (K, 3, S, S) uint8 tensor for every sample, and its cameras, of 3D reconstruction.
        layout: what the model wants to know of this batch beforehand, as whoever opened the data asked for.
        step_samples: samples that each process has in this step of this task.
        step_frames: that clips have in this step, in every process, unless they are shorter; None for other media.
        text_embeds: (B, d), the texts' embeddings, in place of `input_ids` where they have been computed already.
        true_values: (N,) int32, how many values of a token are the medium's own; None if all are. Others become 0.
    """

    task: str
    pixel_values: torch.Tensor
    coords: torch.Tensor
    cu_seqlens: torch.Tensor
    grids: list[tuple[int, int, int] | None]
    lengths: list[int]
    numbers: list[int]
    input_ids: torch.Tensor | None = None
    views: list[torch.Tensor] = field(default_factory=list)
    cameras: list[Cameras] = field(default_factory=list)
    layout: Any = None
    step_samples: list[int] = field(default_factory=list)
    step_frames: int | None = None
    text_embeds: torch.Tensor | None = None
    true_values: torch.Tensor | None = None

    @property
    def num_samples(self) -> int:
        """Counts the samples."""
        return len(self.grids)

    @property
    def num_tokens(self) -> int:
        """Counts the tokens of all samples."""
        return len(self.coords)

    @property
    def weighed_by_tokens(self) -> bool:
        """Tells whether the loss is a mean over tokens; understanding compares samples."""
        return not self.task.endswith("understanding")

    def to(self, device: torch.device | str) -> "TrainingBatch":
        """
        Gives a copy whose tensors lie on a device, where bytes become numbers; cameras stay, the renderer moves them.

        From pinned memory the host does not wait for it.
        """
        moved = self._changed(lambda tensor: tensor.to(device, non_blocking=True))
        if self.layout is not None:
            moved.layout = self.layout.to(device)
        if moved.pixel_values.dtype == torch.uint8:
            moved.pixel_values = _normalized(moved.pixel_values, moved.true_values)
            moved.true_values = None
        return moved

    def pin_memory(self) -> "TrainingBatch":
        """Gives a copy in pinned memory; data loaders call this."""
        pinned = self._changed(lambda tensor: tensor.pin_memory())
        if self.layout is not None:
            pinned.layout = self.layout.pin_memory()
        return pinned

    def _changed(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "TrainingBatch":
        changed = copy.copy(self)
        for name in ("pixel_values", "coords", "cu_seqlens", "input_ids", "text_embeds", "true_values"):
            value = getattr(self, name)
            setattr(changed, name, None if value is None else change(value))
        changed.views = [change(views) for views in self.views]
        return changed


def _normalized(values: torch.Tensor, true_values: torch.Tensor | None) -> torch.Tensor:
    """Turns (N, W) bytes into (N, 3072) float32 in [-1, 1], with zeros where there is no medium."""
    numbers = values.float().div_(127.5).sub_(1)
    if true_values is not None:
        beyond = torch.arange(values.shape[1], device=values.device) >= true_values[:, None]
        numbers.masked_fill_(beyond, 0)
    return torch.nn.functional.pad(numbers, (0, TOKEN_VALUES - values.shape[1]))


def pack(
    task: str,
    samples: Sequence[TrainingSample],
    numbers: Sequence[int],
    tokenize: Tokenize | None,
    make_layout: MakeLayout | None = None,
    step_samples: Sequence[int] = (),
    step_frames: int | None = None,
) -> TrainingBatch:
    """
    Packs samples as bytes.

    Args:
        task: which.
        samples: at least one.
        numbers: of the samples.
        tokenize: turns their captions into ids, or into embeddings, where they have any.
        make_layout: see `TrainingBatch.layout`.
        step_samples, step_frames: see `TrainingBatch`.
    """
    lengths = [len(sample) for sample in samples]
    captions = [sample.caption for sample in samples]
    coords = torch.cat([sample.coords for sample in samples])
    texts = tokenize(captions) if captions[0] is not None else None
    is_embedded = texts is not None and texts.is_floating_point()
    pixel_values, true_values = _bytes(samples)
    return TrainingBatch(
        task,
        pixel_values,
        coords,
        torch.tensor([0, *lengths]).cumsum(0).to(torch.int32),
        [sample.grid for sample in samples],
        lengths,
        list(numbers),
        None if is_embedded else texts,
        [sample.views for sample in samples if sample.views is not None],
        [sample.cameras for sample in samples if sample.cameras is not None],
        None if make_layout is None else make_layout(task, coords, lengths),
        list(step_samples),
        step_frames,
        texts if is_embedded else None,
        true_values,
    )


def collate(
    task: str, samples: Sequence[TrainingSample], numbers: Sequence[int], tokenize: Tokenize | None
) -> TrainingBatch:
    """Packs samples as numbers, ready for a model on the CPU; see `pack`."""
    return pack(task, samples, numbers, tokenize).to("cpu")


def _bytes(samples: Sequence[TrainingSample]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Joins tokens of samples: (N, W) uint8, and how many values of each are true, None if all are."""
    width = max(sample.pixel_values.shape[1] for sample in samples)
    joined, place = _shared_bytes(sum(map(len, samples)), width), 0
    true_values = torch.full((len(joined),), width, dtype=torch.int32)
    for sample in samples:
        end, values = place + len(sample), sample.pixel_values.shape[1]
        joined[place:end, :values] = sample.pixel_values
        joined[place:end, values:] = 0
        # Only the last latent frame of a clip is not full.
        latent_frames = 1 if sample.grid is None else sample.grid[0]
        last = (sample.frames - (latent_frames - 1) * PATCH_SIZE[0]) * TOKEN_VALUES // PATCH_SIZE[0]
        true_values[place:end] = values
        true_values[end - len(sample) // latent_frames : end] = min(last, values)
        place = end
    return joined, None if bool((true_values == width).all()) else true_values


def _shared_bytes(rows: int, width: int) -> torch.Tensor:
    """Allocates (rows, width) uint8; in a worker where the process that trains reads it, so that nothing is copied."""
    if get_worker_info() is None:
        return torch.empty(rows, width, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(rows * width)
    return torch.empty(0, dtype=torch.uint8).set_(storage, 0, (rows, width))
