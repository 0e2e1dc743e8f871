"""Video of a wider range of light or color than sRGB has, into sRGB."""

from functools import lru_cache

import numpy as np

from .color_spaces_atoken import (
    CODED_PRIMARIES,
    HLG_PEAK,
    PAPER_WHITE,
    decode_hlg,
    decode_pq,
    encode_srgb,
    luminance_weights,
    matrix_to_srgb,
    tone_curve,
)

# FFmpeg's numbers of the transfer functions of HDR video, and their names.
HDR_TRANSFERS = {16: "PQ (SMPTE ST 2084)", 18: "HLG (ARIB STD-B67)"}
# FFmpeg's numbers of the primaries that are wider than BT.709, and their names.
WIDE_PRIMARIES = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_PQ = 16
_BT709, _BT2020, _UNKNOWN = 1, 9, 2
_DISPLAY_GAMMA = 2.4  # of ITU-R BT.1886
_ROWS = 64  # converted at a time, to bound the memory


def to_srgb(codes: np.ndarray, white: int, transfer: int, primaries: int) -> np.ndarray:
    """Converts the RGB of wide video to what a usual display shows of it.

    HDR (PQ and HLG): reference white (203 candela per square meter, 75 % of the HLG signal) becomes 1. The primaries
    become those of BT.709. Then the three channels are scaled alike so that the largest, x, becomes x up to 0.8, and
    0.8 + 0.2 (1 - exp(-(x - 0.8) / 0.2)) above: white comes out at 0.93 and lights of any strength below 1. The result
    is encoded as sRGB.

    Other video: only the primaries become those of BT.709, in the light of a display of gamma 2.4.

    Colors that BT.709 does not have are clipped.

    Args:
        codes: (H, W, 3) uint16.
        white: the code of signal 1.
        transfer: FFmpeg's number of the transfer function.
        primaries: FFmpeg's number of the primaries; unknown ones are those of BT.2020 in HDR.

    Returns:
        (H, W, 3) uint8.
    """
    hdr = transfer in HDR_TRANSFERS
    if hdr and primaries == _UNKNOWN:
        primaries = _BT2020
    chromaticities = CODED_PRIMARIES[primaries if primaries in WIDE_PRIMARIES else _BT709]
    to_bt709 = matrix_to_srgb(chromaticities).astype(np.float32)
    weights = luminance_weights(chromaticities).astype(np.float32)
    light_of = _light_table(transfer, white)
    encode = _srgb_table() if hdr else _display_table()
    result = np.empty(codes.shape, dtype=np.uint8)
    for start in range(0, len(codes), _ROWS):
        light = light_of[codes[start : start + _ROWS]]
        if hdr and transfer != _PQ:
            # The light of a scene is what HLG states; a display raises it to a power by its luminance.
            luminance = light @ weights
            light *= (HLG_PEAK / PAPER_WHITE * luminance**0.2)[..., None]
        light = light @ to_bt709.T
        if hdr:
            largest = np.maximum(light.max(-1), 1e-6)
            light *= (tone_curve(largest) / largest)[..., None]
        result[start : start + _ROWS] = encode[(np.sqrt(light.clip(0, 1)) * 65535 + 0.5).astype(np.uint16)]
    return result


@lru_cache
def _light_table(transfer: int, white: int) -> np.ndarray:
    """Light of each 16-bit code, float32 (65536,): 1 is reference white of PQ, and full signal of the others."""
    signal = np.minimum(np.arange(65536) / white, 1)
    if transfer == _PQ:
        light = decode_pq(signal)
    elif transfer in HDR_TRANSFERS:
        light = decode_hlg(signal)
    else:
        light = signal**_DISPLAY_GAMMA
    return light.astype(np.float32)


@lru_cache
def _srgb_table() -> np.ndarray:
    """sRGB values for the square root of light, which has more steps in the dark, in 65536 steps, uint8."""
    light = (np.arange(65536) / 65535) ** 2
    return np.round(255 * encode_srgb(light)).astype(np.uint8)


@lru_cache
def _display_table() -> np.ndarray:
    """Values of a display of gamma 2.4 for the square root of light in 65536 steps, uint8."""
    return np.round(255 * (np.arange(65536) / 65535) ** (2 / _DISPLAY_GAMMA)).astype(np.uint8)
