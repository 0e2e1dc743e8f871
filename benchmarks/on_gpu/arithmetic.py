"""The floating point operations of a forward pass, and what a device reaches at best."""

from collections.abc import Iterator

import torch
from measure import machine

from .parts import Row, Setup, attempt, timed

# Products that are asked for: square ones, and those of So400m's blocks over 32,768 tokens.
SQUARE = 8192
BLOCK_PRODUCTS = {"qkv": (1152, 3456), "out": (1152, 1152), "fc1": (1152, 4304), "fc2": (4304, 1152)}
TOKENS = 32768


def forward_flops(tower: torch.nn.Module, grids: list[tuple[int, int, int]]) -> float:
    """
    Counts the operations of a tower's blocks: 2 for each weight and token, and 4 d for each pair of tokens and layer.

    Args:
        tower: an encoder or a decoder of AToken without a temporal cache: tiles do not see each other.
        grids: latent frames, rows and columns of each sample.
    """
    weights = sum(parameter.numel() for parameter in tower.blocks.parameters())
    tile = tower.config.tile_frames // tower.patch_size[0]
    tokens = pairs = 0
    for frames, rows, columns in grids:
        whole, rest = divmod(frames, tile)
        tokens += frames * rows * columns
        pairs += whole * (tile * rows * columns) ** 2 + (rest * rows * columns) ** 2
    return 2.0 * weights * tokens + 4.0 * len(tower.blocks) * tower.config.hidden_size * pairs


def share_of_peak(flops: float, seconds: float, setup: Setup) -> float | None:
    """Gives the share of the measured peak that a call reaches (MFU), or None where no peak is known."""
    return None if setup.peak is None else flops / seconds / setup.peak


@torch.inference_mode()
def measure_peaks(setup: Setup) -> Iterator[Row]:
    """Measures the machine: its fastest products, those of So400m's shapes, and the bandwidth of its memory."""
    yield {"machine": machine(setup.device)}
    side, tokens = (256, 256) if setup.tiny else (SQUARE, TOKENS)
    shapes = {"square": (side, side, side)}
    shapes |= {name: (tokens, *shape) for name, shape in BLOCK_PRODUCTS.items()}

    def product(rows: int, inner: int, columns: int) -> Row:
        a, b = (torch.randn(*shape, device=setup.device).to(setup.dtype) for shape in ((rows, inner), (inner, columns)))
        seconds = timed(lambda: a @ b, setup)
        return {"seconds": seconds, "flops": 2 * rows * inner * columns / seconds}

    for name, shape in shapes.items():
        row = {"case": f"product {name}", "shape": shape, "dtype": str(setup.dtype)}
        yield attempt(row, lambda shape=shape: product(*shape))

    def copy() -> Row:
        source = torch.empty(2**20 if setup.tiny else 2**31, dtype=torch.uint8, device=setup.device)
        target = torch.empty_like(source)
        return {"bandwidth": 2 * len(source) / timed(lambda: target.copy_(source), setup)}

    yield attempt({"case": "copy"}, copy)
