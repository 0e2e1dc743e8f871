import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from atoken.processing import (
    AtokenImageProcessor,
    AtokenProcessor,
    AtokenVideoProcessor,
    Views,
    turntable_cameras,
)
from atoken.processing.media_reading_atoken import write_video

from .samples import clip, photo, tiny_tokenizer


@pytest.fixture(scope="module")
def processor() -> AtokenProcessor:
    return AtokenProcessor(tokenizer=tiny_tokenizer())


def test_mixed_batch_is_images_then_videos(processor):
    images = [Image.fromarray(photo(70, 90)), Image.fromarray(photo(1, 1))]
    videos = [clip(17, 34, 50), clip(3, 16, 16)]
    batch = processor(videos=videos, text=["a dog", "a cat"], images=images)
    assert set(batch) == {"pixel_values", "coords", "cu_seqlens", "media_sizes", "pixel_mask", "is_video", "input_ids"}
    assert set(batch) == set(processor.model_input_names)
    assert batch.media_sizes.tolist() == [[1, 70, 90], [1, 1, 1], [17, 34, 50], [3, 16, 16]]
    assert batch.cu_seqlens.tolist() == [0, 30, 31, 91, 92] and batch.cu_seqlens.dtype == torch.int32
    assert batch.input_ids.shape == (2, 64)
    batch.pop("input_ids")
    restored = processor.post_process(**batch, output_type="np")
    for media, expected in zip(restored, [photo(70, 90), photo(1, 1), *videos], strict=True):
        assert np.array_equal(media, expected)


def test_parts_agree_with_the_processors_alone(processor):
    image, video = photo(), clip()
    batch = processor(images=image, videos=video)
    image_batch, video_batch = AtokenImageProcessor()(image), AtokenVideoProcessor()(video)
    length = len(image_batch.coords)
    for name in ("pixel_values", "coords"):
        assert torch.equal(batch[name][:length], image_batch[name])
        assert torch.equal(batch[name][length:], video_batch[name])


def test_single_modalities(processor):
    assert list(processor(text="a dog")) == ["input_ids"]
    assert processor(text="a dog").input_ids.shape == (1, 64)
    assert processor(images=photo()).media_sizes.tolist() == [[1, 70, 90]]
    assert processor(videos=clip()).media_sizes.tolist() == [[17, 34, 50]]
    arrays = processor(images=photo(), text="a", return_tensors="np")
    assert all(isinstance(value, np.ndarray) for value in arrays.values())


def test_post_process_types(processor):
    batch = processor(images=photo(), videos=clip())
    image, video = processor.post_process(**batch)
    assert image.shape == (3, 70, 90) and video.shape == (17, 3, 34, 50)
    picture, frames = processor.post_process(**batch, output_type="pil")
    assert picture.size == (90, 70) and len(frames) == 17
    assert np.array_equal(np.asarray(frames[16]), clip()[16])


def test_a_video_of_one_frame_stays_a_video(processor):
    frame = photo(20, 30)
    batch = processor(images=[frame], videos=[frame[None]])
    assert batch.is_video.tolist() == [False, True]
    image, video = processor.post_process(**batch)
    assert image.shape == (3, 20, 30) and video.shape == (1, 3, 20, 30)
    image, video = processor.post_process(**batch, output_type="np")
    assert np.array_equal(image, frame) and np.array_equal(video, frame[None])
    image, frames = processor.post_process(**batch, output_type="pil")
    assert image.size == (30, 20) and len(frames) == 1
    # Where nobody says, one frame is an image.
    sizes = batch.coords, batch.cu_seqlens, batch.media_sizes
    assert [output.ndim for output in processor.post_process(batch.pixel_values, *sizes)] == [3, 3]


@pytest.mark.parametrize("is_video", [torch.tensor([True]), torch.tensor([0, 1]), [True, False, True]])
def test_bad_answers_which_are_videos(processor, is_video):
    batch = processor(images=[photo(20, 30)], videos=[photo(20, 30)[None]])
    with pytest.raises(ValueError, match=r"is_video must be bool \(2,\)"):
        processor.post_process(**{**batch, "is_video": is_video})


def test_several_frames_are_no_image(processor):
    batch = processor(videos=[clip(5, 20, 30)])
    with pytest.raises(ValueError, match="is_video must be True for a sample of several frames"):
        processor.post_process(**{**batch, "is_video": torch.tensor([False])})


def test_the_mask_tells_pixels_from_padding(processor):
    batch = processor(images=[photo(20, 30)], videos=[clip(5, 17, 16)])
    expected = []
    for frames, height, width in batch.media_sizes.tolist():
        ones = torch.zeros(-(-frames // 4) * 4, -(-height // 16) * 16, -(-width // 16) * 16, dtype=torch.bool)
        ones[:frames, :height, :width] = True
        t, h, w = (side // patch for side, patch in zip(ones.shape, (4, 16, 16), strict=True))
        expected.append(ones.reshape(t, 4, h, 16, w, 16).permute(0, 2, 4, 1, 3, 5).reshape(t * h * w, -1))
    assert torch.equal(batch.pixel_mask, torch.cat(expected))


def test_post_process_takes_decoder_outputs(processor):
    batch = processor(images=photo(), videos=clip())
    decoded = batch.pixel_values.bfloat16().requires_grad_()
    image, video = processor.post_process(decoded, batch.coords.int(), batch.cu_seqlens.long(), batch.media_sizes)
    assert image.dtype == torch.float32 and not image.requires_grad
    assert (video - torch.from_numpy(clip()).permute(0, 3, 1, 2) / 255).abs().max() < 0.01


def test_metadata_on_request(processor, tmp_path):
    write_video(tmp_path / "a.mp4", clip(5, 32, 32), fps=25)
    batch = processor(images=photo(), videos=tmp_path / "a.mp4", return_metadata=True)
    assert [entry.fps for entry in batch["video_metadata"]] == [25.0]
    assert "video_metadata" not in processor(videos=tmp_path / "a.mp4")


def test_options_reach_the_part_that_knows_them(processor):
    batch = processor(
        images=photo(64, 64),
        videos=clip(8, 64, 64),
        text="a dog",
        num_frames=4,
        max_length=8,
        images_kwargs={"max_pixels": 1024},
    )
    assert batch.media_sizes.tolist() == [[1, 32, 32], [4, 64, 64]] and batch.input_ids.shape == (1, 8)
    both = processor(images=photo(64, 64), videos=clip(8, 64, 64), max_pixels=1024)
    assert both.media_sizes.tolist() == [[1, 32, 32], [8, 32, 32]]
    common = {"max_pixels": 1024, "num_frames": 2}
    batch = processor(images=photo(64, 64), videos=clip(8, 64, 64), text="a", common_kwargs=common)
    assert batch.media_sizes.tolist() == [[1, 32, 32], [2, 32, 32]]
    assert processor(text="a", text_kwargs={"max_length": 5}).input_ids.shape == (1, 5)


def test_one_device_for_all_media(processor):
    views = Views(torch.zeros(1, 3, 8, 8), turntable_cameras(1), torch.full((1, 8, 8), 2.0))
    both = {"images_kwargs": {"device": "meta"}, "videos_kwargs": {"device": torch.device("meta")}}
    for options in ({"device": "meta"}, {"images_kwargs": {"device": "meta"}}, both):
        batch = processor(images=photo(), voxels=[views], **options)
        assert {value.device.type for value in batch.values()} == {"meta"}
    with pytest.raises(ValueError, match="device must be one for images and videos, got cpu and meta"):
        processor(images=photo(), images_kwargs={"device": "meta"}, videos_kwargs={"device": "cpu"})


def test_calls_as_of_any_processor_of_transformers(processor):
    """As generic callers such as sentence-transformers make them: every dictionary, and the library's order."""
    expected = processor(images=[photo()], text=["a dog"], videos=[clip()])
    empty = {f"{modality}_kwargs": {} for modality in ("text", "images", "audio", "videos")}
    for batch in (
        processor([photo()], ["a dog"], [clip()]),
        processor([photo()], ["a dog"], [clip()], None),
        processor([photo()], ["a dog"], [clip()], audio=None, common_kwargs={"return_tensors": "pt"}, **empty),
        processor([photo()], ["a dog"], [clip()], audio_kwargs={"sampling_rate": 16000}),
        processor([photo()], ["a dog"], [clip()], audio_kwargs=None),
    ):
        assert list(batch) == list(expected)
        assert all(torch.equal(batch[name], expected[name]) for name in batch)
    with pytest.raises(ValueError, match="audio must be None.*got ndarray"):
        processor(audio=np.zeros(100))
    with pytest.raises(ValueError, match="audio_kwargs must be a dictionary"):
        processor(images=photo(), audio_kwargs=[])


def test_defaults_of_the_parts_are_kept():
    processor = AtokenProcessor(AtokenImageProcessor(max_pixels=1024), AtokenVideoProcessor(num_frames=2))
    batch = processor(images=photo(64, 64), videos=clip())
    assert batch.media_sizes.tolist() == [[1, 32, 32], [2, 34, 50]]


@pytest.mark.parametrize("with_tokenizer", [True, False])
def test_save_and_load(tmp_path, with_tokenizer):
    processor = AtokenProcessor(
        AtokenImageProcessor(max_pixels=4096), tokenizer=tiny_tokenizer() if with_tokenizer else None
    )
    (saved,) = processor.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "processor_config.json").read_text())
    assert saved.endswith("processor_config.json") and config["processor_class"] == "AtokenProcessor"
    assert (tmp_path / "tokenizer.json").exists() == with_tokenizer
    if not with_tokenizer:
        assert [path.name for path in tmp_path.iterdir()] == ["processor_config.json"]
        assert processor.tokenizer is None
    loaded = AtokenProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict() and (loaded.tokenizer is not None) == with_tokenizer
    assert loaded.model_input_names == processor.model_input_names
    inputs = {"images": photo(99, 99), "videos": clip(), **({"text": "a dog"} if with_tokenizer else {})}
    batch, again = processor(**inputs), loaded(**inputs)
    assert list(batch) == list(again) and all(torch.equal(batch[name], again[name]) for name in batch)
    loaded.save_pretrained(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "processor_config.json").read_text()) == config


def test_parts_load_from_the_one_configuration(tmp_path):
    AtokenProcessor(AtokenImageProcessor(max_pixels=4096), AtokenVideoProcessor(num_frames=4)).save_pretrained(tmp_path)
    assert AtokenImageProcessor.from_pretrained(tmp_path).max_pixels == 4096
    assert AtokenVideoProcessor.from_pretrained(tmp_path).num_frames == 4


def test_loads_when_tokenizer_files_are_gone(tmp_path):
    AtokenProcessor(tokenizer=tiny_tokenizer()).save_pretrained(tmp_path)
    for path in tmp_path.glob("*token*"):
        path.unlink()
    loaded = AtokenProcessor.from_pretrained(tmp_path)
    assert loaded.tokenizer is None and "input_ids" not in loaded.model_input_names
    assert loaded(images=photo()).media_sizes.tolist() == [[1, 70, 90]]


def test_loading_passes_options_on(tmp_path):
    AtokenProcessor().save_pretrained(tmp_path)
    loaded = AtokenProcessor.from_pretrained(tmp_path, max_pixels=1024)
    assert loaded.image_processor.max_pixels == loaded.video_processor.max_pixels == 1024


def test_copies_and_prints(processor):
    for candidate in (processor, AtokenProcessor()):
        assert "AtokenImageProcessor" in repr(candidate)
        again = pickle.loads(pickle.dumps(candidate))
        assert torch.equal(again(images=photo()).pixel_values, candidate(images=photo()).pixel_values)


def test_runs_as_remote_code_without_the_package(tmp_path, monkeypatch):
    parts = {"AutoImageProcessor": AtokenImageProcessor, "AutoVideoProcessor": AtokenVideoProcessor}
    for auto_class, part in {**parts, "AutoProcessor": AtokenProcessor}.items():
        monkeypatch.setattr(part, "_auto_class", auto_class)
    AtokenProcessor().save_pretrained(tmp_path)
    program = f"""
import sys
import numpy as np
sys.modules["atoken"] = None
from transformers import AutoProcessor
processor = AutoProcessor.from_pretrained({str(tmp_path)!r}, trust_remote_code=True)
assert "transformers_modules" in type(processor).__module__
batch = processor(images=np.zeros((20, 30, 3), np.uint8), videos=np.zeros((5, 20, 30, 3), np.uint8))
assert batch.media_sizes.tolist() == [[1, 20, 30], [5, 20, 30]]
"""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
