"""One small intact file of every format that is read, for the tests that damage them."""

import io
import json
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

from atoken.tokenizing.latent_files import write_latents
from atoken_headers.latents import LatentHeader

from ..processing.samples import png16, smooth_clip

_PICTURE = smooth_clip(1, 40, 56)[0]
_CLIP = smooth_clip(9, 32, 48)


def _pillow(name: str, mode: str = "RGB", **options: object) -> Callable[[], bytes]:
    def write() -> bytes:
        file = io.BytesIO()
        Image.fromarray(_PICTURE).convert(mode).save(file, name, **options)
        return file.getvalue()

    return write


def _animation(name: str, **options: object) -> Callable[[], bytes]:
    def write() -> bytes:
        file = io.BytesIO()
        first, *rest = (Image.fromarray(frame) for frame in _CLIP)
        first.save(file, name, save_all=True, append_images=rest, duration=80, **options)
        return file.getvalue()

    return write


def _gray16_tiff() -> bytes:
    file = io.BytesIO()
    Image.fromarray(_PICTURE[..., 0].astype(np.uint16) * 257).save(file, "TIFF", compression="tiff_lzw")
    return file.getvalue()


def _video(container_format: str, codec: str, pixel_format: str = "yuv420p") -> Callable[[], bytes]:
    def write() -> bytes:
        file = io.BytesIO()
        with av.open(file, "w", format=container_format) as container:
            stream = container.add_stream(codec, rate=25)
            stream.height, stream.width, stream.pix_fmt = 32, 48, pixel_format
            for frame in _CLIP:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        return file.getvalue()

    return write


_CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype="<f4")
_FACES = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6]], dtype="<u2")


def _glb() -> bytes:
    positions, indices = _CORNERS.tobytes(), _FACES.tobytes()
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 8, "type": "VEC3", "min": [0] * 3, "max": [1] * 3},
            {"bufferView": 1, "componentType": 5123, "count": _FACES.size, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": len(positions)},
            {"buffer": 0, "byteOffset": len(positions), "byteLength": len(indices)},
        ],
        "buffers": [{"byteLength": len(positions) + len(indices)}],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    body = positions + indices
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(body), 0x004E4942) + body
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _obj() -> bytes:
    lines = ["v {:g} {:g} {:g}".format(*corner) for corner in _CORNERS]
    return "\n".join([*lines, *("f {} {} {}".format(*(face + 1)) for face in _FACES.astype(int)), ""]).encode()


def _ply() -> bytes:
    header = (
        "ply\nformat binary_little_endian 1.0\nelement vertex 8\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(_FACES)}\nproperty list uchar ushort vertex_indices\nend_header\n"
    )
    return header.encode() + _CORNERS.tobytes() + b"".join(b"\3" + face.tobytes() for face in _FACES)


def _stl() -> bytes:
    triangles = b"".join(bytes(12) + _CORNERS[face].tobytes() + bytes(2) for face in _FACES)
    return bytes(80) + struct.pack("<I", len(_FACES)) + triangles


_HEADER = LatentHeader(
    kind="image",
    media_size=(1, 32, 48),
    patch_size=(4, 16, 16),
    latent_channels=8,
    quantizer=None,
    content="latents",
    dtype="BF16",
    model="some model",
    model_type="atoken",
    fingerprint="0" * 64,
)

_GAUSSIAN_PROPERTIES = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)


def _gaussian_ply() -> bytes:
    properties = "".join(f"property float {name}\n" for name in _GAUSSIAN_PROPERTIES)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex 12\n{properties}end_header\n"
    values = np.random.default_rng(0).normal(size=(12, len(_GAUSSIAN_PROPERTIES)))
    return header.encode() + values.astype("<f4").tobytes()


def _splat() -> bytes:
    rng = np.random.default_rng(0)
    floats = np.concatenate([rng.normal(size=(12, 3)), rng.uniform(0.01, 0.1, (12, 3))], axis=1).astype("<f4")
    return b"".join(row.tobytes() + rng.integers(1, 256, 8, dtype=np.uint8).tobytes() for row in floats)


def _latents() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        write_latents(path, _HEADER, [torch.arange(48.0).view(1, 2, 3, 8).to(torch.bfloat16)], lambda: (1, 32, 48))
        return path.read_bytes()


# Suffix, perhaps after a name -> how the file is made.
IMAGES: dict[str, Callable[[], bytes]] = {
    ".png": _pillow("PNG"),
    "palette.png": _pillow("PNG", "P"),
    "deep.png": lambda: png16(_PICTURE.astype(np.uint16) * 257),
    ".jpg": _pillow("JPEG", quality=90),
    "progressive.jpg": _pillow("JPEG", quality=90, progressive=True),
    ".gif": _pillow("GIF", "P"),
    ".webp": _pillow("WEBP", lossless=True),
    "lossy.webp": _pillow("WEBP", quality=90),
    ".bmp": _pillow("BMP"),
    ".ppm": _pillow("PPM"),
    ".tga": _pillow("TGA"),
    ".tif": _pillow("TIFF"),
    "lzw.tif": _pillow("TIFF", compression="tiff_lzw"),
    "deep.tif": _gray16_tiff,
    ".jp2": _pillow("JPEG2000"),
    ".avif": _pillow("AVIF", quality=90),
}
VIDEOS: dict[str, Callable[[], bytes]] = {
    ".mp4": _video("mp4", "libx264"),
    ".mov": _video("mov", "mpeg4"),
    ".mkv": _video("matroska", "libx264"),
    "lossless.mkv": _video("matroska", "ffv1"),
    ".webm": _video("webm", "libvpx"),
    ".avi": _video("avi", "mpeg4"),
    ".ts": _video("mpegts", "libx264"),
    ".mpg": _video("mpeg", "mpeg2video"),
    ".flv": _video("flv", "flv1"),
    "moving.gif": _animation("GIF"),
    "moving.webp": _animation("WEBP", lossless=True),
    "moving.png": _animation("PNG"),
}
OBJECTS: dict[str, Callable[[], bytes]] = {".glb": _glb, ".obj": _obj, ".ply": _ply, ".stl": _stl}
GAUSSIANS: dict[str, Callable[[], bytes]] = {"gaussians.ply": _gaussian_ply, ".splat": _splat}
LATENTS: dict[str, Callable[[], bytes]] = {".safetensors": _latents}
FORMATS = {"image": IMAGES, "video": VIDEOS, "object": OBJECTS, "gaussians": GAUSSIANS, "latents": LATENTS}

# Where the end of a file is not marked in any way, a cut at the right place leaves a whole shorter file.
ENDLESS = {".obj", ".ts", ".mpg", ".flv", ".splat"}
# Files in which every byte that matters is under a checksum that readers look at.
CHECKED = {".png", "palette.png", "deep.png"}
