"""The processor: values, sizes, frames, counts of tokens, templates."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.video_utils import VideoMetadata

from atoken.mllm import AtokenLlavaImageProcessor, AtokenLlavaProcessor, AtokenLlavaVideoProcessor
from atoken.processing.media_writing_atoken import write_video

from .parts import clip, model_inputs, parts, picture, question, shared_parts, tokenizer


def default_processor(**options) -> AtokenLlavaProcessor:
    return AtokenLlavaProcessor(tokenizer=tokenizer(10**6), **options)


def test_counts_of_the_design_page():
    processor = default_processor()
    counted = processor._get_num_multimodal_tokens(
        image_sizes=[(1536, 1536), (1080, 1920)], video_sizes=[(128, 480, 480), (16, 480, 480), (128, 1080, 1920)]
    )
    assert counted.num_image_tokens == [9312, 7986]
    assert counted.num_image_patches == [96 * 96, 66 * 120]
    assert counted.num_video_tokens == [9249, 3857, 9089]
    halved = default_processor(image_pool_stride=2)
    assert halved._get_num_multimodal_tokens([(1536, 1536), (1080, 1920)]).num_image_tokens == [2352, 2013]


@torch.no_grad()
@pytest.mark.parametrize("video_input", ["frames", "clip"])
def test_the_processor_counts_what_the_model_makes(video_input):
    model, processor = parts(video_input=video_input)
    draw = random.Random(0)
    images = [(draw.randint(1, 200), draw.randint(1, 200)) for _ in range(60)]
    videos = [(draw.randint(1, 9), draw.randint(8, 120), draw.randint(8, 120)) for _ in range(40)]
    counted = processor._get_num_multimodal_tokens(images, videos)
    text = "<|image_pad|>" * len(images) + "<|video_pad|>" * len(videos)
    processor.tokenizer.model_max_length = 10**6
    inputs = processor(
        images=[Image.fromarray(picture(*size)) for size in images],
        videos=[clip(*size) for size in videos],
        text=text,
        return_tensors="pt",
    )
    made = model.get_image_features(inputs.pixel_values, inputs.image_grid_thw).pooler_output
    assert [len(tokens) for tokens in made] == counted.num_image_tokens
    made = model.get_video_features(inputs.pixel_values_videos, inputs.video_grid_thw).pooler_output
    assert [len(tokens) for tokens in made] == counted.num_video_tokens
    assert (inputs.input_ids == model.config.image_token_id).sum() == sum(counted.num_image_tokens)
    assert (inputs.input_ids == model.config.video_token_id).sum() == sum(counted.num_video_tokens)


def test_values_and_the_order_of_patches():
    pixels = picture(64, 96)
    out = AtokenLlavaImageProcessor()(pixels, return_tensors="pt")
    assert out.image_grid_thw.tolist() == [[1, 4, 6]]
    expected = pixels.astype(np.float64) / 127.5 - 1
    row, column = 2, 3
    patch = expected[16 * row : 16 * row + 16, 16 * column : 16 * column + 16].reshape(-1)
    np.testing.assert_allclose(out.pixel_values[row * 6 + column].numpy(), patch, atol=1e-6)
    as_floats = AtokenLlavaImageProcessor()(pixels.astype(np.float32) / 255, return_tensors="pt")
    torch.testing.assert_close(as_floats.pixel_values, out.pixel_values, atol=1e-6, rtol=0)


def test_transparency_is_white():
    clear = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    assert (AtokenLlavaImageProcessor()(clear, return_tensors="pt").pixel_values == 1).all()
    half = np.zeros((2, 32, 32, 4), np.uint8)
    half[..., 3] = 51  # a fifth
    processor = AtokenLlavaVideoProcessor(size={"min_pixels": 0, "max_pixels": 64**2})
    for video in (half, half.astype(np.float32) / 255):
        shown = processor(video, return_tensors="pt", input_data_format="channels_last").pixel_values_videos
        torch.testing.assert_close(shown, torch.full_like(shown, 0.8 * 2 - 1), atol=1e-6, rtol=0)


def test_frames_are_the_middles_of_equal_parts():
    processor = AtokenLlavaVideoProcessor(max_frames=4, size={"min_pixels": 0, "max_pixels": 64**2})
    video = np.zeros((10, 32, 32, 3), np.uint8) + np.arange(10, dtype=np.uint8)[:, None, None, None]
    out = processor(video, return_tensors="pt", return_metadata=True)
    assert out.video_grid_thw.tolist() == [[4, 2, 2]]
    expected = [int((i + 0.5) * 10 / 4) for i in range(4)]
    assert list(out.video_metadata[0].frames_indices) == expected
    shown = (out.pixel_values_videos.reshape(4, -1).double().mean(1) + 1) * 127.5
    np.testing.assert_allclose(shown.numpy(), expected, atol=1e-4)
    metadata = [{"fps": 10.0, "total_num_frames": 10}]
    out = processor(video, return_tensors="pt", return_metadata=True, fps=2, video_metadata=metadata)
    assert list(out.video_metadata[0].frames_indices) == [0, 5]


RATES = ["23.976", "24", "25", "29.97", "30", "50", "59.94", "60", "24000/1001", "30000/1001", "60000/1001"]


@pytest.mark.parametrize("rate", RATES)
def test_frames_at_a_rate(rate):
    """By fractions, of which the processor is given floats."""
    exact, processor = Fraction(rate), AtokenLlavaVideoProcessor()

    def frames(total: int, fps: Fraction) -> list[int]:
        metadata = VideoMetadata(total_num_frames=total, fps=float(exact))
        return processor.sample_frames(metadata, fps=float(fps), max_frames=total).tolist()

    for total in range(1, 150):
        assert frames(total, exact) == list(range(total))
    for wanted in [exact / 2, exact / 3, Fraction(5), Fraction("9.99"), Fraction(10000, 1001)]:
        for total in [*range(1, 20), 360, 361, 1001]:
            moments = (number * exact / wanted for number in range(total))
            assert frames(total, wanted) == [math.floor(moment) for moment in moments if moment < total]


def test_frames_of_a_call_and_of_the_processor():
    size, metadata = {"min_pixels": 0, "max_pixels": 64**2}, [{"fps": 10.0, "total_num_frames": 10}]
    own = AtokenLlavaVideoProcessor(fps=2, size=size)

    def frames(processor, **options) -> int:
        return int(processor(clip(10, 32, 32), video_metadata=metadata, **options).video_grid_thw[0][0])

    assert frames(own) == own.num_sampled_frames(10, video_fps=10.0) == 2
    assert frames(own, num_frames=7) == own.num_sampled_frames(10, num_frames=7) == 7
    assert frames(AtokenLlavaVideoProcessor(num_frames=7, size=size), fps=5) == 5
    assert frames(own, max_frames=1) == 1
    with pytest.raises(ValueError, match="num_frames must be None with fps, got 3 and fps=2. Give one of the two"):
        frames(AtokenLlavaVideoProcessor(size=size), num_frames=3, fps=2)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"max_frames must be at least 1, got {wrong}"):
            frames(own, max_frames=wrong)
        with pytest.raises(ValueError, match=f"max_frames must be at least 1, got {wrong}"):
            AtokenLlavaVideoProcessor(max_frames=wrong)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])  # the second does not announce how many frames it has
def test_video_files(suffix, tmp_path):
    frames = np.repeat(np.linspace(20, 220, 6).astype(np.uint8), 32 * 64 * 3).reshape(6, 32, 64, 3)
    write_video(tmp_path / f"clip{suffix}", frames, 8)
    processor = AtokenLlavaVideoProcessor(size={"min_pixels": 0, "max_pixels": 64**2})
    out = processor(tmp_path / f"clip{suffix}", return_tensors="pt")
    assert out.video_grid_thw.tolist() == [[6, 2, 4]]
    shown = (out.pixel_values_videos.reshape(6, -1).mean(1) + 1) * 127.5
    np.testing.assert_allclose(shown.numpy(), frames[:, 0, 0, 0], atol=6)
    assert AtokenLlavaVideoProcessor()(str(tmp_path / f"clip{suffix}")).video_grid_thw[0][0] == 6


def test_the_template_and_what_is_to_be_learned():
    _, processor = shared_parts()
    messages = question("What color?", image=picture(32, 32)) + [{"role": "assistant", "content": "red"}]
    text = processor.apply_chat_template(messages, tokenize=False)
    assert text == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>\nWhat color?<|im_end|>\n"
        "<|im_start|>assistant\nred<|im_end|>\n"
    )
    inputs = processor.apply_chat_template(
        [messages, question("Hi") + [{"role": "assistant", "content": "yes"}]],
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": "right"},
    )
    for ids, mask, answer in zip(inputs.input_ids, inputs.assistant_masks, ("red", "yes"), strict=True):
        assert processor.tokenizer.decode(ids[mask.bool()]) == f"{answer}<|im_end|>"


def test_times_are_stated_where_asked(tmp_path):
    processor = default_processor(
        add_time_instruction=True,
        video_processor=AtokenLlavaVideoProcessor(size={"min_pixels": 0, "max_pixels": 32**2}, max_frames=2),
    )
    metadata = [{"fps": 4.0, "total_num_frames": 8}]
    inputs = processor(videos=[clip(8, 32, 32)], text="<|video_pad|>", video_metadata=metadata)
    text = processor.tokenizer.decode(inputs["input_ids"][0])
    assert text.startswith("A video of 2.00 seconds, of which 2 frames are shown, taken at second 0.50, 1.50.\n<|video")


def test_saved_processors_load(tmp_path):
    from transformers import AutoProcessor

    _, processor = shared_parts()
    processor.save_pretrained(tmp_path)
    loaded = AtokenLlavaProcessor.from_pretrained(tmp_path)
    assert loaded.token_counts == processor.token_counts
    assert loaded.video_processor.max_frames == 5 and loaded.chat_template == processor.chat_template
    assert type(AutoProcessor.from_pretrained(tmp_path)) is AtokenLlavaProcessor
    given, again = (model_inputs(each, [question("Hi", image=picture(40, 70))]) for each in (processor, loaded))
    assert torch.equal(given.input_ids, again.input_ids) and torch.equal(given.pixel_values, again.pixel_values)


BAD = {
    "more media than placeholders": (
        dict(images=[picture(32, 32), picture(32, 32)], text="<|image_pad|>"),
        "should be the same as the number of images",
    ),
    "fewer media than placeholders": (dict(text="<|image_pad|> a"), "no images were passed"),
    "empty list of media with a placeholder": (dict(images=[], text="<|image_pad|>"), "no images were passed"),
    "videos for images": (dict(images=[picture(32, 32)], text="<|video_pad|>"), "number of images|no videos"),
    "media without text": (dict(images=[picture(32, 32)]), "text must be given"),
    "sound": (dict(text="a", audio=[0.0]), "audio must be None"),
    "floats above one": (
        dict(images=[picture(32, 32).astype(np.float32)], text="<|image_pad|>"),
        r"images must be floats in \[0, 1\]",
    ),
    "integers of another type": (
        dict(images=[picture(32, 32).astype(np.int64)], text="<|image_pad|>"),
        "images must be uint8 or floats",
    ),
    "a video without frames": (dict(videos=[clip(2, 32, 32)[:0]], text="<|video_pad|>"), "at least 1 frame"),
    "too many frames asked for": (
        dict(videos=[clip(2, 32, 32)], text="<|video_pad|>", num_frames=3),
        "num_frames must be from 1 to the video's 2 frames, got 3",
    ),
    "a rate of an unknown video": (dict(videos=[clip(2, 32, 32)], text="<|video_pad|>", fps=2), "fps must be"),
    "a size of no bounds": (
        dict(images=[picture(32, 32)], text="<|image_pad|>", size={"height": 32, "width": 32}),
        "size must be",
    ),
    "bounds that cross": (
        dict(images=[picture(32, 32)], text="<|image_pad|>", size={"min_pixels": 4096, "max_pixels": 1024}),
        "min_pixels and max_pixels must be",
    ),
    "no resizing of what does not fit": (
        dict(images=[picture(40, 40)], text="<|image_pad|>", do_resize=False),
        "do_resize must be True",
    ),
    "channels that are not RGB": (
        dict(images=[np.zeros((32, 32, 4), np.uint8)], text="<|image_pad|>", images_kwargs={"do_convert_rgb": False}),
        "do_convert_rgb must be True for media that are not RGB, got 4 channels",
    ),
    "patches that do not fill": (
        dict(images=[picture(64, 64)], text="<|image_pad|>", images_kwargs={"patch_size": 24}),
        "size_multiple must be a multiple of patch_size, got 32 and 24",
    ),
    "a text beyond the context": (dict(text="a" * 5000), "at most the 4096 tokens .* got 5000"),
    "media beyond the context": (
        dict(images=[picture(1024, 1024)], text="<|image_pad|>", size={"min_pixels": 0, "max_pixels": 1536**2}),
        "at most the 4096 tokens .* got 4160",
    ),
    "truncation of placeholders": (
        dict(images=[picture(64, 64)], text="<|image_pad|>", truncation=True, max_length=5),
        "image",
    ),
    "text that is none": (dict(text=[1, 2]), "text"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    given, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        shared_parts()[1](**given)


def test_bad_messages_and_configurations():
    _, processor = shared_parts()
    with pytest.raises(Exception, match="role must be system, user or assistant, got tool"):
        processor.apply_chat_template([{"role": "tool", "content": "a"}], tokenize=False)
    with pytest.raises(Exception, match="type must be image, video or text, got audio"):
        processor.apply_chat_template([{"role": "user", "content": [{"type": "audio"}]}], tokenize=False)
    with pytest.raises(ValueError, match="size_multiple must be"):
        AtokenLlavaImageProcessor(size_multiple=40)
    with pytest.raises(ValueError, match="tokenizer must be"):
        AtokenLlavaProcessor()
    with pytest.raises(ValueError, match="image_pool_stride must divide both sides"):
        default_processor(image_pool_stride=4)._get_num_multimodal_tokens([(96, 96)])
    with pytest.raises(FileNotFoundError):
        processor.video_processor(["missing.mp4"])


def test_empty_lists_are_none():
    _, processor = shared_parts()
    assert set(processor(images=[[], []], videos=[], text=["a", "b"])) == {"input_ids", "attention_mask"}
