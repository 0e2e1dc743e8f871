"""The compressed PLY of PlayCanvas and SuperSplat: four 32-bit integers for each Gaussian, in chunks of 256.

The format is described at https://developer.playcanvas.com/user-manual/gaussian-splatting/formats/ply/
"""

from collections.abc import Mapping

import numpy as np

PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_CHUNK = 256
_BOUNDS = {
    "packed_position": ("x", "y", "z"),
    "packed_scale": ("scale_x", "scale_y", "scale_z"),
    "packed_color": ("r", "g", "b"),
}
# Highest bit first: x, y and z of positions and scales.
_XYZ = (11, 10, 11)
_RGBA = (8, 8, 8, 8)
_ROTATION = (2, 10, 10, 10)


def unpack_gaussians(vertex: Mapping[str, np.ndarray], chunk: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """
    Unpacks the Gaussians of the elements `vertex` and `chunk`.

    Returns:
        `means` (G, 3), `quats` (G, 4) w, x, y, z, `scales` (G, 3) as logarithms, `opacities` (G,) and `rgb` (G, 3) in
        [0, 1], all float64.

    Raises:
        ValueError: if columns or chunks are missing.
    """
    count = len(vertex["packed_position"])
    chunks = len(chunk.get("min_x", ()))
    if chunks * _CHUNK < count:
        raise ValueError(f"{count} Gaussians must lie in chunks of {_CHUNK}, got {chunks} chunks")
    # (G, 4): red, green, blue and opacity
    rgba = _fractions(vertex["packed_color"], _RGBA)
    # Older files have no bounds of colors.
    rgb = _between(chunk, "packed_color", rgba[:, :3]) if "min_r" in chunk else rgba[:, :3]
    return {
        "means": _between(chunk, "packed_position", _fractions(vertex["packed_position"], _XYZ)),
        "quats": _quaternions(vertex["packed_rotation"]),
        "scales": _between(chunk, "packed_scale", _fractions(vertex["packed_scale"], _XYZ)),
        "opacities": rgba[:, 3],
        "rgb": rgb,
    }


def _fields(packed: np.ndarray, widths: tuple[int, ...]) -> list[np.ndarray]:
    """Cuts 32-bit integers (G,) into numbers of so many bits each, the highest first."""
    packed, shift, fields = packed.astype(np.int64), 32, []
    for width in widths:
        shift -= width
        fields.append((packed >> shift) & ((1 << width) - 1))
    return fields


def _fractions(packed: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
    """Gives (G, fields) in [0, 1]."""
    fields = zip(_fields(packed, widths), widths, strict=True)
    return np.stack([number / ((1 << width) - 1) for number, width in fields], axis=1)


def _between(chunk: Mapping[str, np.ndarray], packed: str, fractions: np.ndarray) -> np.ndarray:
    """Puts (G, 3) fractions between the bounds of their chunks."""
    missing = [f"{end}_{name}" for end in ("min", "max") for name in _BOUNDS[packed] if f"{end}_{name}" not in chunk]
    if missing:
        raise ValueError(f"element chunk must have {', '.join(missing)}, got {', '.join(chunk)}")
    place = np.arange(len(fractions)) // _CHUNK
    low, high = (
        np.stack([chunk[f"{end}_{name}"] for name in _BOUNDS[packed]], axis=1).astype(np.float64)[place]
        for end in ("min", "max")
    )
    return low * (1 - fractions) + high * fractions


def _quaternions(packed: np.ndarray) -> np.ndarray:
    """Gives (G, 4) w, x, y, z: the two highest bits say which entry is left out, the largest, which is positive."""
    largest, *rest = _fields(packed, _ROTATION)
    # (G, 3) in [-sqrt(1/2), sqrt(1/2)], beyond which no entry but the largest can lie
    small = (np.stack(rest, axis=1) / 1023 - 0.5) * 2**0.5
    quats = np.empty((len(packed), 4))
    others = np.arange(4)[None] != largest[:, None]
    quats[others] = small.ravel()
    quats[~others] = np.sqrt(np.maximum(1 - (small**2).sum(axis=1), 0))
    return quats


__all__ = ["PACKED", "unpack_gaussians"]
