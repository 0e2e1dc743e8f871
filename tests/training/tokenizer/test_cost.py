"""The cost of a schedule."""

import pytest

from atoken import AtokenConfig, AtokenModel
from atoken.training.tokenizer.cost import per_step
from atoken.training.tokenizer.curriculum import Stage

from ..stage_samples import STAGE


def test_cost_counts_the_tokens_of_a_schedule():
    stage = Stage(
        **{
            **{name: value for name, value in STAGE.items() if name != "optimizer"},
            "ratios": {"image_reconstruction": 1, "video_reconstruction": 1},
            "image_resolution": (64, 64),
            "frames": (8,),
            "batch_sizes": {"image_understanding": 4, "image_reconstruction": 6, "video_reconstruction": 2},
        }
    )
    model = AtokenModel(AtokenConfig.from_preset("tiny"))
    # Each of two processes: 2 pictures of 4 tokens; 3 of 16, or 1 clip of 2 x 4, in turns.
    found = per_step(stage, model, processes=2)
    assert found["tokens"] == pytest.approx(2 * 4 + 0.5 * 48 + 0.5 * 8)
    block = sum(parameter.numel() for parameter in model.vision_model.blocks.parameters())
    assert found["flops"] > 6 * block * found["tokens"]
