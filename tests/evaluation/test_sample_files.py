"""Samples as files for code of others, and reconstructions out of files: names, forms, cameras, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from atoken.evaluation.interface import EvaluationSet, Sample
from atoken.evaluation.sample_files import FoundFiles, file_names, read_reconstruction, write_cameras, write_sample
from atoken.processing.cameras_atoken import hammersley_cameras, read_transforms

from ..processing.samples import png16


def a_set(*names: str, kind: str = "image") -> EvaluationSet:
    return EvaluationSet("some", kind, [Sample(name, lambda: None) for name in names], {}, "0")


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(len(shape)))


def test_names_lose_their_suffix_unless_two_would_be_one():
    assert file_names(a_set("a/0.JPEG", "b/0.JPEG", "7")) == ["a/0", "b/0", "7"]
    assert file_names(a_set("0.png", "0.jpg")) == ["0.png", "0.jpg"]
    with pytest.raises(ValueError, match="relative names for files, got '../x.png' in some"):
        file_names(a_set("../x.png"))


@pytest.mark.parametrize("kind, frames", [("image", 1), ("video", 3)])
def test_what_is_written_comes_back(tmp_path, kind, frames):
    media = noise(frames, 3, 6, 10)
    write_sample(tmp_path, "a/x.y", media, kind)
    found = FoundFiles(tmp_path)
    found.check(["a/x.y"])
    assert torch.equal(read_reconstruction(found["a/x.y"]), media)


def test_arrays(tmp_path):
    media = noise(2, 5, 7, 3)
    np.save(tmp_path / "clip.npy", media.numpy())
    np.save(tmp_path / "image.npy", media[0].numpy())
    assert torch.equal(read_reconstruction(tmp_path / "clip.npy"), media.permute(0, 3, 1, 2))
    assert torch.equal(read_reconstruction(tmp_path / "image.npy"), media[:1].permute(0, 3, 1, 2))
    np.save(tmp_path / "floats.npy", np.zeros((5, 7, 3), dtype=np.float32))
    with pytest.raises(ValueError, match="arrays must be uint8 .*got float32"):
        read_reconstruction(tmp_path / "floats.npy")


def test_pictures_of_16_bits_come_in_8(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3))
    (tmp_path / "clip").mkdir()
    for path in (tmp_path / "a.png", tmp_path / "clip" / "0.png"):
        path.write_bytes(png16((pixels * 257).astype(np.uint16)))
    for path in (tmp_path / "a.png", tmp_path / "clip"):
        found = read_reconstruction(path)
        assert found.dtype == torch.uint8 and np.array_equal(found[0].permute(1, 2, 0), pixels)


def test_frames_of_two_sizes_are_refused(tmp_path):
    for index, side in enumerate((4, 5)):
        Image.new("RGB", (side, side)).save(tmp_path / f"{index}.png")
    with pytest.raises(ValueError, match="one size, got 2 sizes"):
        read_reconstruction(tmp_path)


def test_what_is_missing_or_double_is_named(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "0.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "0.txt").write_text("no picture")
    with pytest.raises(
        FileNotFoundError, match="2 of 3 reconstructions are missing: .*without 1.png, 1.npy or a folder"
    ):
        FoundFiles(tmp_path).check(["0", "1", "empty"])
    Image.new("RGB", (4, 4)).save(tmp_path / "0.jpg")
    with pytest.raises(ValueError, match="a reconstruction of each sample, and no more, got 0.jpg, 0.png; remove"):
        FoundFiles(tmp_path).check(["0"])
    with pytest.raises(FileNotFoundError, match="path must be a folder of reconstructions, got .*nowhere"):
        FoundFiles(tmp_path / "nowhere")


def test_cameras_are_read_back_by_the_reader_of_transforms(tmp_path):
    cameras = hammersley_cameras(5, offset=(0.5, 0.3))
    write_cameras(tmp_path, cameras, 64)
    found, frames, _ = read_transforms(tmp_path / "transforms.json")
    torch.testing.assert_close(found.world_to_camera, cameras.world_to_camera, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.intrinsics, cameras.intrinsics, atol=1e-5, rtol=0)
    assert [frame["file_path"] for frame in frames] == [f"{index:06d}.png" for index in range(5)]
