"""Archives and arrays that unpack to more than they may."""

import gzip
import io
import tarfile
import zipfile

import numpy as np
import pytest

from atoken.evaluation.array_files import ArrayFile
from atoken.evaluation.sample_files import read_reconstruction
from atoken.training.recipes.tiny import package_archives
from atoken.training.recipes.tiny.clip_files import clip_content

from .memory import memory_below


def npz(path, shape, size: int = 300, name: str = "arr_0", compressed: bool = False):
    """An archive of one array of bytes with a header that states `shape`."""
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": "|u1", "fortran_order": False, "shape": shape})
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "a", kind) as archive:
        archive.writestr(f"{name}.npy", array.getvalue() + bytes(size))
    return path


SHAPES = {"too many": (10**12, 10, 10, 3), "overflow": (2, 2**40, 2**40, 3), "negative": (2, -5, -10, 3)}


@pytest.mark.parametrize("case", SHAPES)
def test_images_that_an_archive_announces(case, tmp_path):
    path = npz(tmp_path / "a.npz", SHAPES[case])
    with memory_below(50), pytest.raises(ValueError, match=r"must be an \.npz file of arrays.*arr_0 announces"):
        ArrayFile(path)


def test_an_array_that_unpacks_to_much(tmp_path, monkeypatch):
    path = npz(tmp_path / "a.npz", (1, 10, 10, 3))
    npz(path, (2**20,), 2**20, "arr_1", compressed=True)
    monkeypatch.setenv("ATOKEN_MAX_ARRAY_BYTES", "1000")
    with pytest.raises(ValueError, match=r"at most 1,000 bytes, got 1,048,576.*ATOKEN_MAX_ARRAY_BYTES"):
        ArrayFile(path).array("arr_1")
    monkeypatch.delenv("ATOKEN_MAX_ARRAY_BYTES")
    assert ArrayFile(path).array("arr_1").shape == (2**20,)


def test_arrays_that_are_pickles(tmp_path):
    path = npz(tmp_path / "a.npz", (1, 10, 10, 3))
    with zipfile.ZipFile(path, "a") as archive, archive.open("arr_1.npy", "w") as file:
        np.lib.format.write_array(file, np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="arr_1 .*cannot be read"):
        ArrayFile(path).array("arr_1")


def test_reconstructions_that_announce_much(tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 10**4, 10**4, 3)}
        )
    with memory_below(50), pytest.raises(ValueError, match="announces 300,000,000,000,000,000 bytes"):
        read_reconstruction(tmp_path / "a.npy")


@pytest.fixture
def small(monkeypatch) -> int:
    monkeypatch.setattr(package_archives, "MOST_BYTES", 1000)
    return 1000


def test_gz_in_a_package(small):
    assert clip_content(gzip.compress(bytes(small)), "a.ogv.gz") == bytes(small)
    with memory_below(50), pytest.raises(OSError, match="a.ogv.gz must unpack to at most 1,000 bytes"):
        clip_content(gzip.compress(bytes(2**26)), "a.ogv.gz")


def test_members_of_packages(small, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("a.png", bytes(2**26))
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        info = tarfile.TarInfo("package/a.png")
        info.size = 2**26
        tar.addfile(info, io.BytesIO(bytes(2**26)))
    for name in ("a.whl", "a.tgz"):
        with memory_below(100), pytest.raises(OSError, match="a.png must unpack to at most 1,000 bytes"):
            list(package_archives.read_archive(tmp_path / name, {"a.png"}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tgz", "a.whl"]
