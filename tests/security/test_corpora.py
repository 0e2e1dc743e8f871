"""Sources of corpora from strangers: names that lead elsewhere, and tars and tables that claim too much."""

import io
import json
import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from atoken.tokenizing.corpus import decoding
from atoken.tokenizing.corpus.encoding import EncodedRow
from atoken.tokenizing.corpus.file_sources import FolderSource
from atoken.tokenizing.corpus.hub_source import HubSource
from atoken.tokenizing.corpus.parts import TarPart
from atoken.tokenizing.corpus.shard_sources import ParquetSource, TarSource
from atoken.tokenizing.corpus.sources import SourceRow, ranges
from atoken.training.data.tar_index import index_tar

from .memory import memory_below


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, *members: tuple[tarfile.TarInfo | str, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for info, data in members:
            info = tarfile.TarInfo(info) if isinstance(info, str) else info
            info.size = len(data) if info.type == tarfile.REGTYPE else info.size
            tar.addfile(info, io.BytesIO(data))
    return path


def rows_of(path: Path) -> list[SourceRow]:
    source = TarSource([path], "image", "png", {})
    return [row for unit in source.units(1) for row in source.rows(unit)]


@pytest.mark.parametrize("name", ["../../evil.png", "/evil.png", "a/../../../evil.png"])
def test_names_in_tars_become_no_files(name, tmp_path):
    """A row is called as its file is; the files that are written are numbered."""
    (tmp_path / "out").mkdir()
    (row,) = rows_of(write_tar(tmp_path / "a.tar", (name, png())))
    assert "evil" in row.key and row.media == png()
    part = TarPart(tmp_path / "out" / "part.tar", {"unit": 0, "content": "codes"})
    part.write(EncodedRow(0, row.key, {}, grid=(1, 1, 1), media_size=(1, 4, 4), values=torch.zeros(1, 8)))
    part.close()
    with tarfile.open(tmp_path / "out" / "part.tar") as tar:
        names = tar.getnames()
    assert names == ["000000000000.json", "000000000000.safetensors"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar", "out", "part.tar"]


def link(kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo("b.png")
    info.type, info.linkname = kind, "/etc/passwd"
    return info


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_tars(kind, tmp_path):
    path = write_tar(tmp_path / "a.tar", ("a.png", png()), (link(kind), b""))
    assert [row.key for row in rows_of(path)] == ["a"]


def sparse_tar(path: Path) -> Path:
    """A tar of a file of a tebibyte, of which 512 bytes are there, as GNU tar writes it."""
    info = tarfile.TarInfo("a.png")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:398], header[398:410] = b"00000000000\0", b"00000001000\0"
    header[483:495] = bytes([0x80]) + (2**40).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(bytes(header) + bytes(512) + bytes(1024))
    return path


def test_a_sparse_file_in_a_tar(tmp_path):
    path = sparse_tar(tmp_path / "a.tar")
    with tarfile.open(path) as tar:
        assert [member.size for member in tar] == [2**40]
    with memory_below(50), pytest.raises(ValueError, match="must have no sparse files, got 'a.png'"):
        rows_of(path)
    assert len(index_tar(path, "png", None)) == 0


def test_a_large_file_in_a_tar(tmp_path, monkeypatch):
    path = write_tar(tmp_path / "a.tar", ("a.png", bytes(1001)))
    monkeypatch.setenv("ATOKEN_MAX_SAMPLE_BYTES", "1000")
    with pytest.raises(ValueError, match="a.png' must have at most 1,000 bytes, got 1,001.*ATOKEN_MAX_SAMPLE_BYTES"):
        rows_of(path)


def test_a_size_that_the_tar_has_not(tmp_path):
    info = tarfile.TarInfo("a.png")
    info.size = 2**31
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1536))
    with memory_below(50), pytest.raises(ValueError, match="a.tar is truncated or no tar"):
        rows_of(tmp_path / "a.tar")


PLACES = ["/etc/hostname", "../secret.png", "below/../../secret.png", "linked.png", "above/secret.png"]


@pytest.fixture
def table(tmp_path) -> Path:
    folder = tmp_path / "data"
    (folder / "below").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(png())
    (folder / "below" / "a.png").write_bytes(png())
    (folder / "linked.png").symlink_to(tmp_path / "secret.png")
    (folder / "above").symlink_to(tmp_path)
    return folder / "a.parquet"


@pytest.mark.parametrize("as_dict", [False, True], ids=["text", "dict"])
def test_paths_in_tables(as_dict, table):
    names = [*PLACES, "below/a.png"]
    values = [{"bytes": None, "path": name} for name in names] if as_dict else names
    pq.write_table(pa.table({"image": values}), table)
    source = ParquetSource([table], "image", {})
    *refused, taken = [row for unit in source.units(100) for row in source.rows(unit)]
    for row, name in zip(refused, PLACES, strict=True):
        assert (
            row.media is None and row.error == f"the column 'image' must name a file below {table.parent}, got {name!r}"
        )
    assert taken.error is None and taken.media.read_bytes() == png()


def test_paths_in_data_sets_of_the_hub(table):
    values = [{"bytes": None, "path": name} for name in ("/etc/hostname", "../secret.png")]
    pq.write_table(pa.table({"image": pa.array(values)}), table)
    # Beside pictures, the library would take the pictures for the data.
    alone = table.parent.parent / "alone"
    alone.mkdir()
    table = table.rename(alone / table.name)
    source = HubSource(str(alone), "image", {}, "train", None, None)
    rows = [row for unit in source.units(100) for row in source.rows(unit)]
    assert len(rows) == 2 and all(row.media is None and "must name a file below" in row.error for row in rows)


def test_rows_that_a_table_announces():
    with pytest.raises(ValueError, match="at most 1,000,000 units, got 1,000,000,000,000,000 rows"):
        ranges(10**15, 1000)


def test_a_mesh_in_a_tar_sees_no_files_of_others(monkeypatch):
    seen = {}

    def looked_at(path):
        seen["files"] = [each.name for each in Path(path).parent.iterdir()]
        seen["beside"] = [each.name for each in Path(path).parent.parent.iterdir()]
        raise ValueError("enough")

    monkeypatch.setattr(decoding, "mesh_views", looked_at)
    with pytest.raises(ValueError, match="enough"):
        decoding._voxels(SourceRow(0, "a", b"mtllib x.mtl\n", "../../a.obj"), None)
    assert seen == {"files": ["mesh.obj"], "beside": ["mesh"]}


def test_folders_that_contain_themselves(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a.png").write_bytes(png())
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    assert FolderSource(tmp_path, "image", {}).files == ["a/a.png"]


def test_names_that_are_no_text(tmp_path):
    (tmp_path / os.fsdecode(b"bad\xff\x1b[2J.png")).write_bytes(png())
    source = FolderSource(tmp_path, "image", {})
    (row,) = [row for unit in source.units(1) for row in source.rows(unit)]
    assert row.key == "bad\\udcff\x1b[2J.png" and row.media.is_file()
    assert json.dumps(row.key).encode() and row.key.encode()
