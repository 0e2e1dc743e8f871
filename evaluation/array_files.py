"""Images in the `.npz` files of ADM's evaluator, read and written without holding all of them in memory.

`arr_0` are the images (N, H, W, 3) uint8, and `arr_1`, where there is one, the numbers of their classes (N,).
"""

import math
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from atoken.processing.atomic_files_atoken import atomic_file
from atoken.processing.size_limits_atoken import SizeLimit

# Of an array that is read as a whole, such as labels and statistics.
ARRAY_BYTES = SizeLimit("ATOKEN_MAX_ARRAY_BYTES", 2**30, "bytes")
IMAGES, LABELS = "arr_0", "arr_1"
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, OSError)


class ArrayFile:
    """
    Reads images of a file, some rows at a time; forward is fast, also in a compressed file.

    Args:
        path: of the file.
        what: how an error calls it.

    Attributes:
        shape: (N, H, W, 3).
        names: of all arrays in the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has no images, or is damaged.
    """

    def __init__(self, path: str | Path, what: str = "path"):
        self.path, self.what = Path(path), what
        self._stream: Any = None
        if not self.path.is_file():
            raise FileNotFoundError(f"{what}: there is no file {path}")
        try:
            with zipfile.ZipFile(self.path) as archive:
                self.names = [Path(name).stem for name in archive.namelist() if name.endswith(".npy")]
                header = _read_header(archive, IMAGES) if IMAGES in self.names else None
        except _DAMAGED as error:
            raise ValueError(f"{what} must be an .npz file of arrays, got {path}: {error}") from error
        if header is None:
            raise ValueError(f"{what} must have images {IMAGES} (N, H, W, 3) uint8, got none in {path}")
        shape, fortran, dtype, self._start = header
        if len(shape) != 4 or shape[-1] != 3 or dtype != np.uint8 or fortran or not all(shape):
            raise ValueError(f"{what} must have images {IMAGES} (N, H, W, 3) uint8, got {shape} {dtype} in {path}")
        self.shape = shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_stream": None}  # other processes open the file themselves

    def rows(self, start: int, stop: int) -> np.ndarray:
        """
        Reads images from `start` to before `stop`: (stop - start, H, W, 3) uint8.

        Raises:
            ValueError: the file is damaged there.
        """
        size = math.prod(self.shape[1:])
        try:
            if self._stream is None:
                self._stream = zipfile.ZipFile(self.path).open(f"{IMAGES}.npy")
            self._stream.seek(self._start + start * size)
            data = self._stream.read((stop - start) * size)
        except _DAMAGED as error:
            raise ValueError(f"{self.what}: {self.path} is damaged: {error}") from error
        if len(data) != (stop - start) * size:
            raise ValueError(f"{self.what}: {self.path} is damaged: it ends before image {stop}")
        return np.frombuffer(bytearray(data), np.uint8).reshape(stop - start, *self.shape[1:])

    def array(self, name: str) -> np.ndarray:
        """
        Reads another array, all of it.

        Raises:
            ValueError: there is none of that name, or it is damaged.
        """
        try:
            with zipfile.ZipFile(self.path) as archive:
                shape, _, dtype, _ = _read_header(archive, name)
                ARRAY_BYTES.check(math.prod(shape) * dtype.itemsize, f"{self.what}: the array {name} of {self.path}")
            with np.load(self.path, allow_pickle=False) as file:
                return file[name]
        except _DAMAGED as error:
            raise ValueError(f"{self.what}: the array {name} of {self.path} cannot be read: {error}") from error


def write_arrays(
    path: str | Path, images: Iterable[np.ndarray], shape: tuple[int, ...], labels: np.ndarray | None = None
) -> None:
    """
    Writes images as ADM's evaluator reads them, as they come.

    Args:
        path: ends in `.npz`; an existing file is replaced at the end.
        images: N of them, (H, W, 3) uint8.
        shape: (N, H, W, 3).
        labels: (N,) numbers of their classes.

    Raises:
        ValueError: an image has another shape or dtype, or there are more or fewer of them.
    """
    count = 0
    with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        with archive.open(f"{IMAGES}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for count, image in enumerate(images, start=1):
                if image.shape != tuple(shape[1:]) or image.dtype != np.uint8:
                    raise ValueError(
                        f"images must be {tuple(shape[1:])} uint8, got {image.shape} {image.dtype} as number {count}"
                    )
                file.write(np.ascontiguousarray(image).data)
        if count != shape[0]:
            raise ValueError(f"images must be {shape[0]} of them, got {count}")
        if labels is not None:
            with archive.open(f"{LABELS}.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(labels, np.int64))


def _read_header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, order, dtype, and where the values begin; `ValueError` if the archive has not as many bytes."""
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        start = file.tell()
    announced, there = math.prod(shape) * dtype.itemsize, archive.getinfo(f"{name}.npy").file_size - start
    if min(shape, default=0) < 0 or announced > there:
        raise ValueError(f"{name} announces {announced:,} bytes of numbers, and has {there:,}")
    return shape, fortran, dtype, start
