"""3D Gaussians in files that viewers open: the PLY layouts of 3D Gaussian splatting, and `.splat`."""

import warnings
from pathlib import Path

import numpy as np
import torch

from .atomic_files_atoken import atomic_file
from .compressed_ply_atoken import PACKED, unpack_gaussians
from .gaussians_atoken import SH_C0, Gaussians
from .ply_tables_atoken import read_ply_tables

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
    opacity = gaussians.opacities.detach().cpu().double().clamp(_TINY, 1 - _TINY)
    values = {
        "means": gaussians.means,
        "normals": torch.zeros_like(gaussians.means),
        "sh0": gaussians.sh0,
        "opacities": torch.logit(opacity)[:, None],
        "scales": gaussians.scales.cpu().double().clamp_min(_TINY).log(),
        "quats": gaussians.quats,
    }
    columns = {**_COLUMNS, "normals": ("nx", "ny", "nz")}
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(gaussians)}"]
    header += [f"property float {column}" for name in values for column in columns[name]]
    table = torch.cat([value.detach().cpu().float() for value in values.values()], dim=1)
    _write(path, "\n".join([*header, "end_header", ""]).encode() + table.numpy().astype("<f4").tobytes())


def load_ply(path: str | Path) -> Gaussians:
    """
    Reads a PLY of 3D Gaussian splatting, binary of either byte order or ascii, with properties in any order, or the
    compressed PLY of PlayCanvas and SuperSplat.

    Other elements and properties are left out. View-dependent color (`f_rest_*`), and Gaussians with values that are
    NaN or infinite or with a rotation that is zero, are left out with a `UserWarning` that names the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no such PLY, is cut off, or has values that are no Gaussian's only.
    """
    tables = read_ply_tables(path, _read(path), ("chunk", "vertex", "sh"))
    table = tables.get("vertex", {})
    packed = [column for column in PACKED if column in table]
    needed = PACKED if packed else [column for columns in _COLUMNS.values() for column in columns]
    missing = [column for column in needed if column not in table]
    if missing:
        raise ValueError(
            f"path: {path} does not hold Gaussians: it lacks {', '.join(missing)}. Meshes and point clouds "
            "have none of these"
        )
    if "sh" in tables or any(name.startswith("f_rest_") and column.any() for name, column in table.items()):
        _warn(f"{path}: its view-dependent color (f_rest_*) is left out, each Gaussian has one color")
    if packed:
        try:
            values = unpack_gaussians(table, tables.get("chunk", {}))
        except ValueError as error:
            raise ValueError(f"path: {path} is damaged: {error}") from error
        fields = {name: torch.from_numpy(value).float() for name, value in values.items()}
        fields["sh0"] = (fields.pop("rgb") - 0.5) / SH_C0
    else:
        fields = {
            name: torch.from_numpy(np.stack([np.asarray(table[column], np.float32) for column in columns], axis=1))
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
    """
    Reads a `.splat` file. Gaussians whose values are none are left out with a `UserWarning`, as in `load_ply`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is cut off or something else.
    """
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
    """Leaves out the rows that are no Gaussians, with a warning; `ValueError` if none is left of some."""
    count = len(fields["means"])
    good = (fields["quats"] != 0).any(dim=1) & (fields["scales"] >= 0).all(dim=1)
    for value in fields.values():
        good &= value.isfinite() if value.ndim == 1 else value.isfinite().all(dim=1)
    bad = count - int(good.sum())
    if not bad:
        return Gaussians(**fields)
    what = "a value that is NaN or infinite, a negative scale, or a rotation that is zero"
    if bad == count:
        raise ValueError(f"path: {path} holds no Gaussians: each of its {count} rows has {what}")
    _warn(f"{path}: {bad} of {count} Gaussians {'is' if bad == 1 else 'are'} left out, which had {what}")
    return Gaussians(**{name: value[good] for name, value in fields.items()})


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=3)


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
