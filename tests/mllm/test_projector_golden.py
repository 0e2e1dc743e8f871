"""The projector against golden numbers: the design in float64, and the training-free SlowFast-LLaVA's code."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from atoken.mllm import AtokenLlavaMultiModalProjector
from atoken.mllm.sizes_llava_atoken import fitted_size

GOLDEN = Path(__file__).parents[1] / "golden"
TENSORS = load_file(GOLDEN / "slowfast.tensors.safetensors")
CONFIG = json.loads((GOLDEN / "slowfast.config.json").read_text())


def defined(**options) -> AtokenLlavaMultiModalProjector:
    sizes = CONFIG["define"]
    projector = AtokenLlavaMultiModalProjector(
        sizes["vision_dim"],
        sizes["text_dim"],
        **{
            "slow_frames": sizes["slow_frames"],
            "slow_stride": sizes["slow_stride"],
            "fast_grid": tuple(sizes["fast_grid"]),
            **options,
        },
    )
    weights = {name.removeprefix("define.projector."): TENSORS[name] for name in TENSORS if "define.projector" in name}
    weights |= {name: TENSORS[f"define.{name}"] for name in ("image_newline", "slow_fast_separator")}
    projector.load_state_dict(weights)
    return projector


@torch.no_grad()
@pytest.mark.parametrize(
    "kind,name,options",
    [
        ("image", "image.tokens", {}),
        ("image", "image.tokens_stride2", {"image_pool_stride": 2}),
        ("video", "video.tokens", {}),
        ("video", "video.tokens_pooled_after_projector", {"pool_after_projector": True}),
    ],
)
def test_tokens_are_those_of_the_design(kind, name, options):
    features = TENSORS["define.features"]
    projector = defined(**options)
    tokens = projector.image_tokens(features[0]) if kind == "image" else projector.video_tokens(features)
    torch.testing.assert_close(tokens, TENSORS[f"define.{name}"], atol=1e-5, rtol=0)


@torch.no_grad()
def test_media_together_are_media_alone_and_pooled_features_give_the_same_tokens():
    features, projector = TENSORS["define.features"], defined()
    images, videos = projector([features[0], features[1]], [features])
    for made, alone in zip(images, (features[0], features[1]), strict=True):
        torch.testing.assert_close(made, projector.image_tokens(alone), atol=1e-6, rtol=0)
    torch.testing.assert_close(videos[0], projector.video_tokens(features), atol=1e-6, rtol=0)
    pooled = projector.pooled_tokens([projector.pool_image(features[0])], [projector.pool_video(features)])
    torch.testing.assert_close(pooled[0][0], images[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(pooled[1][0], videos[0], atol=1e-6, rtol=0)


def test_pooling_is_that_of_the_training_free_predecessor():
    sizes = CONFIG["grouped"]
    side, dim = sizes["side"], sizes["dim"]
    projector = AtokenLlavaMultiModalProjector(
        dim, dim, slow_frames=sizes["slow_frames"], fast_grid=tuple(sizes["fast"])
    )
    features = TENSORS["grouped.features"].unflatten(1, (side, side))
    slow, fast = projector.pool_video(features)
    torch.testing.assert_close(
        torch.cat([slow.flatten(0, 2), fast.flatten(0, 2)]),
        TENSORS["grouped.spatial_2d_avg_pool.tokens"],
        atol=1e-6,
        rtol=0,
    )


def test_sizes_are_those_of_oryx():
    for kind, rule in CONFIG["sizes"].items():
        given = TENSORS["sizes.input"].tolist()
        made = [fitted_size(*size, rule["unit"], rule["low"] ** 2, rule["cap"] ** 2) for size in given]
        assert [list(size) for size in made] == TENSORS[f"sizes.{kind}"].tolist()


def test_exact_squares_reach_the_cap_and_long_media_keep_a_side():
    assert {fitted_size(side, side, 32, 0, 1536**2) for side in range(1537, 6001)} == {(1536, 1536)}
    assert fitted_size(33, 900, 32, 288**2, 480**2)[0] >= 32
    assert fitted_size(1, 100_000, 32, 0, 1536**2)[0] == 32
