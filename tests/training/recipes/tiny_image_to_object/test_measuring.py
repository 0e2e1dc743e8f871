"""The measuring of a tiny random generator on drawn objects, and its baselines, by their own parts."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from atoken.evaluation.metrics.object_measures import measured
from atoken.generation.object_conditions_atoken import picture_condition
from atoken.generation.object_pictures_atoken import object_picture
from atoken.miniature.scenes import is_held_out
from atoken.miniature.small_solids import SCALE
from atoken.training.recipes.tiny_image_to_object.measuring import (
    VIEW_SIZE,
    VIEWS,
    baselines,
    decoded,
    generated,
    reconstruction_iou,
    true_objects,
)
from atoken.training.recipes.tiny_image_to_object.objects import PICTURE_SIZE, caption_of, mesh_of, scene_of
from atoken.training.recipes.tiny_image_to_object.pictures import save_pictures

from ....generation.object_helpers import object_pipeline, tokenizer

SIDE, CHANNELS = 8, 4  # of the tiny tokenizer


class Rows:
    """Two objects on a grid of 8 voxels."""

    resolution, channels = SIDE, CHANNELS
    voxels = np.array([30, 40])

    def __len__(self) -> int:
        return 2

    def key(self, row: int) -> str:
        return f"{row:06d}"

    def latents(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        numbers = torch.Generator().manual_seed(row)
        cells = torch.randperm(SIDE**3, generator=numbers)[: self.voxels[row]].sort().values
        coords = torch.stack([cells // 64, cells // 8 % 8, cells % 8], dim=1)
        return torch.randn(len(cells), CHANNELS, generator=numbers), coords


@pytest.fixture(scope="module")
def trues():
    return true_objects(Rows(), "held_out", 2)  # pyright: ignore[reportArgumentType]


def test_objects_are_smaller_than_the_cube_and_held_out_pairs_are_new():
    extent = np.ptp(mesh_of("train", 3).vertices, axis=0)
    assert extent.max() == pytest.approx(SCALE)
    for index in range(20):
        train, other = scene_of("train", index), scene_of("held_out", index)
        assert not is_held_out(train.colour, train.shape) and is_held_out(other.colour, other.shape)
        assert train.colour in caption_of("train", index) and train.shape in caption_of("train", index)


def test_what_an_object_is_compared_by(trues):
    for true in trues:
        assert true.views.shape == (VIEWS, 3, VIEW_SIZE, VIEW_SIZE) and true.views.dtype == torch.uint8
        # Seen whole and large: nothing at the edges, but much in between.
        assert not true.views[..., [0, -1], :].any() and not true.views[..., [0, -1]].any()
        assert 0.05 < float((true.views.amax(1) > 0).float().mean()) < 0.8
        assert true.picture.mode == "RGBA" and true.picture.getextrema()[3] == (0, 255)


def test_generated_objects_are_measured_one_by_one(trues):
    found, seconds = generated(object_pipeline(), trues, seed=5)
    number = int(np.random.SeedSequence([5, 1]).generate_state(1)[0])
    made = object_pipeline()(trues[1].picture, generator=torch.Generator().manual_seed(number))
    expected = measured(made.coords[:, 1:], made.gaussians[0], trues[1], SIDE)
    assert found[1] == pytest.approx(expected, rel=1e-3, abs=1e-3) and seconds > 0


def test_an_object_without_voxels_counts_as_nothing(trues):
    pipeline = object_pipeline()
    with torch.no_grad():
        pipeline.structure_vae.decoder.conv_out.bias.fill_(-1e4)
    (found,), seconds = generated(pipeline, trues[:1])
    errors = trues[0].views.double().square().flatten(1).mean(1)
    black = float((10 * torch.log10(255**2 / errors)).mean())
    assert found == {"iou": 0.0, "psnr": pytest.approx(black), "color": 255.0} and np.isnan(seconds)


def test_other_errors_are_not_swallowed(trues):
    with pytest.raises(ValueError, match="num_inference_steps"):
        generated(object_pipeline(), trues[:1], latent_sampling={"num_inference_steps": 0})


def test_baselines(trues):
    model, train = tokenizer(), Rows()
    placed = torch.from_numpy(object_picture(trues[1].picture, PICTURE_SIZE)).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        seen = picture_condition(placed, None, model)[0]
    # Training object 0 looks exactly like held-out object 1, training object 1 like nothing.
    conditions = [torch.stack([seen + 9, seen]), torch.stack([seen + 9, seen - 9])]
    held_out = SimpleNamespace(resolution=SIDE, latents=lambda row: train.latents(1))
    arguments: list[Any] = [trues[1:], held_out, train, conditions, model]
    found = baselines(*arguments)
    assert found["ceiling"]["iou"] == 1.0
    latents, coords = train.latents(0)
    with torch.no_grad():
        expected = measured(coords, decoded(model, latents, coords), trues[1], SIDE)
    assert found["nearest training object"] == pytest.approx(expected)
    assert found["mean object"]["iou"] >= expected["iou"]  # half of two objects is either


def test_structures_are_compared_with_what_their_autoencoder_gives_back():
    rows, vae = Rows(), object_pipeline().structure_vae
    grids = [torch.zeros(1, SIDE, SIDE, SIDE) for _ in range(2)]
    for row, grid in enumerate(grids):
        grid[(0, *rows.latents(row)[1].unbind(1))] = 1
    given = SimpleNamespace(resolution=SIDE, latents=rows.latents, occupancy=lambda row: grids[row])
    with torch.no_grad():
        found = torch.cat([vae(grid[None]).sample[:, 0] > 0 for grid in grids])
    true = torch.cat(grids) > 0
    shares = (found & true).flatten(1).sum(1) / (found | true).flatten(1).sum(1)
    assert reconstruction_iou(vae, given, 2) == pytest.approx(float(shares.mean()))  # pyright: ignore[reportArgumentType]


def test_the_picture_has_a_row_for_each_object(trues, tmp_path):
    save_pictures(object_pipeline(), trues, tmp_path / "made.png")
    with Image.open(tmp_path / "made.png") as picture:
        side = VIEW_SIZE + 2
        assert picture.size == ((1 + 2 * VIEWS) * side, len(trues) * side)
