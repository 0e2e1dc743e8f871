"""Gaussians of any world are put where cameras see all of them."""

import pytest
import torch

from atoken import Gaussians
from atoken.processing.cameras_atoken import Cameras, hammersley_cameras, turntable_cameras
from atoken.tokenizing.pictures import Look, framed, iter_pictures


def ball(count: int = 400, radius: float = 0.5, width: float = 0.02) -> Gaussians:
    """Gaussians of a plain color, evenly on a ball around 0."""
    generator = torch.Generator().manual_seed(0)
    means = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1) * radius
    quats = torch.tensor([[1.0, 0, 0, 0]]).expand(count, -1)
    scales, opacities = torch.full((count, 3), width * radius / 0.5), torch.full((count,), 0.9)
    return Gaussians(means, quats, scales, opacities, torch.ones(count, 3))


def seen(gaussians: Gaussians, cameras: Cameras | None = None, size: int = 48) -> tuple[float, float]:
    """The shares of pixels, and of pixels at the edge, that are not black, over some views."""
    shares = []
    for picture in iter_pictures(gaussians, cameras or hammersley_cameras(4), Look(size)):
        lit = picture.max(axis=2) > 8
        shares.append([lit.mean(), max(lit[0].mean(), lit[-1].mean(), lit[:, 0].mean(), lit[:, -1].mean())])
    return tuple(torch.tensor(shares).double().mean(0).tolist())


def test_decoded_objects_stay_as_they_are():
    for gaussians in (ball(), ball(radius=0.505), ball(radius=0.2)):
        assert framed(gaussians) is gaussians


WORLDS = {
    "small": (1e-3, (0, 0, 0)),
    "large": (300.0, (0, 0, 0)),
    "far": (1.0, (40, -25, 90)),
    "small and far": (0.1, (1000, 0, 0)),
    "large and far": (1e6, (1e7, 1e7, -1e7)),
    "beside the cube": (1.0, (0.3, 0, 0)),
}


@pytest.mark.parametrize("world", WORLDS)
def test_the_same_object_gives_the_same_pictures_in_every_world(world):
    scale, move = WORLDS[world]
    there = ball().to(dtype=torch.float64).transform(translation=move, scale=scale).to(dtype=torch.float32)
    covered, at_edge = seen(framed(there))
    # A ball of radius 0.56, three standard deviations included, in a view of 40 degrees from a distance of 2.
    assert covered == pytest.approx(seen(framed(ball(radius=5)))[0], abs=0.02) and covered > 0.3 and at_edge == 0
    assert seen(framed(there), turntable_cameras(3))[1] == 0


def test_strays_do_not_make_the_object_a_dot_and_thin_parts_are_not_cut_off():
    large = ball(radius=20)
    stray = ball(8, radius=3000)
    wide = ball(3, radius=5, width=500)
    alone = framed(large)
    for extra in (stray, wide):
        several = framed(Gaussians.concatenate([large, extra]))
        torch.testing.assert_close(several.means[: len(large)], alone.means, atol=1e-5, rtol=0)
    # An antenna of 1% of the Gaussians reaches over twice the radius.
    antenna = ball(4, radius=1, width=0.1)
    antenna = Gaussians(torch.tensor([[0.0, 0, 25], [0, 0, 30], [0, 0, 35], [0, 0, 40]]), *vars_of(antenna))
    means = framed(Gaussians.concatenate([large, antenna])).means
    assert (means.norm(dim=1) < 0.684).all() and means[-1].norm() > 0.5


def vars_of(gaussians: Gaussians) -> tuple[torch.Tensor, ...]:
    return gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh0


@pytest.mark.parametrize(
    ("up", "expected"), [("z", (0.1, 0.2, 0.4)), ("y", (0.1, -0.4, 0.2)), ("-y", (0.1, 0.4, -0.2))]
)
def test_up(up, expected):
    """A point that lies upwards in its world lies upwards in ours, and hands stay hands: no turn mirrors."""
    whole = ball()
    marked = Gaussians.concatenate([Gaussians(torch.tensor([[0.1, 0.2, 0.4]]), *vars_of(whole[:1])), whole])
    turned = framed(marked, up)
    torch.testing.assert_close(turned.means[0], torch.tensor(expected), atol=1e-6, rtol=0)
    triple = [torch.linalg.det(each.means[1:4]) for each in (marked, turned)]
    torch.testing.assert_close(*triple)
    with pytest.raises(ValueError, match="up must be one of z, y, -y, got 'x'"):
        framed(whole, "x")


def test_one_gaussian_and_several_in_one_place():
    for count in (1, 5):
        place = Gaussians(torch.full((count, 3), 7.0), *vars_of(ball(count, width=0.5)))
        covered, at_edge = seen(framed(place))
        assert covered > 0.1 and at_edge == 0
    flat = Gaussians(torch.full((2, 3), 7.0), *vars_of(ball(2, width=0.0)))
    assert framed(flat).means.abs().max() < 1e-6
