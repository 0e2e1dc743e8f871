"""Material files of OBJ meshes (MTL): the diffuse color, and the diffuse texture with its options."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .media_warnings_atoken import warn_about_media

# How many values the options of a texture have; those of three may have fewer, as long as they are numbers.
_OPTIONS = {
    **dict.fromkeys(("-blendu", "-blendv", "-cc", "-clamp", "-bm", "-boost", "-texres", "-imfchan", "-type"), 1),
    "-mm": 2,
    **dict.fromkeys(("-o", "-s", "-t"), 3),
}


@dataclass
class ObjMaterial:
    """
    Holds what a material says of the color of faces.

    Args:
        folder: the folder of its file, where texture names begin.
        diffuse: red, green and blue in [0, 1], or None.
        texture: the texture's name as it is written, or None.
        scale, offset: coordinates of the texture are multiplied by the one, then the other is added.
        clamp: whether the texture ends at its edges, and does not repeat.
    """

    folder: Path
    diffuse: np.ndarray | None = None
    texture: str | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    clamp: bool = False


def read_materials(path: Path, owner: Path) -> dict[str, ObjMaterial]:
    """Reads a material file.

    Args:
        path: the .mtl file.
        owner: the mesh file, for warnings.

    Returns:
        The materials by name.
    """
    materials: dict[str, ObjMaterial] = {}
    other_light: dict[str, str] = {}
    current, name = None, ""
    for line in decode(path.read_bytes()).splitlines():
        key, value = _split_at_blank(line)
        key = key.lower()
        if key == "newmtl":
            name, current = value, ObjMaterial(path.parent)
            materials[name] = current
        elif current is None or not value:
            continue
        elif key == "kd":
            current.diffuse = _color(value)
            if current.diffuse is None:
                warn_about_media(f"{owner}: the material {name} has the color Kd {value}, which cannot be read.")
        elif key == "map_kd":
            ignored = _read_texture_line(current, value)
            if ignored:
                warn_about_media(f"{owner}: of the texture of {name} the option {ignored} is left out.")
        elif key in ("map_ka", "map_ke"):
            other_light[name] = key
    for name, key in other_light.items():
        if materials[name].texture is None and materials[name].diffuse is None:
            warn_about_media(
                f"{owner}: the material {name} has only a texture {key}, which is left out, so it is gray."
            )
    return materials


def decode(data: bytes) -> str:
    """Decodes text that is UTF-8, or else the usual encoding of Western Windows."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _split_at_blank(line: str) -> tuple[str, str]:
    """The first word of a line, and the rest of it."""
    first, *rest = line.split(None, 1) or [""]
    return first, rest[0].strip() if rest else ""


def _color(value: str) -> np.ndarray | None:
    """Red, green and blue; one number alone stands for all three."""
    try:
        numbers = [float(word) for word in value.split()[:3]]
    except ValueError:
        return None
    color = np.array(numbers if len(numbers) == 3 else numbers[:1] * 3)
    return color.clip(0, 1) if np.isfinite(color).all() else None


def _read_texture_line(material: ObjMaterial, value: str) -> str:
    """Takes over options and name of a texture; gives an option that changes colors and cannot be carried out."""
    ignored = ""
    rest = value
    while rest.startswith("-"):
        option, after = _split_at_blank(rest)
        option = option.lower()
        if option not in _OPTIONS:
            break
        words, rest = _take(after, _OPTIONS[option], numbers=option in ("-o", "-s", "-t"))
        if option == "-clamp":
            material.clamp = words[:1] == ["on"]
        elif option in ("-s", "-o") and words:
            default = 1.0 if option == "-s" else 0.0
            pair = (*map(float, words), default)[:2]
            material.scale, material.offset = (pair, material.offset) if option == "-s" else (material.scale, pair)
        elif (option == "-mm" and words != ["0", "1"]) or (option == "-t" and any(map(float, words))):
            ignored = f"{option} {' '.join(words)}"
    material.texture = rest.strip('"')
    return ignored


def _take(text: str, most: int, numbers: bool) -> tuple[list[str], str]:
    """The next words, up to `most`, that are numbers if they must be, and what is left of the text."""
    words: list[str] = []
    while len(words) < most:
        word, after = _split_at_blank(text)
        # A name is left over at the end.
        if not after or (numbers and not _is_number(word)):
            break
        words.append(word)
        text = after
    return words, text


def _is_number(word: str) -> bool:
    try:
        return bool(np.isfinite(float(word)))
    except ValueError:
        return False
