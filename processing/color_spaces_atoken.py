"""Color spaces of three primaries and a curve, and their way to sRGB."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

# x and y of white, red, green and blue.
Chromaticities = tuple[float, float, float, float, float, float, float, float]
# Stored values in [0, 1] to light; 1 is the white of paper, except for PQ and HLG, which are brighter.
Curve = Callable[[np.ndarray], np.ndarray]

_D65, _D50 = (0.3127, 0.3290), (0.34567, 0.35850)
SRGB_PRIMARIES: Chromaticities = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
ADOBE_RGB_PRIMARIES: Chromaticities = (*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
# Primaries by their code in ITU-T H.273, as cICP chunks, nclx boxes and ICC profiles have them.
CODED_PRIMARIES: dict[int, Chromaticities] = {
    1: SRGB_PRIMARIES,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_BLOCK = 1 << 18
# Steps of light that are told apart when integers are encoded: fine enough for the steep curve near black.
_LIGHTS = (1 << 20) - 1
# The brightness of paper in pictures of high dynamic range, in candela per square meter (ITU-R BT.2408).
PAPER_WHITE = 203.0
# The brightness of the display that HLG is meant for, whose power is 1.2.
HLG_PEAK = 1000.0
# Up to this share of white, tone mapping leaves light as it is.
_KNEE = 0.8


@dataclass(frozen=True)
class ColorSpace:
    """
    Holds what the three numbers of a pixel mean.

    Args:
        curves: one for each channel, or one for gray.
        to_srgb: (3, 3), from linear RGB to linear sRGB.
        high_dynamic_range: whether light may be brighter than paper, so that it has to be tone-mapped.
        scene_luminance: (3,), the share of each channel in the luminance by which a display raises the light of a
            scene to a power, as it does with HLG; None where the curve gives the light of a display.
    """

    curves: tuple[Curve, ...]
    to_srgb: np.ndarray
    high_dynamic_range: bool = False
    scene_luminance: np.ndarray | None = None


def convert_to_srgb(color: np.ndarray, space: ColorSpace) -> np.ndarray:
    """Converts (H, W, 1 or 3), uint8, uint16 or float32 in [0, 1], to sRGB of the same shape and type.

    What lies outside the colors of sRGB is clipped to them. Integers are rounded, uint16 within one level.
    """
    flat = color.reshape(-1, color.shape[2])
    result = np.empty_like(flat)
    is_float = color.dtype == np.float32
    decode, encode = (space.curves, encode_srgb) if is_float else _tables(space.curves, color.dtype)
    for start in range(0, len(flat), _BLOCK):
        block = flat[start : start + _BLOCK]
        linear = np.stack([decode[min(index, len(decode) - 1)](block[:, index]) for index in range(block.shape[1])], 1)
        if space.scene_luminance is not None:
            # Gray is its own luminance.
            weights = space.scene_luminance.astype(linear.dtype)
            luminance = linear @ weights[:, None] if linear.shape[1] == 3 else linear
            linear = linear * (HLG_PEAK / PAPER_WHITE * luminance**0.2)
        if linear.shape[1] == 3:
            linear = linear @ space.to_srgb.T.astype(linear.dtype)
        if space.high_dynamic_range:
            linear = _tone_map(linear)
        result[start : start + _BLOCK] = encode(linear.clip(0, 1))
    return result.reshape(color.shape)


def _tables(curves: tuple[Curve, ...], dtype: np.dtype) -> tuple[list[Curve], Curve]:
    """The curves and the encoding of sRGB as tables, which are quicker for integers, as these have few values."""
    white = int(np.iinfo(dtype).max)
    lights = [curve(np.arange(white + 1) / white).astype(np.float32) for curve in curves]
    levels = np.rint(encode_srgb(np.arange(_LIGHTS + 1) / _LIGHTS) * white).astype(dtype)
    return [light.__getitem__ for light in lights], lambda light: levels[(light * _LIGHTS + 0.5).astype(np.int32)]


def from_chromaticities(chromaticities: Chromaticities, curve: Curve, high_dynamic_range: bool = False) -> ColorSpace:
    """Builds a color space of one curve; `ValueError` if the primaries span no space of colors."""
    return ColorSpace((curve,), matrix_to_srgb(chromaticities), high_dynamic_range)


def from_codes(primaries: int, transfer: int) -> ColorSpace | None:
    """Builds the color space of two codes of ITU-T H.273; None for sRGB and for codes that leave it open.

    Raises:
        ValueError: codes that are not known.
    """
    unspecified = (0, 2)
    chromaticities = SRGB_PRIMARIES if primaries in unspecified else CODED_PRIMARIES.get(primaries)
    if chromaticities is None:
        raise ValueError(f"color primaries {primaries} are not known")
    # The curves of video cameras (1, 6, 14, 15) are shown as sRGB, as browsers do.
    if transfer in (*unspecified, 1, 6, 13, 14, 15):
        return None if chromaticities == SRGB_PRIMARIES else from_chromaticities(chromaticities, decode_srgb)
    powers = {4: 2.2, 5: 2.8, 8: 1.0}
    if transfer in powers:
        return from_chromaticities(chromaticities, power_curve(powers[transfer]))
    if transfer not in (16, 18):
        raise ValueError(f"transfer characteristics {transfer} are not known")
    if transfer == 16:
        return from_chromaticities(chromaticities, decode_pq, True)
    display = from_chromaticities(chromaticities, decode_hlg, True)
    return replace(display, scene_luminance=luminance_weights(chromaticities))


def from_icc_matrix(profile: bytes) -> ColorSpace | None:
    """Reads an ICC profile of gray or RGB that is made of curves and a matrix; None if it is made of tables.

    Raises:
        ValueError, struct.error: the profile is corrupt.
    """
    tags = icc_tags(profile)
    if any(name.startswith(b"A2B") for name in tags):
        return None
    if profile[16:20] == b"GRAY" and b"kTRC" in tags:
        return ColorSpace((_icc_curve(tags[b"kTRC"]),), np.eye(3))
    names = [b"rTRC", b"gTRC", b"bTRC", b"rXYZ", b"gXYZ", b"bXYZ"]
    if profile[16:20] != b"RGB " or not all(name in tags for name in names):
        return None
    curves = tuple(_icc_curve(tags[name]) for name in names[:3])
    columns = [np.array(struct.unpack(">3i", tags[name][8:20])) / 65536 for name in names[3:]]
    return ColorSpace(curves, _TO_SRGB @ np.stack(columns, axis=1))


def icc_tags(profile: bytes) -> dict[bytes, bytes]:
    """Reads the table of an ICC profile: what each four-letter tag holds."""
    count = struct.unpack(">I", profile[128:132])[0]
    if 132 + 12 * count > len(profile):
        raise ValueError(f"the ICC profile announces {count} tags and is shorter than their table")
    entries = [struct.unpack(">4sII", profile[at : at + 12]) for at in range(132, 132 + 12 * count, 12)]
    return {name: profile[offset : offset + size] for name, offset, size in entries}


def decode_srgb(values: np.ndarray) -> np.ndarray:
    """Gives the light of sRGB values, both in [0, 1]."""
    return np.where(values <= 0.04045, values / 12.92, ((np.maximum(values, 0.04045) + 0.055) / 1.055) ** 2.4)


def encode_srgb(light: np.ndarray) -> np.ndarray:
    """Gives the sRGB values of light, both in [0, 1]."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055)


def matrix_to_srgb(chromaticities: Chromaticities) -> np.ndarray:
    """Gives the matrix (3, 3) from linear RGB to linear sRGB; `ValueError` if the primaries span no space of colors."""
    return _TO_SRGB @ _to_xyz_d50(chromaticities)


def luminance_weights(chromaticities: Chromaticities) -> np.ndarray:
    """Gives the shares (3,) of red, green and blue light in the luminance."""
    return _to_xyz(chromaticities)[0][1]


def tone_curve(light: np.ndarray) -> np.ndarray:
    """Maps light, 1 for paper, to at most 1: x up to 0.8, and 0.8 + 0.2 (1 - exp(-(x - 0.8) / 0.2)) above."""
    room = 1 - _KNEE
    return np.where(light <= _KNEE, light, 1 - room * np.exp(-(np.maximum(light, _KNEE) - _KNEE) / room))


def power_curve(exponent: float) -> Curve:
    """Gives the curve that raises values to a power."""
    return lambda values: np.maximum(values, 0) ** exponent


def _to_xyz(chromaticities: Chromaticities) -> tuple[np.ndarray, np.ndarray]:
    """The matrix from linear RGB to XYZ, and white in XYZ with a luminance of 1."""
    points = list(zip(chromaticities[0::2], chromaticities[1::2], strict=True))
    if not all(y > 0 for _, y in points):
        raise ValueError(f"its chromaticities {chromaticities} are no colors")
    white, *primaries = [np.array([x / y, 1, (1 - x - y) / y]) for x, y in points]
    matrix = np.stack(primaries, axis=1)
    if abs(np.linalg.det(matrix)) < 1e-9:
        raise ValueError(f"its chromaticities {chromaticities} span no colors")
    return matrix * np.linalg.solve(matrix, white), white


def _to_xyz_d50(chromaticities: Chromaticities) -> np.ndarray:
    """The matrix from linear RGB to XYZ under D50, as ICC profiles have it."""
    matrix, white = _to_xyz(chromaticities)
    target = np.array([_D50[0] / _D50[1], 1, (1 - _D50[0] - _D50[1]) / _D50[1]])
    scales = (_BRADFORD @ target) / (_BRADFORD @ white)
    return np.linalg.inv(_BRADFORD) @ (scales[:, None] * _BRADFORD) @ matrix


_TO_SRGB = np.linalg.inv(_to_xyz_d50(SRGB_PRIMARIES))


def _icc_curve(tag: bytes) -> Curve:
    """A `curv` or `para` element of an ICC profile."""
    if tag[:4] == b"curv":
        count = struct.unpack(">I", tag[8:12])[0]
        numbers = np.frombuffer(tag[12 : 12 + 2 * count], ">u2").astype(np.float64)
        if len(numbers) != count:
            raise ValueError("a curve of the ICC profile is truncated")
        if count <= 1:
            return power_curve(numbers[0] / 256 if count else 1.0)
        points = np.linspace(0, 1, count)
        return lambda values: np.interp(values, points, numbers / 65535)
    if tag[:4] != b"para":
        raise ValueError(f"the ICC profile has a curve of the unknown kind {tag[:4]!r}")
    kind = struct.unpack(">H", tag[8:10])[0]
    if kind > 4:
        raise ValueError(f"the ICC profile has a parametric curve of the unknown kind {kind}")
    count = (1, 3, 4, 5, 7)[kind]
    g, *rest = (number / 65536 for number in struct.unpack(f">{count}i", tag[12 : 12 + 4 * count]))
    a, b, c, d, e, f = 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    # Above d the curve is (a x + b)^g + e, below it c x + f.
    if kind in (1, 2):
        a, b = rest[:2]
        e = f = rest[2] if kind == 2 else 0.0
        d = -b / a if a else 0.0
    elif kind in (3, 4):
        a, b, c, d = rest[:4]
        e, f = rest[4:] if kind == 4 else (0.0, 0.0)
    return lambda values: np.where(values >= d, np.maximum(a * values + b, 0) ** g + e, c * values + f)


def decode_pq(values: np.ndarray) -> np.ndarray:
    """Gives the light of a display, 1 for paper, for signals in [0, 1] of SMPTE ST 2084 (PQ)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = np.maximum(values, 0) ** (1 / m2)
    return 10000 / PAPER_WHITE * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)


def decode_hlg(values: np.ndarray) -> np.ndarray:
    """Gives the light of the scene, in [0, 1], for signals in [0, 1] of ARIB STD-B67 (HLG)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(values <= 0.5, values**2 / 3, (np.exp((np.maximum(values, 0.5) - c) / a) + b) / 12)


def _tone_map(light: np.ndarray) -> np.ndarray:
    """Compress what is brighter than the knee, the brightest channel of each pixel deciding, so that hues stay."""
    peak = np.maximum(light.max(axis=1, keepdims=True), 1e-9)
    return light * (tone_curve(peak) / peak)
