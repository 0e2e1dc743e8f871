"""Files of arrays against numpy's own reading and writing of them."""

import pickle

import numpy as np
import pytest

from atoken.evaluation.array_files import ArrayFile, write_arrays


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 5, 6, 3), dtype=np.uint8)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_rows_are_those_that_numpy_has_written(tmp_path, save):
    images = pictures(9)
    save(tmp_path / "a.npz", images, mu=np.arange(3.0))
    file = ArrayFile(tmp_path / "a.npz")
    assert file.shape == images.shape and len(file) == 9 and sorted(file.names) == ["arr_0", "mu"]
    for start, stop in ((0, 4), (6, 9), (2, 3), (4, 4)):
        assert np.array_equal(file.rows(start, stop), images[start:stop])
    copy = pickle.loads(pickle.dumps(file))
    assert np.array_equal(copy.rows(7, 9), images[7:]) and np.array_equal(copy.array("mu"), np.arange(3.0))


def test_numpy_reads_what_is_written(tmp_path):
    images = pictures(4)
    write_arrays(tmp_path / "a.npz", iter(images), images.shape, np.array([3, 1, 2, 0]))
    with np.load(tmp_path / "a.npz") as file:
        assert np.array_equal(file["arr_0"], images) and file["arr_1"].tolist() == [3, 1, 2, 0]
    write_arrays(tmp_path / "a.npz", iter(images[::-1]), images.shape)
    with np.load(tmp_path / "a.npz") as file:
        assert file.files == ["arr_0"] and np.array_equal(file["arr_0"], images[::-1])


def test_images_that_do_not_fit_leave_nothing(tmp_path):
    images = pictures(3)
    with pytest.raises(ValueError, match="images must be 4 of them, got 3"):
        write_arrays(tmp_path / "a.npz", iter(images), (4, 5, 6, 3))
    with pytest.raises(ValueError, match=r"images must be \(6, 5, 3\) uint8, got \(5, 6, 3\) uint8 as number 1"):
        write_arrays(tmp_path / "a.npz", iter(images), (3, 6, 5, 3))
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_cut(tmp_path):
    np.savez(tmp_path / "a.npz", pictures(4000))
    data = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="path must be an .npz file of arrays, got .*cut.npz"):
        ArrayFile(tmp_path / "cut.npz")
    middle = len(data) // 2
    (tmp_path / "changed.npz").write_bytes(data[:middle] + bytes(64) + data[middle + 64 :])
    with pytest.raises(ValueError, match="changed.npz is damaged"):
        ArrayFile(tmp_path / "changed.npz").rows(0, 4000)
    with pytest.raises(ValueError, match="the array mu of .* cannot be read"):
        ArrayFile(tmp_path / "a.npz").array("mu")
    np.savez(tmp_path / "order.npz", np.asfortranarray(pictures(2)))
    with pytest.raises(ValueError, match="path must have images arr_0"):
        ArrayFile(tmp_path / "order.npz")
