"""Arithmetic on packed tokens: patches and back, samples, temporal tiles and their order in a batch.

A token is a row of features and integer coordinates [t, x, y, z]: latent frame, patch row (height), patch column
(width), depth. A batch is packed: the tokens of one sample after another, `cu_seqlens` (B + 1,) telling where each
starts. Everything here is computed once per forward pass, without a loop over tokens.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch

# fp32, in which positions are rotated, cannot tell larger integers apart.
MAX_COORDINATE = 2**24
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

    def gather(self, tokens: torch.Tensor) -> torch.Tensor:
        """Brings tokens (N, ...) from the given order into the processing order."""
        return tokens if self.order is None else tokens[self.order]

    def piece(self, start: int, end: int, sequences: PackedSequences) -> "TokenLayout":
        """Gives the part of tokens [start, end), which hold whole sequences."""
        return TokenLayout(self.coords[start:end], None, sequences, self.grids, self.grid_index[start:end])


def check_packed(coords: torch.Tensor, cu_seqlens: torch.Tensor, num_tokens: int) -> list[int]:
    """
    Checks that packed coordinates and lengths fit the tokens.

    Args:
        coords: (N, 4) integers.
        cu_seqlens: (B + 1,) integers.
        num_tokens: N.

    Returns:
        The number of tokens of each sample.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    for name, value in (("coords", coords), ("cu_seqlens", cu_seqlens)):
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"{name} must be a tensor of integers, got {type(value).__name__}")
    integers = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)
    if coords.ndim != 2 or coords.shape[1] != 4 or coords.dtype not in integers:
        raise ValueError(
            f"coords must be integers of shape (N, 4) holding [t, x, y, z], got {coords.dtype} {tuple(coords.shape)}"
        )
    if coords.shape[0] != num_tokens:
        raise ValueError(f"coords must have one row per token: got {coords.shape[0]} rows for {num_tokens} tokens")
    if cu_seqlens.ndim != 1 or cu_seqlens.shape[0] < 2 or cu_seqlens.dtype not in integers:
        raise ValueError(
            "cu_seqlens must be integers of shape (B + 1,) that begin with 0 and end with the number of tokens, got "
            f"{cu_seqlens.dtype} {tuple(cu_seqlens.shape)}"
        )
    cumulative = cu_seqlens.tolist()
    lengths = [end - start for start, end in zip(cumulative, cumulative[1:], strict=False)]
    if cumulative[0] != 0 or cumulative[-1] != num_tokens or min(lengths) < 1:
        shown = cumulative if len(cumulative) <= 12 else [*cumulative[:6], "...", *cumulative[-5:]]
        raise ValueError(
            f"cu_seqlens must increase from 0 to the number of tokens, {num_tokens}, without an empty sample; got "
            f"{shown}"
        )
    low, high = torch.stack(coords.aminmax()).tolist()
    if low < 0 or high >= MAX_COORDINATE:
        raise ValueError(f"coords must be in [0, {MAX_COORDINATE}), got values from {low} to {high}")
    return lengths


def _check_grid(rows: int, columns: int) -> None:
    if rows * columns > MAX_GRID_CELLS:
        raise ValueError(
            f"coords span a grid of {rows} x {columns} patches; at most {MAX_GRID_CELLS} cells are supported. "
            "Give [t, x, y, z] in patches, not pixels, and count them from 0"
        )


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


@dataclass
class TokenBatch:
    """
    Holds samples as packed tokens, of one full grid each (`grid` is set) or of any coordinates (`coords` is set).

    Attributes:
        features: (N, F).
        packed_lengths: tokens of each sample of a packed batch.
        grid: (latent frames, rows, columns) of every sample of a dense batch.
        coords: (N, 4) of a packed batch.
    """

    features: torch.Tensor
    packed_lengths: list[int] | None = None
    grid: tuple[int, int, int] | None = None
    coords: torch.Tensor | None = None

    @classmethod
    def from_grid(cls, features: torch.Tensor) -> "TokenBatch":
        """Takes (B, t, h, w, F)."""
        _, *grid, width = features.shape
        return cls(features.reshape(-1, width), grid=tuple(grid))

    @classmethod
    def from_packed(cls, features: torch.Tensor, coords: torch.Tensor, cu_seqlens: torch.Tensor) -> "TokenBatch":
        """Takes packed tokens (N, F), their coordinates (N, 4) and cumulative lengths (B + 1,); ValueError if they do
        not fit."""
        lengths = check_packed(coords, cu_seqlens, features.shape[0])
        return cls(features, lengths, coords=coords.to(features.device))

    @property
    def num_samples(self) -> int:
        if self.grid is None:
            return len(self.packed_lengths)
        # By arithmetic, as in an exported program the number of samples is a symbol.
        return self.features.shape[0] // math.prod(self.grid)

    @property
    def lengths(self) -> list[int]:
        """Counts the tokens of each sample."""
        return self.packed_lengths if self.grid is None else [math.prod(self.grid)] * self.num_samples

    def layout(self, tile: int) -> TokenLayout:
        """Gives the layout in which temporal tiles of `tile` latent frames are independent sequences."""
        if self.grid is not None:
            return dense_layout(self.num_samples, self.grid, tile, self.features.device)
        return packed_layout(self.coords, self.lengths, tile)

    def packed(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Gives coordinates (N, 4) and cumulative lengths (B + 1,) int32."""
        device = self.features.device
        if self.grid is not None:
            return pack_grids(self.num_samples, self.grid, device)
        return self.coords, PackedSequences.from_lengths(self.lengths, device).cu_seqlens_q

    def pooling_sequences(self) -> PackedSequences:
        """Gives sequences of one query for all tokens of each sample."""
        device = self.features.device
        if self.grid is not None:
            return PackedSequences([(self.num_samples, 1, math.prod(self.grid))], device)
        return PackedSequences.from_lengths([1] * self.num_samples, device, self.lengths)


def temporal_windows(batch: TokenBatch, stride: int):
    """
    Cuts a batch at the same latent frames, for processing in time order.

    Returns:
        The coordinates (N, 4) with t from 0 in each sample, the sample (N,) of each token, an order (N,) in which
        windows come one after another and samples are together within one, and for each window
        (first token, last token + 1, first latent frame, number of latent frames).
    """
    coords, _ = batch.packed()
    sample = sample_index(batch.lengths, coords.device)
    coords = from_first_frame(coords, sample, batch.num_samples)
    window = torch.div(coords[:, 0], stride, rounding_mode="floor")
    order = torch.argsort(window * batch.num_samples + sample, stable=True)
    ids, counts = torch.unique(window, return_counts=True)
    total = int(coords[:, 0].max()) + 1
    windows, first = [], 0
    for index, count in zip(ids.tolist(), counts.tolist(), strict=True):
        windows.append((first, first + count, index * stride, min(stride, total - index * stride)))
        first += count
    return coords, sample, order, windows


def pack_grids(batch: int, grid: tuple[int, int, int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Gives coordinates (N, 4) and cumulative lengths (B + 1,) int32 of `batch` full grids (frames, rows, columns)."""
    coords = grid_coords(grid, device).repeat(batch, 1)
    length = grid[0] * grid[1] * grid[2]
    return coords, torch.arange(batch + 1, device=device, dtype=torch.int32) * length


def patchify(video: torch.Tensor, patch_size: tuple[int, int, int]) -> torch.Tensor:
    """
    Cuts (B, T, C, H, W) into patches (B, t, h, w, patch_dim), each flattened frame, row, column, channel.

    T is filled up with zeros (mid-gray) to a multiple of the patch's frames.

    Raises:
        ValueError: if H or W is not a multiple of the patch.
    """
    frames, height, width = patch_size
    batch, total, channels, rows, columns = video.shape
    if rows % height or columns % width:
        raise ValueError(
            f"pixel_values must have a height and width that are multiples of {height} and {width}, got {rows} x "
            f"{columns}; AtokenProcessor pads them and gives the true size back"
        )
    missing = -total % frames
    if missing:
        video = torch.nn.functional.pad(video, (0, 0, 0, 0, 0, 0, 0, missing))
    t, h, w = (total + missing) // frames, rows // height, columns // width
    video = video.reshape(batch, t, frames, channels, h, height, w, width)
    return video.permute(0, 1, 4, 6, 2, 5, 7, 3).reshape(batch, t, h, w, frames * height * width * channels)


def unpatchify(patches: torch.Tensor, patch_size: tuple[int, int, int]) -> torch.Tensor:
    """Puts patches (B, t, h, w, patch_dim) together again: (B, T, C, H, W)."""
    frames, height, width = patch_size
    batch, t, h, w, features = patches.shape
    channels = features // (frames * height * width)
    patches = patches.reshape(batch, t, h, w, frames, height, width, channels)
    return patches.permute(0, 1, 4, 7, 2, 5, 3, 6).reshape(batch, t * frames, channels, h * height, w * width)


def valid_pixels(
    coords: torch.Tensor, sample: torch.Tensor, media_sizes: torch.Tensor, patch_size: tuple[int, int, int]
) -> torch.Tensor:
    """
    Tells which values of packed patches lie inside the true media, and not in the padding.

    Args:
        coords: (N, 4).
        sample: (N,) the sample of each token.
        media_sizes: (B, 3) true frames, height, width.
        patch_size: frames, rows, columns of a patch.

    Returns:
        (N, frames, rows, columns, 1) bool, to be compared with `pixel_values` unflattened the same way.
    """
    sizes = media_sizes.to(coords.device)[sample]  # (N, 3)
    inside = [
        coords[:, axis, None] * patch_size[axis] + torch.arange(patch_size[axis], device=coords.device)
        < sizes[:, axis, None]
        for axis in range(3)
    ]
    t, x, y = inside
    return (t[:, :, None, None] & x[:, None, :, None] & y[:, None, None, :])[..., None]
