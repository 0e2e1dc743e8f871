"""glTF 2.0 files: their JSON, and the bytes of their buffers, whether beside, inside or after it."""

import base64
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from .colored_mesh_atoken import MeshError
from .json_documents_atoken import parse_json
from .mesh_textures_atoken import find_file
from .neighbor_files_atoken import LOOKED_IN

_JSON, _BINARY = 0x4E4F534A, 0x004E4942
# Required extensions that are read, or that change neither shapes nor the base color.
_READ = frozenset(
    {
        "EXT_mesh_gpu_instancing",
        "EXT_texture_avif",
        "EXT_texture_webp",
        "KHR_draco_mesh_compression",
        "KHR_materials_pbrSpecularGlossiness",
        "KHR_materials_unlit",
        "KHR_mesh_quantization",
        "KHR_node_visibility",
        "KHR_texture_transform",
        "MSFT_texture_dds",
    }
)
_WITHOUT_EFFECT = (
    *("KHR_animation_", "KHR_lights_", "KHR_materials_", "KHR_node_", "KHR_xmp", "EXT_lights_", "EXT_materials_"),
    *("KHR_audio", "KHR_interactivity", "MSFT_lod", "CESIUM_RTC"),
)
_MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression", "MESHOPT_compression")
_UNPACK_MESHOPT = "Unpack the file, for example by `gltfpack -i in.glb -o out.glb -noq`."
_REMEDIES = {
    **dict.fromkeys(_MESHOPT, _UNPACK_MESHOPT),
    "KHR_texture_basisu": "Give it PNG or JPEG textures in place of KTX2, for example by "
    "`gltf-transform ktxdecompress in.glb out.glb`.",
}


@dataclass
class GltfFile:
    """
    Holds the JSON of a glTF file and finds what it points to.

    Args:
        path: the file.
        document: its JSON.
        blob: the binary chunk of a GLB file.
    """

    path: Path
    document: dict[str, Any]
    blob: bytes | None = None
    _buffers: dict[int, memoryview] = field(default_factory=dict)

    def entry(self, kind: str, index: Any) -> dict[str, Any]:
        """Gives an entry of one of the lists of the document, such as "meshes"; `MeshError` if there is none."""
        entries = self.document.get(kind, [])
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(entries):
            raise MeshError(f"{kind} must have the entry {index!r} that the file uses, it has {len(entries)} entries.")
        if not isinstance(entries[index], dict):
            raise MeshError(f"{kind}[{index}] must be an object, got {type(entries[index]).__name__}.")
        return entries[index]

    def requires(self, extension: str) -> bool:
        return extension in self.document.get("extensionsRequired", [])

    def view(self, index: Any) -> memoryview:
        """Gives the bytes of a buffer view."""
        view = self.entry("bufferViews", index)
        offset, length = view.get("byteOffset", 0), view["byteLength"]
        try:
            buffer = self._buffer(view["buffer"])
        except _NoData as error:
            packed = next((name for name in _MESHOPT if name in view.get("extensions", {})), None)
            if packed:
                raise MeshError(f"the file is packed by {packed}, which cannot be read. {_UNPACK_MESHOPT}") from error
            raise
        if offset < 0 or length < 0 or offset + length > len(buffer):
            raise ValueError(f"bufferViews[{index}] ends at byte {offset + length} of a buffer of {len(buffer)}")
        return buffer[offset : offset + length]

    def external(self, uri: str) -> Path | bytes:
        """Gives the contents of a data URI, or the path of the file that a relative URI names."""
        if uri.startswith("data:"):
            header, comma, text = uri.partition(",")
            if not comma:
                raise ValueError("a data URI has no comma")
            return base64.b64decode(unquote(text)) if header.endswith(";base64") else unquote_to_bytes(text)
        if "://" in uri:
            raise FileNotFoundError(f"{uri} is not beside the file: download it, and name it there")
        path = find_file(uri, [self.path.parent], self.path, percent_first=True)
        if path is None:
            raise FileNotFoundError(f"{unquote(uri)} does not exist in {LOOKED_IN}")
        return path

    def bytes_of_buffers(self) -> int:
        """Counts the bytes that all buffers have, whatever they announce: no intact file has more vertices."""
        total = 0
        for index in range(len(self.document.get("buffers", []))):
            try:
                total += len(self._buffer(index))
            except _NoData:
                continue
        return total

    def _buffer(self, index: Any) -> memoryview:
        if index not in self._buffers:
            buffer = self.entry("buffers", index)
            if buffer.get("uri") is not None:
                source = self.external(buffer["uri"])
                data = source if isinstance(source, bytes) else source.read_bytes()
            elif index == 0 and self.blob is not None:
                data = self.blob
            else:
                raise _NoData(f"buffers[{index}] has no data")
            if len(data) < buffer["byteLength"]:
                raise ValueError(f"buffers[{index}] must have {buffer['byteLength']} bytes, it has {len(data)}")
            self._buffers[index] = memoryview(data)
        return self._buffers[index]


class _NoData(ValueError):
    """Says that a buffer has neither a URI nor a chunk."""


def open_gltf(path: Path) -> GltfFile:
    """Opens a glTF or GLB file, whichever it is.

    Raises:
        MeshError: another version, or an extension is required that cannot be read.
        ValueError: the file is damaged.
    """
    data = path.read_bytes()
    text, blob = _chunks(data) if data[:4] == b"glTF" else (data, None)
    document = parse_json(text)
    if not isinstance(document, dict):
        raise ValueError("its JSON is no object")
    asset = document.get("asset")
    version = str((asset if isinstance(asset, dict) else {}).get("version", "1.0"))
    if version.partition(".")[0] != "2":
        raise MeshError(f"the file must be glTF 2.0, got version {version}. Convert it, for example by gltf-pipeline.")
    for name in document.get("extensionsRequired", []):
        if name not in _READ and (name in _REMEDIES or not str(name).startswith(_WITHOUT_EFFECT)):
            remedy = _REMEDIES.get(name, "Export the file without it.")
            raise MeshError(f"the file requires the extension {name}, which cannot be read. {remedy}")
    return GltfFile(path, document, blob)


def _chunks(data: bytes) -> tuple[bytes, bytes | None]:
    """The JSON of a GLB file, and its binary chunk if it has one."""
    version, length = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise MeshError(f"the file must be glTF 2.0, got version {version}. Convert it, for example by gltf-pipeline.")
    if length > len(data):
        raise ValueError(f"it ends after {len(data)} of {length} bytes")
    chunks: dict[int, bytes] = {}
    place = 12
    while place + 8 <= length:
        size, kind = struct.unpack_from("<II", data, place)
        place += 8
        if place + size > length:
            raise ValueError(f"a chunk ends after {length - place} of {size} bytes")
        # Of each kind the first counts.
        chunks.setdefault(kind, data[place : place + size])
        place += size
    if _JSON not in chunks:
        raise ValueError("it has no JSON")
    return chunks[_JSON], chunks.get(_BINARY)
