"""Patches of pictures and frames through the encoder: packing, a limited number of tokens at a time, and back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class EncodedMedium:
    """
    Holds which rows of packed patches are one medium and how they are arranged.

    Attributes:
        start: first row.
        grid: (frames, rows, columns) of its patches, each of one frame.
    """

    start: int
    grid: tuple[int, int, int]


def list_media(grid_thw: Sequence[Sequence[int]], num_rows: int, name: str, rows_name: str) -> list[EncodedMedium]:
    """
    Lists the media of packed patches.

    Args:
        grid_thw: frames, rows and columns of each medium.
        num_rows: rows of the packed patches.
        name, rows_name: what to call the two in errors.

    Raises:
        ValueError: if a side is not positive or the sides do not multiply to the rows.
    """
    media, start = [], 0
    for grid in grid_thw:
        if len(grid) != 3 or min(grid) < 1:
            raise ValueError(f"{name} must hold three positive integers for each medium, got {list(grid)}")
        media.append(EncodedMedium(start, tuple(grid)))
        start += grid[0] * grid[1] * grid[2]
    if start != num_rows:
        raise ValueError(f"{name} must multiply to the {num_rows} rows of {rows_name}, got {start}")
    return media


def encode_media(
    tower: nn.Module,
    pixel_values: torch.Tensor,
    media: Sequence[EncodedMedium],
    patch_frames: int,
    clip: bool,
    layer: int | None,
    batch_tokens: int | None,
) -> list[torch.Tensor]:
    """
    Encodes packed patches of single frames.

    Args:
        tower: the encoder; takes (N, patch_dim) with coords (N, 4) and cu_seqlens (B + 1,).
        pixel_values: (N, patch_dim / patch_frames), values in [-1, 1].
        media: which rows are which medium.
        patch_frames: frames of the encoder's patch.
        clip: whether `patch_frames` frames of a medium are encoded together. Otherwise each frame is a sample of its
            own, with frames of zeros behind it, as the encoder knows images.
        layer: which hidden state to take; None for the output after the last norm.
        batch_tokens: patches at a time; None for all of them, by one call.

    Returns:
        One (T', h, w, d) tensor for each medium, with T' = ceil(T / patch_frames) for clips and T otherwise.
    """
    grids = [(-(-medium.grid[0] // patch_frames) if clip else medium.grid[0], *medium.grid[1:]) for medium in media]
    outputs = []
    for pieces in _pieces(media, grids, patch_frames, clip, batch_tokens):
        rows = torch.cat(
            [_rows(pixel_values, media[index], first, last, patch_frames, clip) for index, first, last in pieces]
        )
        samples = [
            sample
            for index, first, last in pieces
            for sample in ([(last - first, *grids[index][1:])] if clip else [(1, *grids[index][1:])] * (last - first))
        ]
        coords, cu_seqlens = _packed_grids(samples)
        states = None if layer is None else [layer]
        encoded = tower(
            pixel_values=rows,
            coords=coords,
            cu_seqlens=cu_seqlens,
            pool=False,
            output_hidden_states=states,
            batch_tokens=len(rows),
            return_dict=True,
        )
        outputs.append(encoded.last_hidden_state if layer is None else encoded.hidden_states[layer])
    features = torch.cat(outputs) if len(outputs) > 1 else outputs[0]
    split = features.split([grid[0] * grid[1] * grid[2] for grid in grids])
    return [part.unflatten(0, grid) for part, grid in zip(split, grids, strict=True)]


def _pieces(media, grids, patch_frames: int, clip: bool, limit: int | None) -> Iterator[list[tuple[int, int, int]]]:
    """Yields what is encoded together: (medium, first frame of features, last + 1), clips always whole."""
    piece, size = [], 0
    for index, grid in enumerate(grids):
        area, first = grid[1] * grid[2], 0
        while first < grid[0]:
            fitting = grid[0] - first
            if limit is not None and not clip:
                fitting = min(fitting, (limit - size) // area if piece else max(1, limit // area))
            too_large = limit is not None and piece and size + (grid[0] - first) * area > limit
            if fitting < 1 or (clip and too_large):
                yield piece
                piece, size = [], 0
                continue
            piece.append((index, first, first + fitting))
            size += fitting * area
            first += fitting
    if piece:
        yield piece


def _rows(pixel_values, medium: EncodedMedium, first: int, last: int, patch_frames: int, clip: bool) -> torch.Tensor:
    """Gives the encoder's rows of a medium's frames of features `first` to `last`, missing frames being zeros."""
    frames, height, width = medium.grid
    area, channels = height * width, pixel_values.shape[1]
    if not clip:
        rows = pixel_values[medium.start + first * area : medium.start + last * area]
        return F.pad(rows, (0, channels * (patch_frames - 1)))
    rows = pixel_values[medium.start : medium.start + frames * area].reshape(frames, area, channels)
    rows = F.pad(rows, (0, 0, 0, 0, 0, -frames % patch_frames))
    # From one row a frame to one row for all frames of a patch.
    return rows.reshape(-1, patch_frames, area, channels).transpose(1, 2).reshape(-1, patch_frames * channels)


def _packed_grids(samples: list[tuple[int, int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Gives coordinates (N, 4) and cumulative lengths (B + 1,) of full grids one after another, on the host."""
    sizes = torch.tensor(samples)
    lengths = sizes.prod(dim=1)
    cu_seqlens = F.pad(lengths.cumsum(0), (1, 0))
    position = torch.arange(int(cu_seqlens[-1])) - cu_seqlens[:-1].repeat_interleave(lengths)
    _, rows, columns = sizes.repeat_interleave(lengths, dim=0).unbind(1)
    t, x, y = position // (rows * columns), position // columns % rows, position % columns
    return torch.stack([t, x, y, torch.zeros_like(t)], dim=1), cu_seqlens.int()


__all__ = ["EncodedMedium", "encode_media", "list_media"]
