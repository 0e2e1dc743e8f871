"""The colors that a picture file states, and their way into sRGB, which is what a token holds."""

import io
import struct
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from .color_spaces_atoken import (
    ADOBE_RGB_PRIMARIES,
    SRGB_PRIMARIES,
    ColorSpace,
    Curve,
    convert_to_srgb,
    decode_srgb,
    from_chromaticities,
    from_codes,
    from_icc_matrix,
    icc_tags,
    power_curve,
)
from .media_warnings_atoken import warn_about_media
from .png_chunks_atoken import color_codes

_EXIF_DIRECTORY, _INTEROPERABILITY, _COLOR_SPACE = 0x8769, 0xA005, 0xA001
_ADOBE_RGB_GAMMA = 563 / 256
# Files of sRGB pictures state it as the power that is nearest to its curve; libpng's tolerance.
_SRGB_GAMMA, _GAMMA_TOLERANCE, _CHROMATICITY_TOLERANCE = 1 / 2.2, 0.05, 0.002


def colors_of_image(image: Image.Image, data: bytes, name: str) -> bytes | ColorSpace | None:
    """Finds what the numbers of an opened picture mean.

    In this order: the codes of a cICP chunk or an nclx box, an ICC profile, an sRGB chunk, gAMA and cHRM chunks, and
    the EXIF tag of Adobe RGB.

    Args:
        image: Pillow's image.
        data: the file or its beginning, empty if it is not at hand.
        name: what to call the picture in a warning.

    Returns:
        An ICC profile, a color space, or None for sRGB and for pictures that state nothing.
    """
    codes = color_codes(data) if data.startswith(b"\x89PNG") else _nclx_codes(data) if data[4:8] == b"ftyp" else None
    stated = image.info.get("nclx_profile")
    if isinstance(stated, dict):
        # pillow-heif's own images.
        codes = stated["color_primaries"], stated["transfer_characteristics"], True
    profile = image.info.get("icc_profile")
    if codes is not None and (profile is None or data.startswith(b"\x89PNG")):
        return colors_of_codes(*codes, name)
    if profile:
        return bytes(profile)
    if "srgb" in image.info:
        return None
    try:
        if "gamma" in image.info or "chromaticity" in image.info:
            return _png_colors(image.info.get("gamma"), image.info.get("chromaticity"))
    except ValueError as error:
        warn_about_media(f"{name}: its gAMA and cHRM chunks are not carried out, {error}.")
        return None
    return from_chromaticities(ADOBE_RGB_PRIMARIES, power_curve(_ADOBE_RGB_GAMMA)) if _is_adobe_rgb(image) else None


def colors_of_codes(primaries: int, transfer: int, full_range: bool, name: str) -> ColorSpace | None:
    """Finds the color space of codes of ITU-T H.273: None for sRGB, and after a warning where they are not known."""
    try:
        if not full_range:
            raise ValueError("its range is that of video")
        return from_codes(primaries, transfer)
    except ValueError as error:
        warn_about_media(f"{name}: the colors are taken for sRGB, {error}.")
        return None


def manage_colors(color: np.ndarray, colors: bytes | ColorSpace, name: str) -> np.ndarray:
    """Converts a picture into sRGB, relative to white, with black point compensation.

    Args:
        color: (H, W, C) gray, RGB or CMYK (uint8 or uint16); uint8, uint16 or float32 in [0, 1].
        colors: an ICC profile or a color space.
        name: what to call the picture in a warning.

    Returns:
        (H, W, C) of the same type, RGB for CMYK. The numbers stay as they are, with a warning, if the profile is
        corrupt or meant for another kind of picture, and without one if it says sRGB within one level of 255.
    """
    if color.dtype == np.float32 and not (color.min() >= 0 and color.max() <= 1):
        # Such values are refused further on.
        return color
    try:
        if isinstance(colors, bytes):
            codes = _profile_codes(colors)
            colors = colors if codes is None else colors_of_codes(*codes, True, name)
        if isinstance(colors, bytes):
            return _manage_by_profile(color, colors, name)
    except (ImageCms.PyCMSError, ValueError, TypeError, OSError, struct.error) as error:
        warn_about_media(f"{name}: the ICC profile is not applied, and colors are taken for sRGB: {error}.")
        return color
    if colors is None or color.shape[2] == 4:
        return color
    if colors.high_dynamic_range:
        warn_about_media(
            f"{name}: it has a high dynamic range, and what is brighter than paper is compressed into sRGB."
        )
    return convert_to_srgb(color, colors)


def _manage_by_profile(color: np.ndarray, profile: bytes, name: str) -> np.ndarray:
    kind = profile[16:20]
    if kind == b"RGB " and color.shape[2] == 1:
        # A gray picture with a profile of RGB: gray of that space.
        color = color.repeat(3, axis=2)
    expected = {b"GRAY": 1, b"RGB ": 3, b"CMYK": 4}.get(kind)
    if color.shape[2] != expected:
        given = {1: "gray", 3: "RGB", 4: "CMYK"}[color.shape[2]]
        raise ValueError(f"it is meant for {kind.decode('latin-1').strip()} and the picture is {given}")
    transform = _transform(profile, {1: "L", 3: "RGB", 4: "CMYK"}[expected])
    if transform is None:
        return color
    if color.dtype == np.uint8:
        return _apply(transform, color)
    space = from_icc_matrix(profile)
    if space is not None:
        return convert_to_srgb(color, space)
    warn_about_media(f"{name}: the ICC profile is a table, which is applied with 8 bits of each value.")
    white = 1.0 if color.dtype == np.float32 else 65535.0
    managed = _apply(transform, np.rint(color * (255 / white)).astype(np.uint8))
    return (managed / 255).astype(np.float32) if color.dtype == np.float32 else managed.astype(np.uint16) * 257


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> Any:
    """LittleCMS's way from a profile to sRGB, or None if it leaves every number as it is, within one level."""
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if mode == "CMYK":
        return transform
    ramp = np.arange(256, dtype=np.uint8)[None, :, None]
    if mode == "RGB":
        steps = np.arange(0, 256, 17, dtype=np.uint8)
        lattice = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
        ramp = np.concatenate([lattice, ramp.repeat(3, axis=2)], axis=1)
    difference = _apply(transform, ramp).astype(int) - ramp
    return None if np.abs(difference).max() <= 1 else transform


def _apply(transform: Any, color: np.ndarray) -> np.ndarray:
    """(H, W, C) uint8 through a transform of LittleCMS, to (H, W, 3) uint8."""
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[color.shape[2]]
    image = Image.frombuffer(mode, color.shape[1::-1], np.ascontiguousarray(color), "raw", mode, 0, 1)
    managed = ImageCms.applyTransform(image, transform)
    return np.asarray(managed)


def _png_colors(gamma: float | None, chromaticity: tuple[float, ...] | None) -> ColorSpace | None:
    if gamma is not None and gamma <= 0:
        raise ValueError(f"gAMA must be positive, got {gamma}")
    if chromaticity is not None and len(chromaticity) != 8:
        raise ValueError(f"cHRM must have 8 numbers, got {len(chromaticity)}")
    as_srgb = gamma is None or abs(gamma / _SRGB_GAMMA - 1) < _GAMMA_TOLERANCE
    curve: Curve = decode_srgb if as_srgb else power_curve(1 / gamma)
    primaries = tuple(chromaticity or SRGB_PRIMARIES)
    near = all(abs(a - b) <= _CHROMATICITY_TOLERANCE for a, b in zip(primaries, SRGB_PRIMARIES, strict=True))
    if near and as_srgb:
        return None
    return from_chromaticities(SRGB_PRIMARIES if near else primaries, curve)


def _is_adobe_rgb(image: Image.Image) -> bool:
    """Whether EXIF says Adobe RGB: interoperability R03, or 2 where the standard knows sRGB and others alone."""
    if not image.info.get("exif"):
        return False
    exif = image.getexif()
    inner = exif.get_ifd(_EXIF_DIRECTORY)
    if inner.get(_COLOR_SPACE) == 2:
        return True
    index = exif.get_ifd(_INTEROPERABILITY).get(1) if _INTEROPERABILITY in inner else None
    return isinstance(index, str) and index.strip("\0 ") == "R03"


def _nclx_codes(data: bytes) -> tuple[int, int, bool] | None:
    """Primaries and transfer of the nclx box of an AVIF or HEIC picture.

    The range is that of its YUV, which the decoder carries out.
    """
    at = data.find(b"colrnclx", 0, 1 << 16)
    if at < 0 or at + 12 > len(data):
        return None
    primaries, transfer = struct.unpack(">HH", data[at + 8 : at + 12])
    return primaries, transfer, True


def _profile_codes(profile: bytes) -> tuple[int, int] | None:
    """Primaries and transfer of the cicp tag of an ICC profile, which states them better than its tables do."""
    tag = icc_tags(profile).get(b"cicp", b"")
    return (tag[8], tag[9]) if len(tag) >= 12 else None
