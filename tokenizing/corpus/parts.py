"""The files of rows: parquet, WebDataset tars, and safetensors for Lightning-DiT; equal rows make equal bytes."""

import errno
import io
import json
import tarfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save, save_file

from .arrow import import_arrow
from .encoding import EncodedRow
from .options import TokenizeOptions

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = "1"
_GROUP_BYTES = 2**20  # of a row group of parquet: what one random access reads


class PartWriter(ABC):
    """Writes the rows of a unit to a file."""

    @abstractmethod
    def write(self, row: EncodedRow) -> None:
        """Adds a row."""

    @abstractmethod
    def close(self) -> None:
        """Writes what is left, and closes the file."""

    def abort(self) -> None:  # noqa: B027
        """Closes the file without completing it."""


def new_writer(
    path: Path, options: TokenizeOptions, header: dict[str, Any], types: "dict[str, pa.DataType]"
) -> PartWriter:
    """
    Opens a part.

    Args:
        path: to write to.
        options: say the format.
        header: what every part says about itself, JSON-ready.
        types: of the kept columns.
    """
    if options.format == "parquet":
        return ParquetPart(path, options, header, types)
    return (TarPart if options.format == "webdataset" else DensePart)(path, header)


def raw_bytes(tensor: torch.Tensor) -> bytes:
    """Gives the bytes of a tensor as they are in memory (little-endian, row by row)."""
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


def row_facts(row: EncodedRow) -> dict[str, Any]:
    """Gives what is known of a row beside its tokens and kept columns."""
    t, h, w = row.grid or (None, None, None)
    frames, height, width = row.media_size or (None, None, None)
    return {
        "key": row.key,
        "row": row.index,
        "flipped": row.flipped,
        "tokens": len(row.values),
        **{"t": t, "h": h, "w": w, "frames": frames, "height": height, "width": width, "fps": row.fps},
    }


def parquet_schema(options: TokenizeOptions, header: dict[str, Any], types: "dict[str, pa.DataType]") -> "pa.Schema":
    """Gives the columns of a part."""
    pa, _ = import_arrow()
    whole = {name: pa.int32() for name in "row tokens t h w frames height width".split()}
    columns = {"key": pa.string(), "flipped": pa.bool_(), **whole, "fps": pa.float64()}
    order = "key row flipped tokens t h w frames height width fps".split()
    fields = [pa.field(name, columns[name]) for name in order]
    integers = pa.list_(pa.int16() if header["dtype"] == "int16" else pa.int32())
    fields.append(pa.field(options.content, pa.binary() if options.content == "latents" else integers))
    if options.moments:
        fields.append(pa.field("logvar", pa.binary()))
    if options.kind == "object":
        fields.append(pa.field("coords", pa.binary()))
    fields += [pa.field(name, types[name]) for name in options.keep if name != "key"]
    return pa.schema(fields, metadata={"atoken": json.dumps(header, sort_keys=True)})


class ParquetPart(PartWriter):
    """One row a row; latents are bytes of bfloat16 (t, h, w, channels), which Arrow does not know as numbers."""

    def __init__(self, path: Path, options: TokenizeOptions, header: dict[str, Any], types: "dict[str, pa.DataType]"):
        self.arrow, pq = import_arrow()
        self.options = options
        self.schema = parquet_schema(options, header, types)
        # Latents do not compress; what is read at random should not have to be unpacked.
        packed = [name for name in self.schema.names if name not in ("latents", "logvar")]
        compression = {name: "zstd" if name in packed else "none" for name in self.schema.names}
        self.writer = pq.ParquetWriter(path, self.schema, compression=compression, use_dictionary=False)
        self.rows, self.bytes = [], 0

    def write(self, row: EncodedRow) -> None:
        values = row_facts(row)
        if self.options.content == "latents":
            values["latents"] = raw_bytes(row.values)
        else:
            values["codes"] = row.values.flatten().numpy()
        if row.logvar is not None:
            values["logvar"] = raw_bytes(row.logvar)
        if row.coords is not None:
            values["coords"] = raw_bytes(row.coords)
        kept = {name: row.columns.get(name) for name in self.options.keep if name != "key"}
        self.rows.append({**values, **kept})
        self.bytes += row.values.numel() * row.values.element_size()
        if self.bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self.rows:
            self.writer.write_table(self.arrow.Table.from_pylist(self.rows, schema=self.schema))
        self.rows, self.bytes = [], 0

    def close(self) -> None:
        self._flush()
        self.writer.close()

    def abort(self) -> None:
        self.writer.close()


class TarPart(PartWriter):
    """
    Two files a row: NUMBER.json with what is known of it, NUMBER.safetensors with "latents" (t, h, w, channels) or
    "codes", "logvar" and "coords".
    """

    def __init__(self, path: Path, header: dict[str, Any]):
        self.header, self.tar, self.count = header, tarfile.open(path, "w", format=tarfile.USTAR_FORMAT), 0

    def write(self, row: EncodedRow) -> None:
        shape = row.grid or (len(row.values),)
        tensors = {self.header["content"]: row.values.reshape(*shape, -1).contiguous()}
        if row.logvar is not None:
            tensors["logvar"] = row.logvar.reshape(*shape, -1).contiguous()
        if row.coords is not None:
            tensors["coords"] = row.coords
        facts = {**row_facts(row), **row.columns}
        name = f"{self.header['unit']:05d}{self.count:07d}"
        self._add(f"{name}.json", json.dumps(facts, ensure_ascii=False, default=str).encode())
        self._add(f"{name}.safetensors", save(tensors, {"format": "pt"}))
        self.count += 1

    def _add(self, name: str, data: bytes) -> None:
        # All that TarInfo has beside is the same at any time and on any machine.
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self.tar.addfile(info, io.BytesIO(data))

    def close(self) -> None:
        self.tar.close()

    abort = close


class DensePart(PartWriter):
    """
    Tensors of all rows, as Lightning-DiT reads them: "latents" and "latents_flip" (rows, channels, h, w) bfloat16,
    "labels" (rows,) int64. The metadata have the keys.
    """

    def __init__(self, path: Path, header: dict[str, Any]):
        self.path, self.header = path, header
        self.latents: dict[bool, list[torch.Tensor]] = {False: [], True: []}
        self.labels, self.keys, self.rows = [], [], []

    def write(self, row: EncodedRow) -> None:
        t, h, w = row.grid
        self.latents[row.flipped].append(row.values.reshape(t, h, w, -1)[0].permute(2, 0, 1))
        if not row.flipped:
            self.labels.append(row.columns["label"])
            self.keys.append(row.key)
            self.rows.append(row.index)

    def close(self) -> None:
        shape = (0, self.header["channels"], *(self.header["size"] // each for each in self.header["patch_size"][1:]))
        tensors = {
            name: torch.stack(self.latents[flip]) if self.labels else torch.zeros(shape, dtype=torch.bfloat16)
            for flip, name in ((False, "latents"), (True, "latents_flip"))
        }
        tensors["labels"] = torch.tensor(self.labels, dtype=torch.int64)
        about = {"keys": json.dumps(self.keys), "rows": json.dumps(self.rows)}
        # One entry: the order of several is not the same every time.
        metadata = {"atoken": json.dumps({**self.header, **about}, sort_keys=True)}
        try:
            save_file(tensors, self.path, metadata=metadata)
        except SafetensorError as error:
            number = errno.ENOSPC if f"os error {errno.ENOSPC}" in str(error) else errno.EIO
            raise OSError(number, str(error)) from error


def grid_of(facts: dict[str, Any]) -> tuple[int, ...]:
    """Gives the shape of a stored row without channels: (t, h, w), or (tokens,) of an object."""
    grid = facts["t"], facts["h"], facts["w"]
    return (facts["tokens"],) if None in grid else grid
