"""Round trips: what they give, and how often patches are cut and joined on the way."""

import importlib

import numpy as np
import pytest
import torch

from atoken import AtokenModel
from atoken.processing import AtokenProcessor
from atoken.processing.media_reading_atoken import write_image
from atoken.tokenizing import streams
from atoken.tokenizing.loading import LoadedModel, load_model
from atoken.tokenizing.round_trip import RoundTrip
from atoken.tokenizing.streams import MediaStream

from ..cli_samples import save_model
from ..processing.samples import photo, smooth_clip

CUTTING = [("atoken.processing.packing_atoken", "pad_and_patchify"), ("atoken.modeling_atoken", "patchify")]
JOINING = [
    ("atoken.processing.packing_atoken", "unpatchify"),
    ("atoken.modeling_atoken", "unpatchify"),
    ("atoken.tokenizing.streams", "unpatchify"),
]


@pytest.fixture(scope="module", params=[{}, {"discrete": True}], ids=["continuous", "discrete"])
def loaded(request, tmp_path_factory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, **request.param)
    return load_model(str(folder), "cpu")


@pytest.fixture
def counts(monkeypatch) -> dict[str, int]:
    """How often patches are cut and joined, wherever that is done."""
    found = {"cut": 0, "joined": 0}

    def watch(kind: str, function):
        def counted(*arguments, **options):
            found[kind] += 1
            return function(*arguments, **options)

        return counted

    for kind, places in (("cut", CUTTING), ("joined", JOINING)):
        for module_name, name in places:
            module = importlib.import_module(module_name)
            monkeypatch.setattr(module, name, watch(kind, getattr(module, name)))
    return found


@pytest.mark.parametrize("frames", [1, 16])
def test_patches_are_cut_once_and_joined_once(loaded, counts, frames):
    media = photo(35, 45)[None] if frames == 1 else smooth_clip(frames, 35, 45)
    trip = RoundTrip(loaded, MediaStream.of_frames(loaded, media), torch.float32)
    pieces = list(trip)
    assert counts == {"cut": 1, "joined": 1}
    assert np.array_equal(np.concatenate([original for original, _ in pieces]), media)


def test_every_tile_is_cut_once_and_joined_once(loaded, counts):
    media = smooth_clip(37, 35, 45)
    trip = RoundTrip(loaded, MediaStream.of_frames(loaded, media), torch.float32)
    shown = np.concatenate([reconstruction for _, reconstruction in trip])
    tiles = -(-37 // loaded.model.config.vision_config.tile_frames)
    assert counts == {"cut": tiles, "joined": tiles} and shown.shape == media.shape


def test_it_is_what_dense_streams_give(loaded):
    media = smooth_clip(21, 32, 48)
    trip = RoundTrip(loaded, MediaStream.of_frames(loaded, media), torch.float32)
    shown = np.concatenate([reconstruction for _, reconstruction in trip])
    dense = torch.from_numpy(media).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents = list(loaded.model.encode_stream([dense]))
    decoded = torch.cat(list(loaded.model.decode_stream(latents, num_frames=21)))
    expected = ((decoded + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert np.abs(shown.astype(int) - expected).max() <= 1  # a value that rounds either way


def test_deep_pictures_are_compared_in_8_bits(loaded, tmp_path):
    deep = torch.from_numpy(photo(20, 30).astype(np.int32) * 257).to(torch.uint16).permute(2, 0, 1)
    stream = MediaStream(loaded, "image", [deep])
    (piece,) = list(stream)
    assert np.array_equal(piece.frames[0], photo(20, 30))


def test_a_processor_that_resizes_gives_what_is_compared(tmp_path):
    model: AtokenModel = save_model(tmp_path / "model")
    processor = AtokenProcessor()
    processor.image_processor.do_resize = True
    processor.image_processor.size = {"height": 32, "width": 32}
    loaded = LoadedModel(model.eval(), processor, "resizing", "")
    write_image(tmp_path / "photo.png", photo(40, 50))
    stream = MediaStream.open(loaded, tmp_path / "photo.png", "image")
    (piece,) = list(stream)
    assert stream.media_size == (1, 32, 32) and piece.frames.shape == (1, 32, 32, 3)


def test_a_video_without_a_frame_rate_is_not_written(tmp_path):
    with pytest.raises(streams.MissingFrameRate, match="fps must be given"):
        streams.write_media(tmp_path / "deep" / "clip.mp4", "video", [smooth_clip(2, 8, 8)], None)
    assert not (tmp_path / "deep").exists()
