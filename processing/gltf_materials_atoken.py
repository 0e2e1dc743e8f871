"""Materials of glTF files to the colors and textures of faces."""

from typing import Any

import numpy as np

from .color_spaces_atoken import decode_srgb
from .colored_mesh_atoken import GRAY
from .gltf_files_atoken import GltfFile
from .gltf_primitives_atoken import Primitive
from .media_warnings_atoken import warn_about_media
from .mesh_textures_atoken import TextureShelf, texture_pixels
from .pil_decoding_atoken import DECODING_ERRORS

_WRAPS = {10497: "repeat", 33648: "mirror", 33071: "clamp"}
_GLOSS = "KHR_materials_pbrSpecularGlossiness"
# Other pictures for the same texture, in formats of extensions; those that Pillow reads.
_OTHER_PICTURES = ("EXT_texture_avif", "EXT_texture_webp", "MSFT_texture_dds")


class GltfMaterials:
    """
    Gives the surfaces of one file.

    Args:
        file: the file.
        shelf: where its textures are collected.
    """

    def __init__(self, file: GltfFile, shelf: TextureShelf):
        self._file, self._shelf = file, shelf
        self._warned: set[str] = set()

    def surface(self, index: Any, primitive: Primitive, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Gives what the faces of a primitive look like, without light.

        The color is the base color of the material times COLOR_0 times the texture, all in linear light. Faces of
        which nothing says a color are gray.

        Args:
            index: which material, or None for none.
            primitive: where the attributes are.
            faces: (F, 3).

        Returns:
            Linear colors (F, 3, 3), texture coordinates (F, 3, 2) with v upwards, and the texture, -1 for none.
        """
        material = {} if index is None else self._file.entry("materials", index)
        gloss = material.get("extensions", {}).get(_GLOSS)
        if gloss is None:
            base = material.get("pbrMetallicRoughness", {})
            factor, info = base.get("baseColorFactor"), base.get("baseColorTexture")
        else:
            factor, info = gloss.get("diffuseFactor"), gloss.get("diffuseTexture")
        uv, texture = np.zeros((len(faces), 3, 2)), -1
        if info is not None:
            uv, texture = self._texture(info, primitive, faces)
        vertex_colors = primitive.attribute("COLOR_0")
        # A texture that got lost leaves no color behind, a material without texture is white.
        known = factor is not None or vertex_colors is not None or texture >= 0 or (index is not None and info is None)
        color = np.asarray((factor or [1, 1, 1])[:3], dtype=np.float64) if known else decode_srgb(np.full(3, GRAY))
        self._warn_of_light(material, color)
        colors = np.broadcast_to(color, (len(faces), 3, 3))
        if vertex_colors is not None:
            colors = colors * vertex_colors[:, :3].clip(0, 1)[faces]
        return colors, uv, texture

    def _texture(self, info: dict[str, Any], primitive: Primitive, faces: np.ndarray) -> tuple[np.ndarray, int]:
        """Texture coordinates (F, 3, 2) and the place of the texture on the shelf, -1 if it is lost."""
        transform = info.get("extensions", {}).get("KHR_texture_transform", {})
        name = f"TEXCOORD_{transform.get('texCoord', info.get('texCoord', 0))}"
        coordinates = primitive.attribute(name)
        if coordinates is None:
            self._warn(f"a part has a texture and no {name} to lay it on, so it is left out.")
            return np.zeros((len(faces), 3, 2)), -1
        uv = _transformed(coordinates[:, :2].astype(np.float64), transform)
        # In glTF v runs downwards.
        uv[:, 1] = 1 - uv[:, 1]
        texture = self._file.entry("textures", info["index"])
        sampler = {} if texture.get("sampler") is None else self._file.entry("samplers", texture["sampler"])
        wrap = tuple(_WRAPS.get(sampler.get(way), "repeat") for way in ("wrapS", "wrapT"))
        place = self._shelf.add(tuple(_pictures(texture)), wrap, lambda: self._picture(texture))
        return uv[faces], place

    def _picture(self, texture: dict[str, Any]) -> np.ndarray | None:
        """The first of the pictures of a texture that can be read; if none can, warns."""
        reasons = []
        for index in _pictures(texture):
            try:
                image = self._file.entry("images", index)
                if image.get("uri") is not None:
                    label, source = str(image["uri"]), self._file.external(image["uri"])
                    label = f"images[{index}]" if label.startswith("data:") else label
                else:
                    label, source = f"images[{index}]", bytes(self._file.view(image["bufferView"]))
            except FileNotFoundError as error:
                reasons.append(str(error))
                continue
            try:
                return texture_pixels(source)
            except DECODING_ERRORS as error:
                kind = f" of the type {image['mimeType']}" if "mimeType" in image else ""
                reasons.append(f"{label}{kind} cannot be read: {error}")
        if not reasons:
            others = ", ".join(texture.get("extensions", {})) or "nothing"
            reasons = [f"its picture is given by {others}, which cannot be read"]
        self._warn(f"a texture is left out, so its faces have no picture: {'; '.join(reasons)}.")
        return None

    def _warn_of_light(self, material: dict[str, Any], color: np.ndarray) -> None:
        emits = material.get("emissiveTexture") is not None or any(material.get("emissiveFactor", []))
        if emits and not color.any():
            name = material.get("name", "a material")
            self._warn(f"{name} is black but for the light that it emits; light is left out, so it is black.")

    def _warn(self, message: str) -> None:
        """Warns once of each matter, however many parts have it."""
        if message not in self._warned:
            self._warned.add(message)
            warn_about_media(f"{self._file.path}: {message}")


def _pictures(texture: dict[str, Any]) -> list[Any]:
    """The pictures that a texture may be shown with, the best first."""
    extensions = texture.get("extensions", {})
    indices = [extensions[name].get("source") for name in _OTHER_PICTURES if name in extensions]
    return [index for index in (*indices, texture.get("source")) if index is not None]


def _transformed(uv: np.ndarray, transform: dict[str, Any]) -> np.ndarray:
    """Carries out KHR_texture_transform: coordinates (V, 2), v downwards, are scaled, turned and moved."""
    angle = float(transform.get("rotation", 0))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    if angle:
        return (uv * transform.get("scale", [1, 1])) @ turn.T + transform.get("offset", [0, 0])
    return uv * transform.get("scale", [1, 1]) + transform.get("offset", [0, 0])
