import numpy as np
import pytest
import torch
from PIL import Image
from transformers.video_utils import VideoMetadata

from atoken.processing import AtokenVideoProcessor
from atoken.processing.media_reading_atoken import write_video

from .samples import clip, png16


@pytest.fixture(scope="module")
def processor() -> AtokenVideoProcessor:
    return AtokenVideoProcessor()


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    """A lossless file of 17 frames, 10 a second, and its frames."""
    path, frames = tmp_path_factory.mktemp("movie") / "movie.mp4", clip(17, 34, 50)
    write_video(path, frames, fps=10, codec="libx264rgb", crf=0)
    return path, frames


@pytest.mark.parametrize("size", [(17, 34, 50), (3, 16, 16), (1, 20, 20), (4, 1, 1), (9, 17, 5)])
def test_clip_comes_back_exactly(processor, size):
    frames = clip(*size)
    batch = processor(frames, input_data_format="channels_last")
    assert batch.media_sizes.tolist() == [list(size)]
    assert len(batch.coords) == np.prod([-(-side // patch) for side, patch in zip(size, (4, 16, 16), strict=True)])
    restored = processor.post_process(**batch, output_type="np")
    assert len(restored) == 1 and np.array_equal(restored[0], frames)


def test_output_types(processor):
    frames = clip(5)
    batch = processor(frames)
    names = ["pixel_values", "coords", "cu_seqlens", "media_sizes", "pixel_mask", "is_video"]
    assert list(batch) == names == processor.model_input_names
    tensor = processor.post_process(**batch)[0]
    torch.testing.assert_close(tensor, torch.from_numpy(frames).permute(0, 3, 1, 2) / 255)
    pictures = processor.post_process(**batch, output_type="pil")[0]
    assert len(pictures) == 5 and np.array_equal(np.asarray(pictures[4]), frames[4])


def test_every_way_to_give_one_video_agrees(processor, movie):
    path, frames = movie
    tensor = torch.from_numpy(frames)
    reference = processor(frames).pixel_values
    for video in (
        tensor,
        tensor.permute(0, 3, 1, 2),
        frames / 255,
        frames.astype(np.uint16) * 257,
        [Image.fromarray(frame) for frame in frames],
        list(frames),
        tuple(tensor.permute(0, 3, 1, 2)),
        [list(frames)],
        [frames],
        frames[None],
        path,
        str(path),
        [path],
    ):
        batch = processor(video)
        assert batch.media_sizes.tolist() == [[17, 34, 50]]
        torch.testing.assert_close(batch.pixel_values, reference, atol=1e-6, rtol=0)


def test_batch_keeps_its_order(processor, movie):
    path, frames = movie
    videos = [frames[:3], path, [Image.fromarray(frame) for frame in frames[3:8, :20]]]
    batch = processor(videos)
    assert batch.media_sizes.tolist() == [[3, 34, 50], [17, 34, 50], [5, 20, 50]]
    restored = processor.post_process(**batch, output_type="np")
    for video, expected in zip(restored, [frames[:3], frames, frames[3:8, :20]], strict=True):
        assert np.array_equal(video, expected)


def test_grey_and_transparent_frames(processor):
    gray = clip(3)[..., :1]
    restored = processor.post_process(**processor(gray), output_type="np")[0]
    assert np.array_equal(restored, gray.repeat(3, 3))
    rgba = np.concatenate([clip(3), np.zeros((3, 34, 50, 1), np.uint8)], axis=3)
    assert processor.post_process(**processor(rgba), output_type="np")[0].min() == 255
    mixed = [Image.new("L", (5, 5), 9), Image.new("RGB", (5, 5), (9, 9, 9)), Image.new("RGBA", (5, 5), (9, 9, 9, 255))]
    assert np.unique(processor.post_process(**processor(mixed), output_type="np")[0]).tolist() == [9]


def test_frames_of_two_depths_are_not_mixed(processor, tmp_path):
    (tmp_path / "deep.png").write_bytes(png16(np.zeros((5, 5, 3), np.uint16)))
    with pytest.raises(ValueError, match=r"videos\[1\].*uint16.*frame 0.*uint8"):
        processor([Image.new("RGB", (5, 5)), Image.open(tmp_path / "deep.png")])


def test_metadata(processor, movie):
    path, frames = movie
    assert "video_metadata" not in processor(path)
    (metadata,) = processor(path, return_metadata=True)["video_metadata"]
    assert metadata == VideoMetadata(17, 10.0, 50, 34, pytest.approx(1.7), "pyav", list(range(17)))
    (metadata,) = processor(frames, return_metadata=True)["video_metadata"]
    assert metadata == VideoMetadata(17, None, 50, 34, None, None, list(range(17)))
    given = [{"fps": 5, "total_num_frames": 17}, VideoMetadata(3, 8.0)]
    first, second = processor([frames, frames[:3]], video_metadata=given, return_metadata=True)["video_metadata"]
    assert (first.fps, first.duration, second.fps, second.total_num_frames) == (5, 3.4, 8, 3)
    assert given[1].frames_indices is None


@pytest.mark.parametrize(
    ("options", "indices"),
    [
        ({}, range(17)),
        ({"num_frames": 1}, [0]),
        ({"num_frames": 4}, [0, 4, 8, 12]),
        ({"num_frames": 17}, range(17)),
        ({"fps": 5}, [0, 2, 4, 6, 8, 10, 12, 14]),
        ({"fps": 10}, range(17)),
        ({"fps": 0.01}, [0]),
        ({"num_frames": 4, "do_sample_frames": False}, range(17)),
        ({"do_sample_frames": True, "num_frames": 4}, [0, 4, 8, 12]),
    ],
)
def test_sampling_happens_on_request_only(processor, movie, options, indices):
    path, frames = movie
    from_file = processor(path, return_metadata=True, **options)
    (metadata,) = from_file["video_metadata"]
    assert metadata.frames_indices == list(indices) and metadata.total_num_frames == 17
    from_file.pop("video_metadata")
    restored = processor.post_process(**from_file, output_type="np")[0]
    assert np.array_equal(restored, frames[list(indices)])
    for video in (frames, [Image.fromarray(frame) for frame in frames]):
        batch = processor(video, video_metadata={"total_num_frames": 17, "fps": 10.0}, **options)
        assert torch.equal(batch.pixel_values, from_file.pixel_values)


def test_sampling_of_the_call_replaces_that_of_the_processor(movie):
    processor = AtokenVideoProcessor(num_frames=4)
    assert processor(movie[0]).media_sizes[0, 0] == 4
    assert processor(movie[0], fps=5).media_sizes[0, 0] == 8
    assert processor(movie[0], num_frames=None).media_sizes[0, 0] == 17
    assert processor(movie[0], do_sample_frames=False).media_sizes[0, 0] == 17


def test_resize(processor):
    batch = processor(clip(3, 40, 60), size={"shortest_edge": 20})
    assert batch.media_sizes.tolist() == [[3, 20, 30]]
    assert processor(clip(3, 40, 60), max_pixels=1024).media_sizes.tolist() == [[3, 16, 32]]
    video = processor.post_process(**batch)[0]
    assert video.min() >= 0 and video.max() <= 1


def test_fetch_videos(processor, movie):
    path, frames = movie
    (first, second), metadata = processor.fetch_videos([path, path], lambda whole: [0, 16])
    assert np.array_equal(first, frames[[0, 16]]) and torch.equal(first, second)
    assert [entry.frames_indices for entry in metadata] == [[0, 16]] * 2


def test_save_and_load(tmp_path):
    processor = AtokenVideoProcessor(num_frames=5, size={"shortest_edge": 32})
    processor.save_pretrained(tmp_path)
    loaded = AtokenVideoProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    batch, again = processor(clip()), loaded(clip())
    assert all(torch.equal(batch[name], again[name]) for name in batch) and batch.media_sizes.tolist() == [[5, 32, 47]]
