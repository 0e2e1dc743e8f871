"""3D Gaussians in files that viewers open: the PLY layout of 3D Gaussian splatting, and `.splat`."""

from pathlib import Path

import numpy as np
import torch

from .atomic_files_atoken import atomic_file
from .gaussians_atoken import SH_C0, Gaussians

_PLY_TYPES = {
    **dict.fromkeys(("float", "float32"), "<f4"),
    **dict.fromkeys(("double", "float64"), "<f8"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("short", "int16"), "<i2"),
    **dict.fromkeys(("ushort", "uint16"), "<u2"),
    **dict.fromkeys(("int", "int32"), "<i4"),
    **dict.fromkeys(("uint", "uint32"), "<u4"),
}
_COLUMNS = {
    "means": ("x", "y", "z"),
    "sh0": ("f_dc_0", "f_dc_1", "f_dc_2"),
    "opacities": ("opacity",),
    "scales": ("scale_0", "scale_1", "scale_2"),
    "quats": ("rot_0", "rot_1", "rot_2", "rot_3"),
}
# Files hold logits and logarithms: nothing may be infinite in them.
_TINY = 1e-6
_SPLAT = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("quat", "u1", 4)])


def save_ply(gaussians: Gaussians, path: str | Path) -> None:
    """
    Writes a binary little-endian PLY: x y z, nx ny nz (zeros), f_dc_0..2, opacity (logit), scale_0..2 (log), rot_0..3.

    The opacity is kept within [1e-6, 1 - 1e-6] and scales at 1e-6 or more, so that every value is finite.

    Raises:
        FileNotFoundError: if the folder does not exist.
        IsADirectoryError: if path is a folder.
    """
    opacity = gaussians.opacities.detach().double().clamp(_TINY, 1 - _TINY)
    values = {
        "means": gaussians.means,
        "normals": torch.zeros_like(gaussians.means),
        "sh0": gaussians.sh0,
        "opacities": torch.logit(opacity)[:, None],
        "scales": gaussians.scales.double().clamp_min(_TINY).log(),
        "quats": gaussians.quats,
    }
    columns = {**_COLUMNS, "normals": ("nx", "ny", "nz")}
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(gaussians)}"]
    header += [f"property float {column}" for name in values for column in columns[name]]
    table = torch.cat([value.detach().cpu().float() for value in values.values()], dim=1)
    _write(path, "\n".join([*header, "end_header", ""]).encode() + table.numpy().astype("<f4").tobytes())


def load_ply(path: str | Path) -> Gaussians:
    """
    Reads a PLY of 3D Gaussian splatting, binary little-endian or ascii, with properties in any order; view-dependent
    color (`f_rest_*`) and other properties are left out.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no such PLY, or is cut off.
    """
    data = _read(path)
    head, end, body = data.partition(b"\nend_header")
    newline = body.find(b"\n")
    if not data.startswith(b"ply") or not end or newline < 0:
        raise ValueError(f"path: {path} is not a PLY file: it has no PLY header")
    body = body[newline + 1 :]
    lines = [line.split() for line in head.decode("ascii", "replace").splitlines()]
    form = next((line[1] for line in lines if len(line) > 1 and line[0] == "format"), None)
    elements = [line for line in lines if line and line[0] == "element"]
    if form not in ("binary_little_endian", "ascii"):
        raise ValueError(f"path: {path} must be binary_little_endian or ascii, got {form}")
    if len(elements) != 1 or elements[0][1:2] != ["vertex"] or not elements[0][-1].isdigit():
        raise ValueError(f"path: {path} must hold vertices and nothing else, got {elements}")
    properties = [line for line in lines if line and line[0] == "property"]
    if any(len(line) != 3 or line[1] not in _PLY_TYPES for line in properties):
        raise ValueError(f"path: {path} must hold properties that are numbers, got {properties}")
    names = [name for _, _, name in properties]
    missing = [column for columns in _COLUMNS.values() for column in columns if column not in names]
    if missing or len(set(names)) < len(names):
        raise ValueError(f"path: {path} does not hold Gaussians: it lacks {missing} or names a property twice")
    count = int(elements[0][-1])
    dtype = np.dtype([(name, _PLY_TYPES[kind]) for _, kind, name in properties])
    try:
        if form == "ascii":
            rows = np.array(body.split(), dtype=np.float64).reshape(count, len(names))
            table = {name: rows[:, i] for i, name in enumerate(names)}
        else:
            table = np.frombuffer(body, dtype=dtype, count=count)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"path: {path} is cut off or damaged, {count} vertices are announced ({error})") from error
    fields = {
        name: torch.from_numpy(np.stack([np.asarray(table[column], dtype=np.float32) for column in columns], axis=1))
        for name, columns in _COLUMNS.items()
    }
    fields["opacities"] = torch.sigmoid(fields["opacities"][:, 0])
    fields["scales"] = fields["scales"].exp()
    return _checked(path, fields)


def save_splat(gaussians: Gaussians, path: str | Path) -> None:
    """
    Writes 32 bytes per Gaussian, position, scale, rgba and rotation, by falling volume times opacity. Colors and
    opacities are rounded to 1/255 (colors outside of [0, 1] are cut off) and unit quaternions to 1/128.

    Raises:
        FileNotFoundError: if the folder does not exist.
        IsADirectoryError: if path is a folder.
    """
    gaussians = gaussians.detach().to("cpu", torch.float32)
    order = torch.argsort(gaussians.scales.prod(-1) * gaussians.opacities, descending=True, stable=True)
    gaussians = gaussians[order]
    table = np.empty(len(gaussians), dtype=_SPLAT)
    table["position"], table["scale"] = gaussians.means.numpy(), gaussians.scales.numpy()
    rgba = torch.cat([gaussians.rgb, gaussians.opacities[:, None]], dim=1)
    table["rgba"] = (rgba.clamp(0, 1) * 255).round().byte().numpy()
    quats = torch.nn.functional.normalize(gaussians.quats, dim=-1)
    table["quat"] = (quats * 128 + 128).round().clamp(0, 255).byte().numpy()
    _write(path, table.tobytes())


def load_splat(path: str | Path) -> Gaussians:
    """Reads a `.splat` file. Raises FileNotFoundError, and ValueError if the file is cut off or something else."""
    data = _read(path)
    if len(data) % _SPLAT.itemsize:
        raise ValueError(f"path: {path} must be 32 bytes for each Gaussian, got {len(data)} bytes")
    table = np.frombuffer(data, dtype=_SPLAT)
    rgba = torch.from_numpy(table["rgba"].astype(np.float32)) / 255
    fields = {
        "means": torch.from_numpy(table["position"].copy()),
        "quats": (torch.from_numpy(table["quat"].astype(np.float32)) - 128) / 128,
        "scales": torch.from_numpy(table["scale"].copy()),
        "opacities": rgba[:, 3],
        "sh0": (rgba[:, :3] - 0.5) / SH_C0,
    }
    return _checked(path, fields)


def _checked(path: str | Path, fields: dict[str, torch.Tensor]) -> Gaussians:
    try:
        return Gaussians(**fields)
    except ValueError as error:
        raise ValueError(f"path: {path} holds values that are no Gaussians: {error}") from error


def _read(path: str | Path) -> bytes:
    if not Path(path).is_file():
        raise FileNotFoundError(f"path: no file {path}")
    return Path(path).read_bytes()


def _write(path: str | Path, data: bytes) -> None:
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path: no folder {path.parent}")
    if path.is_dir():
        raise IsADirectoryError(f"path: {path} is a folder, expected a file")
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


__all__ = ["load_ply", "load_splat", "save_ply", "save_splat"]
