"""Steps by points of surfaces: what is read, what is cut out, and that a decoder learns a surface from them."""

import copy
import random

import pytest
import torch
from safetensors.torch import save_file

from atoken.gaussians_atoken import SH_C0
from atoken.training.recipes.tiny.surface_loss import surface_loss
from atoken.training.recipes.tiny.surface_steps import ObjectSurface, learn_surfaces
from atoken.training.recipes.tiny.train_gaussians import build_decoder, build_optimizers, decode


@pytest.fixture
def floor(tmp_path):
    """Writes a red floor at four fifths of the height of 8 x 8 voxels, seen from above."""
    numbers = torch.Generator().manual_seed(0)
    coords = torch.cartesian_prod(torch.arange(28, 36), torch.arange(28, 36), torch.tensor([31]))
    places = torch.randint(0, 256, (len(coords), 16, 3), generator=numbers, dtype=torch.uint8)
    places[..., 2] = 204
    red = torch.tensor([255, 0, 0], dtype=torch.uint8)
    tensors = {
        "coords": coords.to(torch.uint8),
        "rgb": red.repeat(len(coords), 256),
        "surface": places,
        "surface_normals": torch.tensor([0, 0, 127], dtype=torch.int8).repeat(len(coords), 16, 1),
        "surface_rgb": red.repeat(len(coords), 16, 1),
        "surface_counts": torch.full((len(coords),), 16, dtype=torch.uint8),
    }
    save_file(tensors, tmp_path / "floor.safetensors")
    return tmp_path / "floor.safetensors"


def test_voxels_around_one_are_cut_out_with_their_points(floor):
    whole = ObjectSurface.load(floor)
    part = whole.near(0, 9)
    assert part.coords.tolist() == [[x, y, 31] for x in (28, 29, 30) for y in (28, 29, 30)]
    kept = [8 * x + y for x in range(3) for y in range(3)]
    assert torch.equal(part.surface.places, whole.surface.places[kept])
    assert torch.equal(part.rgb, whole.rgb[kept]) and part.surface.counts.shape == (9,)


def test_an_object_prepared_without_its_surface_is_refused(tmp_path):
    save_file({"coords": torch.zeros(1, 3), "rgb": torch.zeros(1, 768)}, tmp_path / "old.safetensors")
    with pytest.raises(ValueError, match="OBJECTS must hold points of surfaces.*old.safetensors.*prepare_objects"):
        ObjectSurface.load(tmp_path / "old.safetensors")


def test_a_decoder_learns_the_floor(floor, monkeypatch):
    """A clock that moves a quarter of a minute with every look gives the steps, not the machine."""
    ticks = iter(range(10**6))
    monkeypatch.setattr("atoken.training.recipes.tiny.surface_steps.time.monotonic", lambda: 15 * next(ticks))
    torch.manual_seed(0)
    decoder = build_decoder(width=32, layers=2, num_gaussians=4)
    averaged, item = copy.deepcopy(decoder).eval(), ObjectSurface.load(floor)

    def drawn():
        with torch.no_grad():
            return decode(averaged, item, item.rgb.float() / 127.5 - 1)

    first = float(surface_loss(drawn(), item.coords, item.surface, 64))
    done, optimizers = [], build_optimizers(decoder, 1e-2)
    curve = learn_surfaces(decoder, averaged, optimizers, [floor], 30, random.Random(0), done.append)
    assert len(done) == 120 and done[-1] == 30
    assert [entry["step"] for entry in curve] == [100, 120] and curve[-1]["minutes"] == 30
    found = drawn()
    assert float(surface_loss(found, item.coords, item.surface, 64)) < first - 1
    # A third of a voxel under the surface, red.
    height = (found.means[:, 2] + 0.5) * 64 - 31
    assert float((height - (0.8 - 0.35 * 16 / 17)).abs().mean()) < 0.1
    color = 0.5 + SH_C0 * found.sh0.mean(0)
    assert (color - torch.tensor([1.0, 0, 0])).abs().max() < 0.1


def test_no_time_is_no_step(floor):
    decoder = build_decoder(width=32, layers=1, num_gaussians=2)
    before = copy.deepcopy(decoder.state_dict())
    optimizers = build_optimizers(decoder, 1e-2)
    assert learn_surfaces(decoder, decoder, optimizers, [floor], 0.0, random.Random(0), print) == []
    assert all(torch.equal(value, before[name]) for name, value in decoder.state_dict().items())
