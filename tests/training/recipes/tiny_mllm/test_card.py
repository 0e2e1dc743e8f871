"""The card of the tiny multimodal model says what its record says."""

from dataclasses import asdict

from atoken.training.recipes.tiny_mllm.card import GOALS, card_of, measures_table, misses_of, settings_table
from atoken.training.recipes.tiny_mllm.contact_sheet import draw_answers
from atoken.training.recipes.tiny_mllm.conversations import ATTRIBUTES
from atoken.training.recipes.tiny_mllm.curves import plot
from atoken.training.recipes.tiny_mllm.held_out import MEASURES


def record() -> dict:
    measures = [asdict(each) | {"count": 8, "right": 0.97, "blind": 0.5, "chance": 0.5} for each in MEASURES]
    curve = [
        {"step": step, "minutes": 2.0 * step, **{each.name: step / 4 for each in MEASURES if each.medium == "image"}}
        for step in (1, 2)
    ]
    stages = {"images": {"steps": 2, "minutes": 4.0, "batch": 32, "learning_rate": 1e-3, "curve": curve}}
    right = {each.name: 0.25 for each in MEASURES if each.medium == "video"}
    return {
        "command": "python run.py",
        "tower": "atoken-tiny",
        "weights": 4_200_000,
        "conversations": {"images": {"pictures": 64}},
        "stages": stages,
        "machine": "a machine",
        "protocol": "As they come",
        "measures": measures,
        "probes": {medium: dict.fromkeys(names, 0.9) for medium, names in ATTRIBUTES.items()},
        "settings": [{"name": "frames", "tokens": 97, "seconds": 0.05, "steps": 80, "count": 8, "right": right}],
        "untrained_tower": {"stages": stages, "measures": measures},
    }


def test_goals_that_were_missed_are_named():
    whole = record()
    assert misses_of(whole) == "All goals were met."
    found = {each["name"]: each for each in whole["measures"]}
    found["video, motion"]["right"], found["image, shape"]["right"] = 0.9, 0.8
    found["two pictures"]["blind"] = 0.6
    said = misses_of(whole)
    assert "video, motion (90.0 of 95.0); image, shape (80.0 of 85.0, the probe less 5)." in said
    assert said.endswith("The blind model is further than 5 points from chance in: two pictures (60.0 and 50.0).")
    assert set(GOALS) <= set(found)


def test_the_card_has_the_figures():
    whole = record()
    card = card_of(whole)
    assert "4.2 M parameters" in card and "2 steps of 32 conversations in 4 minutes of images" in card
    assert measures_table(whole) in card and "| order in time | 97.0 | 50.0 | 50.0 | 97.0 |" in card
    assert "| frames | 97 | 0.050 | 25.0 |" in settings_table(whole)
    assert "Pieces." in card_of(whole | {"how_it_differed": "Pieces."}) and "Pieces." not in card


def test_pictures_are_written(parts, tmp_path):
    plot(record(), tmp_path / "curves.png")
    draw_answers(*parts, tmp_path / "answers.png", columns=1)
    for name in ("curves.png", "answers.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
