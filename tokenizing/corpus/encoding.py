"""From decoded rows to latents or codes: dense batches of equal sizes, and what is left packed to a token budget."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import torch

from atoken.processing import AtokenVoxelProcessor

from .decoding import DecodedRow, padded
from .options import TokenizeOptions

T = TypeVar("T")
# Rows are looked at this many budgets of tokens at a time to find equal sizes among them.
_WINDOW = 4
NOT_FINITE = "the latents must be finite, got NaN or infinite values; compute in float32 or bfloat16 (dtype)"


@dataclass
class EncodedRow:
    """
    Holds what is stored of a row.

    Attributes:
        index, key, columns, fps: as in `DecodedRow`.
        flipped: whether it is the mirror image.
        grid: (t, h, w) of an image or a video, None of an object.
        media_size: (frames, height, width), None of an object.
        values: (N, latent_channels) bfloat16, or (N, codebooks) int16 or int32.
        logvar: (N, latent_channels) bfloat16 with moments.
        coords: (N, 3) uint8 of an object.
        error: why there are no values.
        warnings: as in `DecodedRow`.
    """

    index: int
    key: str
    columns: dict[str, Any]
    flipped: bool = False
    fps: float | None = None
    grid: tuple[int, int, int] | None = None
    media_size: tuple[int, int, int] | None = None
    values: torch.Tensor | None = None
    logvar: torch.Tensor | None = None
    coords: torch.Tensor | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()


class RowEncoder(ABC):
    """
    Encodes decoded rows on a model's device.

    Args:
        options: say what is stored.
        patch: frames, rows and columns of the pixels that become one token.
        device: of the model.
        voxelizer: of objects, where the model takes them.
    """

    def __init__(
        self,
        options: TokenizeOptions,
        patch: tuple[int, int, int],
        device: torch.device,
        voxelizer: AtokenVoxelProcessor | None = None,
    ):
        self.options, self.patch, self.device, self.voxelizer = options, patch, device, voxelizer

    @abstractmethod
    def encode_dense(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Encodes media of one size.

        Args:
            pixels: (B, T, 3, H, W) uint8 on the device.

        Returns:
            "values" (N, channels) or (N, codebooks) in the dtype that is stored, of all tokens, medium by medium; with
            moments also "logvar".
        """

    @abstractmethod
    def encode_packed(self, rows: list[DecodedRow], flip: bool) -> dict[str, torch.Tensor]:
        """Encodes media of several sizes, or their mirror images, or objects; see `encode_dense`."""

    @abstractmethod
    def decode(self, values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Decodes what was stored, (t, h, w, channels) or codes, to (T, 3, *size) uint8 on the host."""

    def encode(self, rows: Iterable[DecodedRow]) -> Iterator[EncodedRow]:
        """Yields rows encoded, in their order, each followed by its mirror image where that is asked for."""
        pending: list[_Running] = []
        for window in _within(rows, self._tokens, _WINDOW * self.options.batch_tokens):
            started = self._start(window)
            # The copies of a window come to the host while the next one is computed.
            yield from self._finish(pending)
            pending = started
        yield from self._finish(pending)

    def _tokens(self, row: DecodedRow) -> int:
        return 0 if row.error is not None else row.tokens(self.patch)

    def _start(self, window: list[DecodedRow]) -> "list[_Running]":
        """Begins the batches of a window; the results are in the order of its rows."""
        running = [_Running(row) for row in window]
        for batch in self._batches([each for each in running if each.row.error is None]):
            sizes = {None if each.row.pixels is None else tuple(each.row.pixels.shape) for each in batch}
            dense = len(sizes) == 1 and None not in sizes
            for flip in (False, True)[: 1 + self.options.flip]:
                copied = _Copy(self._encode_batch(batch, dense, flip))
                start = 0
                for each in batch:
                    end = start + each.row.tokens(self.patch)
                    each.results.append((flip, copied, start, end))
                    start = end
        return running

    def _batches(self, running: "list[_Running]") -> "Iterator[list[_Running]]":
        """Cuts into batches within the budget: full ones of one size each, and what is left of all sizes mixed."""
        budget, left = self.options.batch_tokens, []
        groups = defaultdict(list)
        for each in running:
            groups[None if each.row.pixels is None else tuple(each.row.pixels.shape)].append(each)
        for size, group in groups.items():
            length = group[0].row.tokens(self.patch)
            count = max(1, budget // length)
            whole = len(group) if len(groups) == 1 and size is not None else len(group) // count * count
            whole = 0 if size is None else whole
            yield from (group[start : start + count] for start in range(0, whole, count))
            left += group[whole:]
        yield from _within(left, lambda each: self._tokens(each.row), budget)

    @torch.inference_mode()
    def _encode_batch(self, batch: "list[_Running]", dense: bool, flip: bool) -> dict[str, torch.Tensor]:
        if not dense:
            return self.encode_packed([each.row for each in batch], flip)
        return self.encode_dense(self.to_device(torch.stack([self.pixels(each.row, flip) for each in batch])))

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """Gives a copy on the model's device, for which the host does not wait."""
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def pixels(self, row: DecodedRow, flip: bool) -> torch.Tensor:
        """Gives (T, 3, H, W) uint8 of a row or of its mirror image, whose padding is at the right, too."""
        return padded(row.pixels[..., : row.size[1]].flip(-1), self.patch) if flip else row.pixels

    def _finish(self, running: "list[_Running]") -> Iterator[EncodedRow]:
        for each in running:
            row, done = each.row, []
            about = EncodedRow(row.index, row.key, row.columns, fps=row.fps, coords=row.coords, error=row.error)
            about.warnings = tuple(row.warnings)
            if row.pixels is not None:
                frames, _, height, width = row.pixels.shape
                about.grid = -(-frames // self.patch[0]), height // self.patch[1], width // self.patch[2]
                about.media_size = frames, *row.size
            for flip, copied, start, end in each.results:
                # Copies, as a view would keep the whole batch in memory as long as one of its rows.
                tensors = {name: values[start:end].clone() for name, values in copied.tensors().items()}
                if not copied.finite and not all(value.isfinite().all() for value in tensors.values()):
                    about.error = NOT_FINITE
                # What readers have said of a file is said once.
                said = () if flip else about.warnings
                done.append(replace(about, flipped=flip, warnings=said, **tensors))
            yield from [about] if about.error is not None else done


def _within(items: Iterable[T], count: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Cuts items, in their order, into lists of at most so many tokens together; a larger item is alone."""
    cut, tokens = [], 0
    for item in items:
        more = count(item)
        if cut and tokens + more > most:
            yield cut
            cut, tokens = [], 0
        cut.append(item)
        tokens += more
    if cut:
        yield cut


class _Running:
    """A row whose tokens are being computed: flip, copy, and where in it, of each of its results."""

    def __init__(self, row: DecodedRow):
        self.row = row
        self.results: list[tuple[bool, _Copy, int, int]] = []


class _Copy:
    """Tensors on their way to the host; the device goes on meanwhile."""

    def __init__(self, tensors: dict[str, torch.Tensor]):
        self._event = None
        if next(iter(tensors.values())).device.type != "cuda":
            self._tensors = tensors
            return
        self._tensors = {name: torch.empty_like(each, device="cpu", pin_memory=True) for name, each in tensors.items()}
        for name, each in tensors.items():
            self._tensors[name].copy_(each, non_blocking=True)
        self._event = torch.cuda.Event()
        self._event.record()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Waits for the copies and gives them."""
        if self._event is not None:
            self._event.synchronize()
            self._event = None
        return self._tensors

    @cached_property
    def finite(self) -> bool:
        """Tells whether all values are."""
        return all(bool(each.isfinite().all()) for each in self.tensors().values())
