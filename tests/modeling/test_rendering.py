"""Pictures of Gaussians: closed forms, gsplat's own projection with untiled blending, gradients, bad input."""

import math
from types import SimpleNamespace

import pytest
import torch

from atoken import Gaussians, render
from atoken.gaussians_atoken import SH_C0
from atoken.processing import Cameras
from atoken.processing.cameras_atoken import hammersley_cameras, look_at

FIELDS = ("means", "quats", "scales", "opacities", "sh0")
FRONT = look_at(torch.tensor([[0.0, -2.0, 0.0]], dtype=torch.float64), fov_degrees=40.0)


def random_scene(seed: int, count: int, dtype: torch.dtype = torch.float64) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)
    means, quats, colors = (torch.randn(count, width, generator=generator) for width in (3, 4, 3))
    scales = 0.03 * torch.exp(0.7 * torch.randn(count, 3, generator=generator))
    opacities = torch.rand(count, generator=generator)
    return Gaussians(0.25 * means, quats, scales, opacities, colors).to(dtype=dtype)


def one(position=(0.0, 0.0, 0.0), color=(1.0, 1.0, 1.0), opacity=0.8, scale=0.05) -> Gaussians:
    options = {"dtype": torch.float64}
    return Gaussians(
        torch.tensor([position], **options),
        torch.tensor([[1.0, 0.0, 0.0, 0.0]], **options),
        torch.full((1, 3), scale, **options),
        torch.tensor([opacity], **options),
        (torch.tensor([color], **options) - 0.5) / SH_C0,
    )


def untiled(gaussians: Gaussians, cameras: Cameras, height: int, width: int, background: torch.Tensor) -> torch.Tensor:
    """Every Gaussian at every pixel, one after another, over gsplat's torch projection."""
    projection = pytest.importorskip("gsplat.cuda._torch_impl", reason="gsplat is the independent projection")
    covariances, _ = projection._quat_scale_to_covar_preci(gaussians.quats, gaussians.scales, compute_preci=False)
    intrinsics = cameras.intrinsics * torch.tensor([width, height, 1.0], dtype=gaussians.dtype)[:, None]
    _, centers, depths, conics, compensations = projection._fully_fused_projection(
        gaussians.means,
        covariances,
        cameras.world_to_camera,
        intrinsics,
        width,
        height,
        eps2d=0.1,
        near_plane=0.1,
        calc_compensations=True,
    )
    rows, columns = (torch.arange(side, dtype=gaussians.dtype) + 0.5 for side in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    pictures = []
    for view in range(len(cameras)):
        color = torch.zeros(3, height, width, dtype=gaussians.dtype)
        light, done = torch.ones(height, width, dtype=gaussians.dtype), torch.zeros(height, width, dtype=torch.bool)
        for index in depths[view].argsort():
            if depths[view, index] <= 0.1:
                continue
            a, b, c = conics[view, index]
            dx, dy = x - centers[view, index, 0], y - centers[view, index, 1]
            sigma = (a * dx * dx + c * dy * dy) / 2 + b * dx * dy
            alpha = gaussians.opacities[index] * compensations[view, index] * torch.exp(-sigma)
            alpha = alpha.clamp(max=0.999) * (alpha >= 1 / 255)
            done = done | (light * (1 - alpha) <= 1e-4)
            alpha = torch.where(done, 0, alpha)
            color = color + (0.5 + SH_C0 * gaussians.sh0[index]).clamp(min=0)[:, None, None] * alpha * light
            light = light * (1 - alpha)
        pictures.append(color + light * background[:, None, None])
    return torch.stack(pictures)


@pytest.mark.parametrize("seed", range(20))
def test_the_picture_is_that_of_untiled_blending_over_gsplats_projection(seed):
    gaussians = random_scene(seed, count=10 + 12 * seed)
    cameras = hammersley_cameras(1, radius=1.2 + 0.05 * seed, offset=(0.31 * seed, 0.17 * seed)).to(torch.float64)
    background = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    picture = render(gaussians, cameras, (36, 44), background)
    torch.testing.assert_close(picture, untiled(gaussians, cameras, 36, 44, background), atol=1e-9, rtol=0)
    in_fp32 = render(gaussians.to(dtype=torch.float32), cameras, (36, 44), background)
    assert in_fp32.dtype == torch.float32
    # 45 dB, the least that any two renderers must agree to.
    assert -10 * torch.log10((in_fp32 - picture).square().mean()) > 45


def test_gradients_are_those_of_untiled_blending():
    # More Gaussians than one round of a tile holds, some of them opaque enough to end pixels early.
    plain = random_scene(3, count=260)
    plain = Gaussians(plain.means, plain.quats, plain.scales, plain.opacities.sqrt(), plain.sh0)
    cameras = hammersley_cameras(2, offset=(0.4, 0.3)).to(torch.float64)
    fill = torch.tensor([0.3, 0.6, 0.1], dtype=torch.float64)
    weight = torch.randn(2, 3, 20, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradients = []
    for draw in (lambda g, b: render(g, cameras, (20, 28), b), lambda g, b: untiled(g, cameras, 20, 28, b)):
        leaves = [getattr(plain, name).clone().requires_grad_() for name in FIELDS]
        background = fill.clone().requires_grad_()
        (draw(Gaussians(*leaves), background) * weight).sum().backward()
        gradients.append([leaf.grad for leaf in (*leaves, background)])
    for name, ours, theirs in zip((*FIELDS, "background"), *gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-7, msg=lambda text, name=name: f"{name}: {text}")


def test_gradcheck():
    # Large Gaussians: no pixel is at the edge of what counts, where the picture jumps.
    gaussians = random_scene(0, count=4)
    leaves = [gaussians.means, gaussians.quats, 0.2 + gaussians.scales, 0.2 + 0.5 * gaussians.opacities]
    leaves = [leaf.clone().requires_grad_() for leaf in (*leaves, 0.5 * gaussians.sh0)]
    cameras = hammersley_cameras(1, offset=(0.5, 0.1)).to(torch.float64)
    assert torch.autograd.gradcheck(lambda *fields: render(Gaussians(*fields), cameras, (9, 11)), leaves)


def test_profile_of_one_isotropic_gaussian():
    size, scale, opacity, depth = 65, 0.05, 0.8, 2.0
    focal = size / (2 * math.tan(math.radians(20)))  # pixels
    sharp = (scale * focal / depth) ** 2
    row = render(one(opacity=opacity, scale=scale), FRONT, size)[0, 0, 32]
    distance = torch.arange(65, dtype=torch.float64) - 32
    expected = opacity * sharp / (sharp + 0.1) * torch.exp(-(distance**2) / (2 * (sharp + 0.1)))
    expected = torch.where(expected >= 1 / 255, expected, 0)
    torch.testing.assert_close(row, expected, atol=1e-12, rtol=0)


def test_where_things_appear():
    # z is up and, seen from the front, x points right.
    for position, place in (
        ((0.3, 0, 0), (slice(12, 21), slice(16, 33))),
        ((0, 0, 0.3), (slice(0, 16), slice(12, 21))),
    ):
        picture = render(one(position, scale=0.02), FRONT, 33)[0, 0]
        assert picture[place].sum() > 0.99 * picture.sum() > 0


def test_the_nearer_one_hides_the_farther_one():
    red, blue = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
    near, far = one((0, -0.2, 0), red, opacity=0.7, scale=0.3), one((0, 0.2, 0), blue, opacity=1.0, scale=0.3)
    for parts in ((near, far), (far, near)):
        pixel = render(Gaussians.concatenate(parts), FRONT, 33, (0.0, 1.0, 0.0))[0, :, 16, 16]
        red_alpha, blue_alpha = (
            render(part, FRONT, 33, (0.0, 1.0, 0.0))[0, channel, 16, 16] for part, channel in ((near, 0), (far, 2))
        )
        expected = torch.stack([red_alpha, (1 - red_alpha) * (1 - blue_alpha), (1 - red_alpha) * blue_alpha])
        torch.testing.assert_close(pixel, expected)


@pytest.mark.parametrize(
    ("position", "options"),
    [((0, -2.5, 0), {}), ((0, -1.95, 0), {}), ((0, 0, 0), {"near": 2.1}), ((0, 0, 0), {"far": 1.9}), ((5, 0, 0), {})],
    ids=["behind", "too near", "before near", "beyond far", "beside the image"],
)
def test_what_cannot_be_seen_leaves_the_background(position, options):
    picture = render(one(position), FRONT, 16, (0.1, 0.2, 0.3), **options)
    expected = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)[None, :, None, None].expand(1, 3, 16, 16)
    torch.testing.assert_close(picture, expected)


def test_no_gaussians_are_the_background():
    picture = render(one()[:0], FRONT, 10, (1.0, 0.0, 0.5))
    assert torch.equal(picture[0, :, 3, 4], torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64))


def test_colors_below_black_are_black_and_transparent_ones_have_no_effect():
    assert not render(one(color=(-1.0, -1.0, -1.0)), FRONT, 16).any()
    assert not render(one(opacity=0.0), FRONT, 16).any()


def test_supersampling_averages_a_larger_picture():
    gaussians, cameras = random_scene(7, 80), hammersley_cameras(2).to(torch.float64)
    large = render(gaussians, cameras, (24, 32))
    mean = large.unflatten(2, (12, 2)).unflatten(4, (16, 2)).mean(dim=(3, 5))
    torch.testing.assert_close(render(gaussians, cameras, (12, 16), supersampling=2), mean)


def test_views_are_independent_and_wide_images_use_both_sides():
    gaussians, cameras = random_scene(5, 60), hammersley_cameras(3).to(torch.float64)
    together = render(gaussians, cameras, 20)
    torch.testing.assert_close(together, torch.cat([render(gaussians, camera, 20) for camera in cameras]))
    # Twice as wide at the same normalized focal length: the picture is stretched.
    wide = render(one(scale=0.2), FRONT, (32, 64))[0, 0]
    assert wide.shape == (32, 64) and torch.equal(wide, wide.flip(1)) and torch.equal(wide, wide.flip(0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="gsplat's kernels need a GPU")
@pytest.mark.parametrize("seed", range(20))
def test_both_backends_agree_on_a_gpu(seed):
    gaussians = random_scene(seed, 2000, torch.float32).to("cuda")
    cameras = hammersley_cameras(2, offset=(0.1 * seed, 0.3 * seed)).to("cuda")
    pictures = [render(gaussians, cameras, 128, backend=backend) for backend in ("gsplat", "torch")]
    assert -10 * torch.log10((pictures[0] - pictures[1]).square().mean()) > 45


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("gaussians", {"gaussians": torch.zeros(3)}),
        ("gaussians", {"gaussians": one().to(dtype=torch.bfloat16)}),
        ("cameras.world_to_camera", {"cameras": torch.eye(4)[None]}),
        ("cameras.intrinsics", {"cameras": SimpleNamespace(world_to_camera=torch.eye(4)[None], intrinsics=None)}),
        ("cameras.world_to_camera", {"cameras": SimpleNamespace(world_to_camera=torch.eye(4)[None] / 0)}),
        ("cameras", {"cameras": SimpleNamespace(world_to_camera=torch.eye(4)[None], intrinsics=torch.ones(2, 3, 3))}),
        ("size", {"size": 0}),
        ("size", {"size": (4, 5, 6)}),
        ("size", {"size": 12.5}),
        ("background", {"background": (0.0, 1.0)}),
        ("background", {"background": "white"}),
        ("background", {"background": (0.0, math.nan, 1.0)}),
        ("supersampling", {"supersampling": 0}),
        ("near", {"near": 0.0}),
        ("near", {"near": 2.0, "far": 1.0}),
        ("backend", {"backend": "opengl"}),
        ("backend", {"backend": "gsplat"}),
    ],
)
def test_bad_input(name, change):
    with pytest.raises(ValueError, match=f"^{name} "):
        render(**{"gaussians": one(), "cameras": FRONT, "size": 8, **change})
