"""Small glTF files for tests, and pictures of what was read from them."""

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from atoken.processing.cameras_atoken import look_at
from atoken.processing.colored_mesh_atoken import ColoredMesh
from atoken.processing.mesh_views_atoken import render_mesh

SQUARE = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]], dtype=np.float32)
SQUARE_FACES = np.array([0, 1, 2, 0, 2, 3], dtype=np.uint16)
# v downwards: the first row of a texture lies along the upper edge.
SQUARE_UV = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], dtype=np.float32)
RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
QUADRANTS = {"TL": RED, "TR": GREEN, "BL": BLUE, "BR": YELLOW}
_TYPES = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
_FORMS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


def quadrant_picture(size: int = 8) -> np.ndarray:
    """Red, green, blue and yellow quarters, (size, size, 3) uint8."""
    pixels = np.zeros((size, size, 3), dtype=np.uint8)
    half = size // 2
    for name, color in QUADRANTS.items():
        rows = slice(0, half) if name[0] == "T" else slice(half, size)
        columns = slice(0, half) if name[1] == "L" else slice(half, size)
        pixels[rows, columns] = color
    return pixels


def png(pixels: np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


class Builder:
    """Collects the document and the buffer of one file."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {"asset": {"version": "2.0"}}
        self.blob = b""

    def add(self, kind: str, entry: dict[str, Any]) -> int:
        self.document.setdefault(kind, []).append(entry)
        return len(self.document[kind]) - 1

    def view(self, data: bytes, **more: Any) -> int:
        self.blob += b"\0" * (-len(self.blob) % 4)
        offset = len(self.blob)
        self.blob += data
        return self.add("bufferViews", {"buffer": 0, "byteOffset": offset, "byteLength": len(data), **more})

    def accessor(self, values: np.ndarray, **more: Any) -> int:
        """Adds an accessor of rows of numbers."""
        values = np.ascontiguousarray(values)
        width = 1 if values.ndim == 1 else values.shape[1]
        return self.add(
            "accessors",
            {
                "bufferView": self.view(values.tobytes()),
                "componentType": _TYPES[values.dtype.str[1:]],
                "count": len(values),
                "type": _FORMS[width],
                **more,
            },
        )

    def texture(self, image: bytes, mime: str = "image/png", **more: Any) -> int:
        source = self.add("images", {"bufferView": self.view(image), "mimeType": mime})
        return self.add("textures", {"source": source, **more})

    def textured(self, texture: int, **info: Any) -> int:
        return self.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": {"index": texture, **info}}})

    def square(self, material: int | None = None, positions: int | None = None, **attributes: int) -> int:
        """Adds a square of side 1 that faces +z as a mesh."""
        attributes = {"POSITION": self.accessor(SQUARE) if positions is None else positions, **attributes}
        primitive: dict[str, Any] = {"attributes": attributes, "indices": self.accessor(SQUARE_FACES)}
        if material is not None:
            primitive["material"] = material
        return self.add("meshes", {"primitives": [primitive]})

    def show(self, *nodes: dict[str, Any]) -> None:
        """Makes a scene of nodes."""
        indices = [self.add("nodes", node) for node in nodes]
        self.document.update(scene=0, scenes=[{"nodes": indices}])

    def require(self, *names: str) -> None:
        self.document["extensionsUsed"] = self.document["extensionsRequired"] = list(names)

    def glb(self) -> bytes:
        self.document["buffers"] = [{"byteLength": len(self.blob)}]
        text = json.dumps(self.document).encode()
        text += b" " * (-len(text) % 4)
        blob = self.blob + b"\0" * (-len(self.blob) % 4)
        chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(blob), 0x004E4942) + blob
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks

    def save(self, folder: Path) -> Path:
        path = folder / "scene.glb"
        path.write_bytes(self.glb())
        return path


def quadrants(mesh: ColoredMesh) -> dict[str, tuple[int, ...]]:
    """Looks at a mesh along +y, z upwards: the colors in its four quarters."""
    picture = look(mesh)
    low, high = int(len(picture) * 0.37), int(len(picture) * 0.63)
    places = {"TL": (low, low), "TR": (low, high), "BL": (high, low), "BR": (high, high)}
    return {name: tuple(picture[place].round().astype(int).tolist()) for name, place in places.items()}


def look(mesh: ColoredMesh, size: int = 64) -> np.ndarray:
    """The picture (size, size, 3), to 255, of a mesh seen along +y, z upwards."""
    camera = look_at(torch.tensor([[0.0, -2.2, 0.0]]))
    images, _ = render_mesh(mesh, camera.world_to_camera, camera.intrinsics, size=size, pixel_offset=0.5)
    return images[0].permute(1, 2, 0).numpy() * 255.0


def encoded(light: Any) -> np.ndarray:
    """sRGB values, to 255, of linear light (IEC 61966-2-1)."""
    light = np.asarray(light, dtype=np.float64)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


def decoded(values: Any) -> np.ndarray:
    """Linear light of sRGB values to 255."""
    values = np.asarray(values, dtype=np.float64) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
