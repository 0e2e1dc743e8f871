"""In which order a transformer processes packed tokens, what attends to what, and where each token has its position."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch

# The learned positions are resized to the grid that a sample spans; 512 x 512 patches are 8192 x 8192 pixels.
MAX_GRID_CELLS = 512 * 512


class PackedSequences:
    """
    Lengths of the sequences that attend within themselves, in the order in which they are packed.

    Args:
        runs: (count, query length, key length) of each stretch of neighboring sequences of equal lengths. A run is a
            dense batch, so a backend without variable-length kernels needs one call per run.
        device: where the cumulative lengths are wanted.
    """

    def __init__(self, runs: list[tuple[int, int, int]], device: torch.device):
        self.runs = runs
        self.device = device

    @classmethod
    def from_lengths(
        cls, lengths: list[int], device: torch.device, key_lengths: list[int] | None = None
    ) -> "PackedSequences":
        """Merges neighbors of equal lengths into runs."""
        runs: list[tuple[int, int, int]] = []
        for query, key in zip(lengths, lengths if key_lengths is None else key_lengths, strict=True):
            if runs and runs[-1][1:] == (query, key):
                runs[-1] = (runs[-1][0] + 1, query, key)
            else:
                runs.append((1, query, key))
        return cls(runs, device)

    @cached_property
    def cu_seqlens_q(self) -> torch.Tensor:
        return self._cumulative(1)

    @cached_property
    def cu_seqlens_k(self) -> torch.Tensor:
        return self._cumulative(2)

    @cached_property
    def max_length_q(self) -> int:
        return max(run[1] for run in self.runs)

    @cached_property
    def max_length_k(self) -> int:
        return max(run[2] for run in self.runs)

    def prepare(self) -> None:
        """Computes all that attention asks for, so that a compiled block finds it and need not trace how it is made."""
        self.cu_seqlens_q, self.cu_seqlens_k, self.max_length_q, self.max_length_k  # noqa: B018

    def with_tensors(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "PackedSequences":
        """Gives a copy that holds its cumulative lengths already, each changed, such as moved to another device."""
        copy = PackedSequences(self.runs, self.device)
        copy.cu_seqlens_q, copy.cu_seqlens_k = change(self.cu_seqlens_q), change(self.cu_seqlens_k)
        copy.device = copy.cu_seqlens_q.device
        return copy

    def to(self, device: torch.device, non_blocking: bool = False) -> "PackedSequences":
        """Gives the sequences for blocks on a device."""
        if torch.device(device) == self.device:
            return self
        return self.with_tensors(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def _cumulative(self, which: int) -> torch.Tensor:
        counts = torch.tensor([run[0] for run in self.runs])
        lengths = torch.repeat_interleave(torch.tensor([run[which] for run in self.runs]), counts)
        cumulative = torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)
        return cumulative.to(self.device, non_blocking=True)

    def split(self, max_tokens: int) -> list[tuple[int, int, "PackedSequences"]]:
        """Cuts between sequences into pieces of at most `max_tokens` query tokens (a longer sequence stays whole).

        Returns (first token, last token + 1, sequences) of each piece.
        """
        pieces: list[tuple[int, int, PackedSequences]] = []
        runs: list[tuple[int, int, int]] = []
        start = end = 0
        for count, query, key in self.runs:
            while count:
                # None fits after a sequence that is longer than a piece; such a one stays whole, in a piece of its own.
                take = max(0, min(count, (max_tokens - (end - start)) // query))
                if take == 0 and end == start:
                    take = 1
                if take:
                    runs.append((take, query, key))
                    end += take * query
                    count -= take
                if count:
                    pieces.append((start, end, PackedSequences(runs, self.device)))
                    runs, start = [], end
        pieces.append((start, end, PackedSequences(runs, self.device)))
        return pieces


@dataclass
class TokenLayout:
    """
    Holds the order in which a transformer processes tokens, and their positions in it.

    Attributes:
        coords: (N, 4) with t counted from the start of the token's tile.
        order: (N,) index into the given tokens, or None if they are processed as given.
        sequences: what attends to what.
        grids: the distinct (rows, columns) that sequences span.
        grid_index: (N,) row of each token in the tables of all `grids`, flattened and concatenated.
    """

    coords: torch.Tensor
    order: torch.Tensor | None
    sequences: PackedSequences
    grids: list[tuple[int, int]]
    grid_index: torch.Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> "TokenLayout":
        """Gives the layout on a device."""
        coords = self.coords.to(device, non_blocking=non_blocking)
        if coords is self.coords:
            return self
        order = None if self.order is None else self.order.to(device, non_blocking=non_blocking)
        return replace(
            self,
            coords=coords,
            order=order,
            sequences=self.sequences.to(device, non_blocking),
            grid_index=self.grid_index.to(device, non_blocking=non_blocking),
        )

    def gather(self, tokens: torch.Tensor) -> torch.Tensor:
        """Brings tokens (N, ...) from the given order into the processing order."""
        return tokens if self.order is None else tokens[self.order]

    def piece(self, start: int, end: int, sequences: PackedSequences) -> "TokenLayout":
        """Gives the part of tokens [start, end), which hold whole sequences."""
        return TokenLayout(self.coords[start:end], None, sequences, self.grids, self.grid_index[start:end])


def sample_index(lengths: list[int], device: torch.device) -> torch.Tensor:
    """Tells the sample (N,) that each packed token belongs to."""
    counts = torch.tensor(lengths, device=device)
    return torch.repeat_interleave(torch.arange(len(lengths), device=device), counts, output_size=sum(lengths))


def from_first_frame(coords: torch.Tensor, sample: torch.Tensor, num_samples: int) -> torch.Tensor:
    """Shifts t so that it starts at 0 in every sample: coords (N, 4) int64."""
    coords = coords.long()
    t = coords[:, 0]
    first = t.new_zeros(num_samples).scatter_reduce_(0, sample, t, "amin", include_self=False)
    return torch.cat([(t - first[sample])[:, None], coords[:, 1:]], dim=1)


def _check_grid(rows: int, columns: int) -> None:
    if rows * columns > MAX_GRID_CELLS:
        raise ValueError(
            f"coords span a grid of {rows} x {columns} patches; at most {MAX_GRID_CELLS} cells are supported. "
            "Give [t, x, y, z] in patches, not pixels, and count them from 0"
        )


def grid_positions(coords: torch.Tensor, sequence: torch.Tensor, num_sequences: int):
    """
    Finds where each token has its learned position.

    Args:
        coords: (N, 4).
        sequence: (N,) the sequence that a token is in.
        num_sequences: S.

    Returns:
        The distinct (rows, columns) of the sequences' grids, and the index (N,) into their concatenated tables.
    """
    x, y = coords[:, 1], coords[:, 2]
    extent = coords.new_zeros(num_sequences, 2)
    extent.scatter_reduce_(0, sequence[:, None].expand(-1, 2), coords[:, 1:3], "amax")
    # One transfer to the host: resizing needs the sizes as numbers.
    distinct, which = torch.unique((extent + 1).cpu(), dim=0, return_inverse=True)
    grids = [(rows, columns) for rows, columns in distinct.tolist()]
    for rows, columns in grids:
        _check_grid(rows, columns)
    if len(grids) == 1:
        return grids, x * grids[0][1] + y
    offsets = torch.nn.functional.pad(distinct.prod(1).cumsum(0), (1, 0))[:-1][which].to(coords.device)
    columns = distinct[which, 1].to(coords.device)
    return grids, offsets[sequence] + x * columns[sequence] + y


def packed_layout(coords: torch.Tensor, lengths: list[int], tile: int) -> TokenLayout:
    """
    Cuts every sample at the same latent frames into independent tiles; t restarts at 0 in each.

    Tiles are sorted by length, so that a video's full tiles make one dense batch.

    Args:
        coords: (N, 4).
        lengths: tokens of each sample.
        tile: latent frames of a tile.

    Raises:
        ValueError: if a sample spans too large a grid.
    """
    device = coords.device
    sample = sample_index(lengths, device)
    coords = from_first_frame(coords, sample, len(lengths))
    tile_of_token = torch.div(coords[:, 0], tile, rounding_mode="floor")
    key = tile_of_token + sample * (tile_of_token.max() + 1)
    _, sequence, counts = torch.unique(key, sorted=True, return_inverse=True, return_counts=True)
    sizes = counts.tolist()
    by_size = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    rank = torch.empty(len(sizes), dtype=torch.long)
    rank[torch.tensor(by_size)] = torch.arange(len(sizes))
    sequence = rank.to(device)[sequence]
    coords = torch.cat([(coords[:, 0] - tile_of_token * tile)[:, None], coords[:, 1:]], dim=1)
    order = None
    if not bool((sequence.diff() >= 0).all()):
        order = torch.argsort(sequence, stable=True)
        coords, sequence = coords[order], sequence[order]
    grids, grid_index = grid_positions(coords, sequence, len(sizes))
    sequences = PackedSequences.from_lengths([sizes[i] for i in by_size], device)
    return TokenLayout(coords, order, sequences, grids, grid_index)


def dense_layout(batch: int, grid: tuple[int, int, int], tile: int, device: torch.device) -> TokenLayout:
    """
    Lays out `batch` equal samples of `grid` = (latent frames, rows, columns) tokens. Only shapes enter, so it
    traces and compiles.
    """
    frames, rows, columns = grid
    full, rest = divmod(frames, tile)
    cells = rows * columns
    order = None
    if full and rest:
        # Full tiles of all samples first, then the short ones, so that each kind is one dense batch.
        index = torch.arange(batch * frames * cells, device=device).view(batch, frames, cells)
        order = torch.cat([index[:, : full * tile].flatten(), index[:, full * tile :].flatten()])
    stretches = [(batch * full, tile)] if full else []
    if rest:
        stretches.append((batch, rest))
    coords = torch.cat([grid_coords((length, rows, columns), device).repeat(count, 1) for count, length in stretches])
    runs = [(count, length * cells, length * cells) for count, length in stretches]
    grid_index = coords[:, 1] * columns + coords[:, 2]
    return TokenLayout(coords, order, PackedSequences(runs, device), [(rows, columns)], grid_index)


def grid_coords(grid: tuple[int, int, int], device: torch.device) -> torch.Tensor:
    """Gives coordinates (t * h * w, 4) of a full grid, in the order t, x, y, with z = 0."""
    t, x, y = (torch.arange(n, device=device) for n in grid)
    axes = torch.meshgrid(t, x, y, indexing="ij")
    return torch.stack([*axes, torch.zeros_like(axes[0])], dim=-1).view(-1, 4)
