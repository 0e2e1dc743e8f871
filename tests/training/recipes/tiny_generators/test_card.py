"""The model card says what the record says."""

import pytest

from atoken.training.recipes.tiny_generators.card import card_of
from atoken.training.recipes.tiny_generators.measures import CHANCE
from atoken.training.recipes.tiny_generators.subjects import SUBJECTS


def right(color: float, shape: float, pair: float, **more: float) -> dict[str, float]:
    return {"color": color, "shape": shape, "pair": pair, **more}


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_figures_are_those_of_the_record(subject):
    record = {
        "weights": 4_200_000,
        "steps": 12345,
        "minutes": 61.7,
        "batch_size": 32,
        "epochs": 23.4,
        "data": "16,384 scenes",
        "command": "python -m something OUT",
        "protocol": "Counted",
        "sampling": {"num_inference_steps": 32, "guidance_scale": 1.65},
        "choices": [{"count": 256}, {"count": 256}],
        "samples": right(0.91, 0.82, 0.79, fid=1.234, count=1000),
        "ceiling": right(0.99, 0.95, 0.94, fid=0.5),
        "scenes": right(1.0, 0.99, 0.99, fid=0.25),
        "share_of_ceiling": right(0.919, 0.863, 0.84),
        "chance": CHANCE,
        "zero_shot": {"samples": right(0.5, 0.4, 0.3), "ceiling": right(0.6, 0.45, 0.35)},
        "neighbors": {"samples": 20.0, "samples_least": 11.0, "new_scenes": 21.0, "new_scenes_least": 12.0},
    }
    card = card_of(subject, record)
    for text in (
        "12,345 steps of 32 scenes in 62 minutes",
        "num_inference_steps=32, guidance_scale=1.65",
        f"| samples of {subject.name} | 91.0 | 82.0 | 79.0 | 1.23 |",
        f"| ceiling: true scenes through {subject.tokenizer} | 99.0 | 95.0 | 94.0 | 0.50 |",
        "| chance | 12.5 | 12.5 | 1.6 |  |",
        "color 91.9, shape 86.3, pair 84.0",
        "samples 50.0 / 40.0; ceiling 60.0 / 45.0",
        "a sample is 20.0 gray levels from the nearest scene of training, a new scene through the tokenizer\n21.0;",
        "the least distances are 11.0 and 12.0",
    ):
        assert text in card, text
