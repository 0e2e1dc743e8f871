"""The model card says what the record says."""

from atoken.evaluation.metrics.scene_words import chances
from atoken.training.recipes.tiny_text_to_media.card import card_of

IMAGE = {"color": 0.91, "shape": 0.82, "pair": 0.79}
VIDEO = {**IMAGE, "motion": 0.73, "all": 0.61}


def measured(right: dict[str, float]) -> dict:
    return {
        "sampling": {"num_inference_steps": 32, "guidance_scale": 4.0, "guidance_interval": [0.5, 1.0]},
        "choices": [{}, {}, {}],
        "samples": {"count": 480, **right},
        "ceiling": {name: value + 0.01 for name, value in right.items()},
        "scenes": dict.fromkeys(right, 1.0),
        "seen": dict.fromkeys(right, 0.95),
        "share_of_ceiling": dict.fromkeys(right, 0.875),
        "chance": {name: chances("video")[name] for name in right},
        "zero_shot": {"samples": dict.fromkeys(right, 0.5), "ceiling": dict.fromkeys(right, 0.6)},
        "seconds": 1.234,
    }


def test_figures_are_those_of_the_record():
    record = {
        "weights": 2_833_328,
        "data": {"images": 6144, "videos": 2048},
        "command": "python -m something OUT",
        "protocol": "Counted",
        "image_stage": {"steps": 3000, "minutes": 61.7},
        "video_stage": {"steps": 2500, "minutes": 42.2},
        "image": measured(IMAGE),
        "video": measured(VIDEO),
    }
    card = card_of(record)
    for text in (
        "2.8 M parameters",
        "6,144 images, then 2,048 clips",
        "3,000 steps in 62 minutes and 2,500 steps in 42 minutes",
        "| samples | 91.0 | 82.0 | 79.0 |\n",
        "| samples | 91.0 | 82.0 | 79.0 | 73.0 | 61.0 |",
        "| % right | color | shape | pair | motion | all |",
        "| ceiling: true scenes through atoken-tiny | 92.0 | 83.0 | 80.0 | 74.0 | 62.0 |",
        "| chance | 12.5 | 12.5 | 1.6 | 12.5 | 0.2 |",
        "480 of them, with num_inference_steps 32, guidance_scale 4.0, guidance_interval [0.5, 1.0], chosen from 3 on "
        "other captions. 1.23 seconds",
        "Of the ceiling, in %: color 87.5, shape 87.5, pair 87.5.",
    ):
        assert text in card, text
    assert "Grown from images" not in card
    arms = {"grown": {"steps": 500, "loss": 0.5, **VIDEO}, "from_scratch": {"steps": 500, "loss": 0.75, **VIDEO}}
    assert "two trainings of 500 steps each: loss of clips 0.500 / 0.750" in card_of({**record, "arms": arms})
    parts = [
        {"from_step": 500, "minutes": 8.6, "images": 16384, "videos": 9000, "image_share": 0.3, "num_layers": 4},
        {"from_step": 1500, "minutes": 5.2, "images": 16384, "videos": 18000, "image_share": 0.15, "num_layers": 6},
    ]
    record["video_stage"]["going_on"] = parts
    card = card_of(record)
    assert "From step 500 on, for 9 minutes, there were 16,384 images\nand 9,000 clips, 30 % of the steps on" in card
    assert "From step 1,500 on, for 5 minutes, there were 16,384 images\nand 18,000 clips, 15 % of the steps" in card
    assert "and 6 blocks." in card
