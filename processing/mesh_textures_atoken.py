"""Pictures that mesh files lay on their faces: found by the names in the files, and read as they are stored."""

import unicodedata
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from .media_warnings_atoken import warn_about_media
from .neighbor_files_atoken import LOOKED_IN, SIBLINGS, is_near
from .picture_opening_atoken import open_picture
from .pil_decoding_atoken import DECODING_ERRORS
from .size_limits_atoken import TEXTURE_PIXELS

# Where exporters and archives put textures, beside the file that names them.
_USUAL_FOLDERS = ("", *SIBLINGS, *(f"../{name}" for name in SIBLINGS))


class TextureShelf:
    """Collects the textures of one mesh file, each picture once.

    Attributes:
        pixels: arrays (H, W, 3) float32 in [0, 1].
        wraps: how each goes on outside [0, 1], as in `ColoredMesh`.
    """

    def __init__(self) -> None:
        self.pixels: list[np.ndarray] = []
        self.wraps: list[tuple[str, str]] = []
        self._read: dict[Hashable, np.ndarray | None] = {}
        self._places: dict[Hashable, int] = {}
        self._total = 0

    def add(self, key: Hashable, wrap: tuple[str, str], read: Callable[[], np.ndarray | None]) -> int:
        """
        Gives the place of a texture, which `read` reads unless that was done for this key; -1 if it gives None.

        Raises:
            ValueError: all textures together have more pixels than `TEXTURE_PIXELS` allows.
        """
        if key not in self._read:
            self._read[key] = read()
            self._total += 0 if self._read[key] is None else self._read[key][..., 0].size
            TEXTURE_PIXELS.check(self._total, "the mesh")
        pixels = self._read[key]
        if pixels is None:
            return -1
        if (key, wrap) not in self._places:
            self._places[key, wrap] = len(self.pixels)
            self.pixels.append(pixels)
            self.wraps.append(wrap)
        return self._places[key, wrap]


def read_texture(written: str, folders: Sequence[Path], owner: Path) -> np.ndarray | None:
    """Finds and reads the picture that a mesh file names; if that fails, warns and gives None.

    Args:
        written: the name as it is written in the file.
        folders: where names begin, the likeliest first.
        owner: the mesh file, for the warning.

    Returns:
        (H, W, 3) float32 in [0, 1].
    """
    path = find_file(written, folders, owner)
    if path is None:
        warn_about_media(f"{owner}: the texture {written} was not found in {LOOKED_IN}, so its faces have no picture.")
        return None
    try:
        return texture_pixels(path)
    except DECODING_ERRORS as error:
        warn_about_media(f"{owner}: the texture {written} cannot be read, so its faces have no picture ({error}).")
        return None


def find_file(written: str, folders: Sequence[Path], owner: Path, percent_first: bool = False) -> Path | None:
    """Finds a file by the name that another file has for it.

    Names may have backslashes, percent codes, or another case than the file, and may be paths of the machine where
    they were written. As a last resort a file of the same base name nearby is taken, and a warning says so. Only files
    near to `owner` are found, see `is_near`.

    Args:
        written: the name as it is written.
        folders: where relative names begin, the likeliest first.
        owner: the file that has the name, for the warning.
        percent_first: whether the name is a URI, in which percent codes are the rule.

    Returns:
        The path, or None if there is no such file.
    """
    names = [written, unquote(written)]
    names = list(dict.fromkeys(reversed(names) if percent_first else names))
    names += [name.replace("\\", "/") for name in names if "\\" in name]
    for name in names:
        for folder in folders:
            if _is_file(folder / name) and is_near(folder / name, owner):
                return folder / name
    for name in names:
        for folder in folders:
            found = _in_another_case(folder, name)
            if found is not None and is_near(found, owner):
                return found
    for name in dict.fromkeys(name.rsplit("/", 1)[-1] for name in reversed(names)):
        for folder in folders:
            for usual in _USUAL_FOLDERS:
                found = _in_another_case(folder / usual, name)
                if found is not None and is_near(found, owner):
                    warn_about_media(f"{owner}: {written} was not found; {found} was taken for it.")
                    return found
    return None


def texture_pixels(source: Path | bytes) -> np.ndarray:
    """Reads the colors of a picture as they are stored: without transparency, color profile or orientation.

    Args:
        source: a file, or its contents, in any format that Pillow reads; of an animation, the first picture is taken.

    Returns:
        (H, W, 3) float32 in [0, 1].

    Raises:
        one of `DECODING_ERRORS`: it is no picture, damaged, or of a kind without agreed colors.
    """
    with open_picture(source if isinstance(source, bytes) else source.read_bytes()) as image:
        if not image.width or not image.height:
            raise ValueError(f"it has {image.width}x{image.height} pixels")
        image.load()
        # Pillow has 16-bit gray of PGM as 32-bit integers, and older versions that of PNG too; it clips it as RGB.
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
            gray = np.asarray(image, dtype=np.float32) / 65535
        elif image.mode == "F":
            gray = np.asarray(image, dtype=np.float32).clip(0, 1)
        elif image.mode == "I":
            raise ValueError("it has 32-bit integers, which have no agreed white")
        else:
            return np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    return np.repeat(gray[:, :, None], 3, axis=2)


def _in_another_case(folder: Path, name: str) -> Path | None:
    """The file that has the name but for the case of its letters, and how accents are composed."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or name.startswith("/") or len(parts) > 32:
        return None
    for part in parts:
        if part == "..":
            folder = folder / part
            continue
        try:
            entries = [entry for entry in folder.iterdir() if _folded(entry.name) == _folded(part)]
        except (OSError, ValueError):
            return None
        if not entries:
            return None
        # Of several, the one of exactly this name, or the first.
        folder = next((entry for entry in entries if entry.name == part), min(entries))
    return folder if _is_file(folder) else None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    # Names out of damaged files may be too long, or hold zeros.
    except (OSError, ValueError):
        return False
