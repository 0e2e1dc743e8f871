"""A step in one, four and sixteen micro batches: one gradient. And no step waits for its device."""

from contextlib import nullcontext

import pytest
import torch

from atoken import AtokenModel, AtokenVisionModel
from atoken.packed_layouts_atoken import PackedLayout
from atoken.training.contracts import Share
from atoken.training.data.batches import TrainingBatch
from atoken.training.tokenizer.objective import Objective
from atoken.training.tokenizer.perceptual import VggLosses

from ..stage_samples import make_start

SAMPLES = 16
WEIGHTS = {"image": {"l1": 2.0, "lpips": 1.0, "log_mse": 0.1}, "video": {"l1": 1.0}, "3d": {"l1": 1.0}}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return make_start(tmp_path_factory.mktemp("start"), gaussians=True)


def whole_batch(task: str) -> TrainingBatch:
    """Makes samples of different sizes with texts."""
    generator = torch.Generator().manual_seed(0)
    frames = 2 if task.startswith("video") else 1
    grids = [(frames, 2, 2 + index % 3) for index in range(SAMPLES)]
    return pack(
        task,
        [torch.rand(t * h * w, 3072, generator=generator) * 2 - 1 for t, h, w in grids],
        grids,
        list(range(100, 100 + SAMPLES)),
        torch.randint(2, 30, (SAMPLES, 16), generator=generator),
    )


def pack(task, patches, grids, numbers, input_ids) -> TrainingBatch:
    lengths = [len(each) for each in patches]
    coords = [
        torch.tensor([[t, x, y, 0] for t in range(grid[0]) for x in range(grid[1]) for y in range(grid[2])])
        for grid in grids
    ]
    cu_seqlens = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    return TrainingBatch(
        task, torch.cat(patches), torch.cat(coords), cu_seqlens, grids, lengths, numbers, input_ids=input_ids
    )


def cut(batch: TrainingBatch, count: int) -> list[TrainingBatch]:
    patches, pieces = batch.pixel_values.split(batch.lengths), []
    for part in torch.arange(SAMPLES).tensor_split(count):
        own = slice(int(part[0]), int(part[-1]) + 1)
        pieces.append(pack(batch.task, patches[own], batch.grids[own], batch.numbers[own], batch.input_ids[own]))
    return pieces


def gradients(start, batch: TrainingBatch, count: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    model = AtokenModel.from_pretrained(start).float()
    teacher = AtokenVisionModel.from_pretrained(start).float()
    with torch.no_grad():
        teacher.head.probe.add_(0.5)
    objective = Objective(model, WEIGHTS, teacher, 1.0, trunk=VggLosses(random=True)).train()
    pieces = cut(batch, count)
    commons = objective(pieces)
    for piece, common in zip(pieces, commons, strict=True):
        share = Share(piece.num_tokens / batch.num_tokens, piece.num_samples / batch.num_samples)
        objective(piece, share, common)["loss"].backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("task", ["image_understanding", "video_understanding", "image_reconstruction"])
def test_any_number_of_micro_batches_gives_the_gradient_of_the_whole(start, task):
    batch = whole_batch(task)
    expected = gradients(start, batch, 1)
    largest = max(float(value.abs().max()) for value in expected.values())
    assert largest > 1e-4
    for count in (4, SAMPLES):
        found = gradients(start, batch, count)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert float((found[name] - value).abs().max()) < 1e-6 * max(largest, 1.0), name


@pytest.mark.parametrize("task", ["image_understanding", "video_understanding", "video_reconstruction"])
def test_forward_and_backward_read_nothing_from_their_device(start, task, monkeypatch):
    """Tensors of the meta device have no values, so that whatever reads one raises."""
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: nullcontext())  # it does not know that device
    model = AtokenModel.from_pretrained(start).float()
    teacher = AtokenVisionModel.from_pretrained(start).float()
    weights = {"image": {"l1": 1.0}, "video": {"l1": 1.0, "log_mse": 1.0}, "3d": {}}
    objective = Objective(model, weights, teacher, 3.0).train().to("meta")
    batch = whole_batch(task)
    batch.layout = PackedLayout.build(batch.coords, batch.lengths, 4)
    batch = batch.to("meta")
    objective(batch, Share(1.0, 1.0), objective([batch])[0])["loss"].backward()
    assert model.vision_model.input_layer.weight.grad.shape == model.vision_model.input_layer.weight.shape
