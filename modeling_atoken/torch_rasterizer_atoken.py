"""Gaussians to pixels in plain torch: projected, sorted by depth within tiles, blended front to back.

The picture is that of gsplat's CUDA kernels in their "antialiased" mode (Mip-Splatting's opacity compensation): pixels
are sampled at their middle, a Gaussian counts where its alpha is at least 1/255, at most 0.999 of the light stops at
one, and a pixel is done when less than 1e-4 of the light is left.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.autograd.function import once_differentiable

from .gaussians_atoken import Gaussians

# Pixels of a tile's side, Gaussians of a tile that are blended at a time, tiles that are treated together.
_TILE, _ROUND, _GROUP = 8, 64, 256
_MIN_ALPHA, _MAX_ALPHA, _MIN_LIGHT = 1 / 255, 0.999, 1e-4


@dataclass
class Screen:
    """Says how a picture is to be: pixels, the (3,) color behind, variance added (square pixels), depths seen."""

    height: int
    width: int
    background: torch.Tensor
    eps2d: float
    near: float
    far: float


@dataclass
class _Splats:
    """Projected Gaussians that can be seen, nearest first; lengths in pixels."""

    centers: torch.Tensor  # (K, 2) x, y
    conics: torch.Tensor  # (K, 3): a, b, c of the exponent -(a x^2 + 2 b x y + c y^2) / 2
    opacities: torch.Tensor  # (K,)
    colors: torch.Tensor  # (K, 3)
    reach: torch.Tensor  # (K, 2): how far from its center alpha is at least 1/255


def rasterize(
    gaussians: Gaussians, world_to_camera: torch.Tensor, intrinsics: torch.Tensor, screen: Screen
) -> torch.Tensor:
    """Draws one camera's picture, differentiable in the fields of `gaussians` and in the background.

    Args:
        gaussians: G of them, fp32 or fp64.
        world_to_camera: (4, 4), OpenCV.
        intrinsics: (3, 3), in pixels.
        screen: what the picture is to be.

    Returns:
        (3, height, width).
    """
    height, width = screen.height, screen.width
    splats = _project(gaussians, world_to_camera, intrinsics, screen)
    columns, rows = math.ceil(width / _TILE), math.ceil(height / _TILE)
    splat, tile = _pairs(splats, columns, rows, height, width)
    starts = torch.searchsorted(tile, torch.arange(columns * rows + 1, device=tile.device))
    blended = _Blend.apply(_exponents(splats, splat, tile, columns), splats.colors[splat], starts)
    image = blended[..., :3] + blended[..., 3:] * screen.background  # (tiles, pixels of a tile, 3)
    image = image.view(rows, columns, _TILE, _TILE, 3).permute(4, 0, 2, 1, 3)
    return image.reshape(3, rows * _TILE, columns * _TILE)[:, :height, :width]


def _project(gaussians: Gaussians, world_to_camera: torch.Tensor, intrinsics: torch.Tensor, screen: Screen) -> _Splats:
    rotation, translation = world_to_camera[:3, :3], world_to_camera[:3, 3]
    with torch.no_grad():
        depth = gaussians.means @ rotation[2] + translation[2]
        kept = ((depth > screen.near) & (depth < screen.far)).nonzero()[:, 0]
        kept = kept[depth[kept].argsort(stable=True)]
    x, y, z = (gaussians.means[kept] @ rotation.T + translation).unbind(-1)
    focal, middle = intrinsics.diagonal()[:2], intrinsics[:2, 2]
    centers = torch.stack([x / z, y / z], dim=-1) * focal + middle
    # The projection is linearized at the center, but no further outside the image than 0.15 of its sides.
    sides = intrinsics.new_tensor([screen.width, screen.height])
    low, high = (-middle - 0.15 * sides) / focal, (sides - middle + 0.15 * sides) / focal
    slope_x, slope_y = (x / z).clamp(low[0], high[0]), (y / z).clamp(low[1], high[1])
    # (K, 3, 3), a row per axis of the camera: covariance = axes @ axes.T
    axes = rotation @ (gaussians.rotations()[kept] * gaussians.scales[kept][:, None])
    across = (focal[0] / z)[:, None] * (axes[:, 0] - slope_x[:, None] * axes[:, 2])  # (K, 3)
    down = (focal[1] / z)[:, None] * (axes[:, 1] - slope_y[:, None] * axes[:, 2])
    xx, xy, yy = (across * across).sum(-1), (across * down).sum(-1), (down * down).sum(-1)
    sharp = xx * yy - xy * xy
    xx, yy = xx + screen.eps2d, yy + screen.eps2d
    area = (xx * yy - xy * xy).clamp(min=1e-10)
    ratio = sharp / area
    # The square root has no slope at 0, where the Gaussian is too thin to be seen.
    opacities = gaussians.opacities[kept] * torch.where(ratio > 0, ratio, 1).sqrt() * (ratio > 0)
    conics = torch.stack([yy, -xy, xx], dim=-1) / area[:, None]
    colors = gaussians.rgb[kept].clamp(min=0)
    with torch.no_grad():
        sigmas = (2 * (opacities / _MIN_ALPHA).log()).clamp(min=0).sqrt()
        # Rounding must not lose a pixel at the very edge.
        reach = sigmas[:, None] * torch.stack([xx, yy], dim=-1).sqrt() + 1e-2
        seen = (centers + reach > 0).all(-1) & (centers - reach < sides).all(-1) & (opacities >= _MIN_ALPHA)
        seen = seen.nonzero()[:, 0]
    return _Splats(*(value[seen] for value in (centers, conics, opacities, colors, reach)))


@torch.no_grad()
def _pairs(splats: _Splats, columns: int, rows: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(P,) indices of splats and (P,) of the tiles they touch, by tile and within a tile from near to far."""
    last = splats.centers.new_tensor([width - 1, height - 1])
    first_pixel = (splats.centers - splats.reach - 0.5).ceil().clamp(min=0)
    last_pixel = (splats.centers + splats.reach - 0.5).floor().minimum(last)
    hit = (first_pixel <= last_pixel).all(-1)
    first, end = first_pixel.long() // _TILE, last_pixel.long() // _TILE + 1  # (K, 2)
    spans = (end - first) * hit[:, None]
    counts = spans.prod(-1)
    splat = torch.repeat_interleave(counts)  # (P,)
    place = torch.arange(len(splat), device=splat.device) - (counts.cumsum(0) - counts)[splat]
    across = spans[splat, 0]
    tile = (first[splat, 1] + place // across) * columns + first[splat, 0] + place % across
    tile, order = torch.sort(tile.int(), stable=True)
    return splat[order], tile.long()


def _exponents(splats: _Splats, splat: torch.Tensor, tile: torch.Tensor, columns: int) -> torch.Tensor:
    """(P, 6): log alpha within a tile as a polynomial, see `_monomials`."""
    corner = torch.stack([tile % columns, tile // columns], dim=-1) * _TILE
    x, y = (splats.centers[splat] - (corner + _TILE / 2)).unbind(-1)
    a, b, c = splats.conics[splat].unbind(-1)
    top = splats.opacities.log()[splat]
    to_x, to_y = a * x + b * y, b * x + c * y
    return torch.stack([top - (x * to_x + y * to_y) / 2, to_x, to_y, -a / 2, -b, -c / 2], dim=-1)


def _monomials(like: torch.Tensor) -> torch.Tensor:
    """(S, 6): 1, x, y, x^2, xy, y^2 at the pixels of a tile, row by row, measured from its middle."""
    steps = torch.arange(_TILE, device=like.device, dtype=like.dtype) + 0.5 - _TILE / 2
    y, x = (grid.flatten() for grid in torch.meshgrid(steps, steps, indexing="ij"))
    return torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y], dim=-1)


@dataclass
class _Round:
    """The next Gaussians of some tiles, blended."""

    tiles: torch.Tensor  # (A,)
    index: torch.Tensor  # (A, L) pairs
    filled: torch.Tensor  # (A, L): False past a tile's last pair
    colors: torch.Tensor  # (A, L, 3)
    raw: torch.Tensor  # (A, S, L): alpha before it is limited to what counts
    alpha: torch.Tensor  # (A, S, L)
    light: torch.Tensor  # (A, S, L): what reaches each Gaussian, 0 where a pixel is done
    weights: torch.Tensor  # (A, S, L): alpha * light


def _rounds(exponents: torch.Tensor, colors: torch.Tensor, starts: torch.Tensor) -> Iterator[_Round]:
    """Walks through the Gaussians of every tile from front to back, leaving out tiles that are done."""
    monomials = _monomials(exponents)
    step = torch.arange(_ROUND, device=starts.device)
    counts = starts[1:] - starts[:-1]
    for tiles in counts.nonzero()[:, 0].split(_GROUP):
        left = exponents.new_ones(len(tiles), len(monomials))  # light behind what was blended, 0 where done
        offset = 0
        while len(tiles):
            index = starts[tiles, None] + offset + step
            filled = index < starts[tiles + 1, None]
            index = index.clamp(max=len(exponents) - 1)
            raw = (monomials @ exponents[index].mT).exp_()  # (A, S, L)
            alpha = raw.clamp(max=_MAX_ALPHA)
            alpha = alpha * ((raw >= _MIN_ALPHA) & filled[:, None])
            behind = torch.cumprod(1 - alpha, dim=-1).mul_(left[..., None])
            counted = behind > _MIN_LIGHT
            light = torch.cat([left[..., None], behind[..., :-1]], dim=-1).mul_(counted)
            yield _Round(tiles, index, filled, colors[index], raw, alpha, light, alpha * light)
            offset += _ROUND
            left = behind[..., -1] * counted[..., -1]
            active = ((counts[tiles] > offset) & (left > 0).any(-1)).nonzero()[:, 0]
            tiles, left = tiles[active], left[active]


class _Blend(torch.autograd.Function):
    """Alpha blending by tile; the backward pass walks the same way again in place of keeping every alpha."""

    @staticmethod
    def forward(ctx, exponents: torch.Tensor, colors: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """Turns (P, 6) polynomials, (P, 3) colors, (tiles + 1,) starts into (tiles, S, 4): color, and light left."""
        pixels = exponents.new_zeros(len(starts) - 1, _TILE * _TILE, 4)
        pixels[..., 3] = 1
        for part in _rounds(exponents, colors, starts):
            pixels[part.tiles, :, :3] += part.weights @ part.colors
            pixels[part.tiles, :, 3] -= part.weights.sum(-1)
        ctx.save_for_backward(exponents, colors, starts, pixels)
        return pixels

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        exponents, colors, starts, pixels = ctx.saved_tensors
        exponents_gradient, colors_gradient = torch.zeros_like(exponents), torch.zeros_like(colors)
        monomials = _monomials(exponents)
        # What lies behind a Gaussian is dimmed by it: the whole pixel, less what was blended so far.
        behind = (pixels * gradient).sum(-1)  # (tiles, S)
        for part in _rounds(exponents, colors, starts):
            toward = gradient[part.tiles, :, :3]  # (A, S, 3)
            shade = toward @ part.colors.mT  # (A, S, L)
            blended = (part.weights * shade).cumsum(-1)
            rest = behind[part.tiles, :, None] - blended
            slope = part.light * shade - rest / (1 - part.alpha)
            # Only what counts has a slope: alpha above its least and below its most, in a pixel not yet done.
            slope = slope * part.alpha * ((part.light > 0) & (part.raw < _MAX_ALPHA))
            index = part.index[part.filled]
            exponents_gradient[index] = (slope.mT @ monomials)[part.filled]
            colors_gradient[index] = (part.weights.mT @ toward)[part.filled]
            behind[part.tiles] = rest[..., -1]
        return exponents_gradient, colors_gradient, None


__all__ = ["Screen", "rasterize"]
