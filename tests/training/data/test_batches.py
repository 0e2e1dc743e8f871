"""Batches of training: bytes become the numbers they were, captions, damage, and going on where a run stopped."""

import numpy as np
import pytest
import torch

from atoken.processing.patching_atoken import pad_and_patchify
from atoken.training.data.batches import pack
from atoken.training.data.drawn_sources import OPENERS
from atoken.training.data.handing_over import packed, unpacked
from atoken.training.data.limits import Draw, Limits
from atoken.training.data.mixing import Mixture
from atoken.training.data.samples import make_sample
from atoken.training.data.sources import open_source
from atoken.training.data.step_plan import BatchSize
from atoken.training.data.task_batches import Batches, TooManyUnreadable
from atoken.training.data.tasks import open_tasks, read_data

from ..stage_samples import write_objects, write_photos
from .picture_sources import write_pictures

LIMITS = Limits(
    image_resolution=(32, 96), video_resolution=(32, 32), frames=(4, 8), max_tokens=64, understanding_tokens=16
)


@pytest.fixture
def pictures(tmp_path):
    return write_pictures("folder", tmp_path)


def open_batches(entry: dict, rank: int = 0, processes: int = 1, count: int = 4, **options) -> Batches:
    tokenize = lambda texts: torch.tensor([[int(text.split()[-1])] for text in texts])  # noqa: E731
    mixture = Mixture([open_source(entry, "image", 5, OPENERS)], 5)
    size = BatchSize(count, count)
    return Batches("image_understanding", mixture, LIMITS, size, 5, tokenize, rank=rank, processes=processes, **options)


@pytest.mark.parametrize("frames", [1, 2, 4, 6, 8])
def test_bytes_become_the_numbers_of_the_processor(frames):
    clips = torch.randint(0, 256, (2, frames, 3, 32, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    limits, rng = Limits(video_resolution=(512, 512)), np.random.default_rng(0)
    whole = [make_sample("video_understanding", {"media": one, "caption": "a"}, limits, rng) for one in clips]
    packed = pack("video_understanding", whole, [0, 1], lambda texts: torch.zeros(2, 1))
    assert packed.pixel_values.dtype == torch.uint8
    assert packed.pixel_values.shape[1] == (768 if frames == 1 else 3072)
    batch = packed.to("cpu")
    expected = [pad_and_patchify(one.float() / 127.5 - 1) for one in clips]
    assert torch.equal(batch.pixel_values, torch.cat([values for values, _ in expected]))
    assert torch.equal(batch.coords, torch.cat([coords for _, coords in expected]))
    assert torch.equal(batch.to("cpu").pixel_values, batch.pixel_values)
    assert batch.text_embeds.shape == (2, 1) and batch.input_ids is None


def test_clips_of_different_lengths_lie_in_one_batch():
    clips = [torch.full((frames, 3, 32, 32), 200, dtype=torch.uint8) for frames in (5, 1, 8)]
    rng = np.random.default_rng(0)
    samples = [make_sample("video_understanding", {"media": one, "caption": "a"}, LIMITS, rng) for one in clips]
    batch = pack("video_understanding", samples, [0, 1, 2], lambda texts: torch.zeros(3, 1)).to("cpu")
    true = [4] * 4 + [1] * 4 + [1] * 4 + [4] * 8
    level = 200 / 127.5 - 1
    for token, count in zip(batch.pixel_values, true, strict=True):
        assert token[: 768 * count].sub(level).abs().max() < 1e-6 and not token[768 * count :].any()


def test_a_picture_travels_as_768_bytes_a_token(tmp_path):
    photo, voxels = next(write_photos(tmp_path / "a").iterdir()), next(write_objects(tmp_path / "b").iterdir())
    for task, media in (("image_reconstruction", photo), ("3d_reconstruction", voxels)):
        sample = make_sample(task, {"media": media}, LIMITS, np.random.default_rng(0), Draw(0.5))
        packed = pack(task, [sample], [0], None)
        assert packed.pixel_values.dtype == torch.uint8 and packed.pixel_values.shape == (len(sample), 768)
        assert packed.true_values is None
        values = packed.to("cpu").pixel_values
        assert values.shape == (len(sample), 3072) and values.dtype == torch.float32 and not values[:, 768:].any()


def test_layouts_are_made_with_the_batch_and_move_with_it(pictures):
    class Layout:
        def __init__(self, *given):
            self.given, self.devices = given, []

        def to(self, device):
            self.devices.append(str(device))
            return self

    batches = open_batches(pictures, make_layout=Layout)
    made = batches.make(batches.order()[0]).batch
    task, coords, lengths = made.layout.given
    assert task == "image_understanding" and coords is made.coords and lengths == made.lengths
    assert made.to("cpu").layout.devices == ["cpu"]


def test_captions_belong_to_their_pictures(pictures):
    batch = next(open_batches(pictures))
    for ids, tokens in zip(
        batch.input_ids[:, 0], batch.pixel_values.split(batch.cu_seqlens.diff().tolist()), strict=True
    ):
        red = tokens[0, :768].unflatten(0, (256, 3))[:, 0].mean()
        assert round(float((red + 1) * 127.5)) == 20 * int(ids)


def test_an_epoch_has_every_picture_once_also_over_processes(pictures):
    batches = open_batches(pictures)
    epochs = [[int(i) for _ in range(3) for i in next(batches).input_ids[:, 0]] for _ in range(2)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs) and epochs[0] != epochs[1]
    for processes in (2, 3):
        parts = [open_batches(pictures, rank, processes) for rank in range(processes)]
        for epoch in epochs:
            for step in range(3):
                drawn = [next(part) for part in parts]
                ids = [int(i) for batch in drawn for i in batch.input_ids[:, 0]]
                assert sorted(ids) == sorted(epoch[4 * step : 4 * step + 4])
                assert all(batch.step_samples == [batch.num_samples for batch in drawn] for batch in drawn)


def test_the_number_of_the_next_sample_is_all_that_has_to_be_kept(pictures):
    batches = open_batches(pictures)
    next(batches)
    number = batches.number
    expected = [next(batches) for _ in range(4)]
    again = open_batches(pictures)
    again.number = number
    for batch in expected:
        found = next(again)
        assert torch.equal(found.pixel_values, batch.pixel_values) and torch.equal(found.input_ids, batch.input_ids)
        assert found.numbers == batch.numbers


def test_large_steps_are_made_in_micro_batches(pictures):
    batches = open_batches(pictures, count=12)
    orders = batches.order()
    # At most 64 tokens each; a picture may have 16 before it is read.
    assert [len(order.numbers) for order in orders] == [4, 4, 4] and batches.number == 12
    assert [order.step_samples for order in orders] == [[12]] * 3


def open_photos(folder, count: int) -> Batches:
    mixture = Mixture([open_source({"source": "folder", "path": str(folder)}, "image", 0, OPENERS)], 0)
    return Batches("image_reconstruction", mixture, Limits((32, 64), max_tokens=10**6), BatchSize(count, count), 0)


def test_damage_is_replaced_and_counted_and_too_much_of_it_stops(tmp_path):
    folder = write_photos(tmp_path / "some", 20)
    (folder / "0.png").write_bytes(b"no picture")
    batches = open_photos(folder, 38)
    assert next(batches).num_samples == 38
    assert 1 <= batches.unreadable <= 4 and batches.seen == 38 + batches.unreadable
    for path in sorted(folder.iterdir())[:10]:
        path.write_bytes(b"no picture")
    with pytest.raises(TooManyUnreadable, match=r"image_reconstruction: \d+ of \d+ samples cannot be read; the last"):
        next(open_photos(folder, 400))
    for path in folder.iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(TooManyUnreadable, match="none of 200 samples can be used; check the task's sources"):
        next(open_photos(folder, 4))


def open_prepared(source: str, folder) -> Batches:
    mixture = Mixture([open_source({"source": source, "path": str(folder)}, "object", 0, OPENERS)], 0)
    tokenize = lambda texts: torch.zeros(len(texts), 1, dtype=torch.int64)  # noqa: E731
    return Batches("3d_understanding", mixture, Limits(object_voxels=16), BatchSize(6, 6), 0, tokenize)


@pytest.mark.parametrize("content", [b"", b"no object, but more than eight bytes", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_object_is_replaced_and_counted(content, tmp_path, caplog):
    damaged = write_objects(tmp_path, 6) / "0.safetensors"
    damaged.write_bytes(content)
    batches = open_prepared("objects", tmp_path)
    assert next(batches).num_samples == 6
    assert batches.unreadable >= 1 and batches.seen == 6 + batches.unreadable
    # An object without tensors is one, but none that can be trained on.
    named = f"objects must be whole, got {damaged}" if not content.startswith(b"\x08") else "rgb"
    assert "3d_understanding: sample cannot be read: " in caplog.text and named in caplog.text


def test_wrong_data_files_are_named(tmp_path):
    path = tmp_path / "data.yaml"
    path.write_text("image_understanding: {source: miniature}\n")
    with pytest.raises(ValueError, match="data must be tasks, each with a list of sources, got .*data.yaml"):
        read_data(path)
    data = {"image_understanding": [{"source": "miniature"}]}
    options = (LIMITS, None, 16, 0, 0, 4, 0)
    with pytest.raises(
        ValueError, match="data must have sources of video_reconstruction, got some of image_understanding"
    ):
        open_tasks(["video_reconstruction"], data, {"video_reconstruction": 2}, *options)
    with pytest.raises(ValueError, match="batch_sizes: image_understanding must be at least 4, the processes, got 3"):
        open_tasks(["image_understanding"], data, {"image_understanding": 3}, *options)
    with pytest.raises(ValueError, match="batch_sizes must be numbers, or pairs of the smallest and the largest"):
        open_tasks(["image_understanding"], data, {"image_understanding": [1, 2, 3]}, *options)


def test_all_that_goes_to_the_device_is_pinned(tmp_path, monkeypatch):
    media = next(write_objects(tmp_path).iterdir())
    sample = make_sample("3d_reconstruction", {"media": media}, LIMITS, np.random.default_rng(0), Draw(0.5))
    batch = pack("3d_reconstruction", [sample], [0], None)
    batch.true_values, batch.layout = torch.full((len(sample),), 700, dtype=torch.int32), torch.arange(3)
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: (pinned.append(tensor), tensor.clone())[1])
    copy = batch.pin_memory()
    moved = (batch.pixel_values, batch.coords, batch.cu_seqlens, batch.true_values, batch.layout, *batch.views)
    assert {id(tensor) for tensor in pinned} == {id(tensor) for tensor in moved}
    assert torch.equal(copy.to("cpu").pixel_values, batch.to("cpu").pixel_values)


def test_large_tensors_are_handed_over_by_themselves_and_all_else_in_one_piece():
    """What arrives is the same, whatever the sizes and kinds of its tensors."""
    layout = {"small": torch.arange(5), "half": torch.ones(3, dtype=torch.bfloat16), "large": torch.rand(2**19)}
    sent = {"layout": layout, "names": ["a", "b"], "none": None}
    content, large = packed(sent)
    assert [each.data_ptr() for each in large] == [layout["large"].data_ptr()] and len(content) < 2**12
    received = unpacked(content, large)
    assert received["names"] == ["a", "b"] and received["none"] is None
    assert all(torch.equal(received["layout"][name], value) for name, value in layout.items())
