"""The multimodal model in the source tree: small, recorded, and as good as its record and the pages say."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from atoken.mllm import AtokenLlavaForConditionalGeneration
from atoken.training.recipes.tiny_mllm.card import card_of, measures_table, misses_of, probes_table, settings_table
from atoken.training.recipes.tiny_mllm.held_out import MEASURES
from atoken.training.recipes.tiny_mllm.measuring import ask_all, share_right
from atoken.training.recipes.tiny_mllm.release import NAME, RECORD
from atoken.training.recipes.tiny_mllm.training import PARTS

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "checkpoints" / NAME
LARGEST = 15e6  # bytes of all files
QUESTIONS = 32


@pytest.fixture(scope="module")
def record() -> dict:
    return json.loads((FOLDER / RECORD).read_text())


@pytest.fixture(scope="module")
def parts():
    model = AutoModelForImageTextToText.from_pretrained(FOLDER, dtype=torch.float32).eval()
    assert type(model) is AtokenLlavaForConditionalGeneration
    return model, AutoProcessor.from_pretrained(FOLDER)


def test_files_are_small_and_the_encoder_is_that_of_atoken_tiny():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= LARGEST
    weights = load_file(FOLDER / "model.safetensors")
    assert all(value.dtype == torch.bfloat16 for value in weights.values())
    before = load_file(ROOT / "checkpoints/atoken-tiny/model.safetensors")
    tower = {name.removeprefix("vision_model."): each for name, each in before.items() if "vision_model." in name}
    assert tower
    for name, value in tower.items():
        assert torch.equal(weights[f"model.vision_tower.{name}"], value), name


def test_the_record_is_whole_and_the_card_says_the_same(record):
    assert {"command", "protocol", "stages", "measures", "probes", "settings", "untrained_tower"} <= record.keys()
    assert [*record["stages"]] == [part.name for part in PARTS]
    assert sum(stage["minutes"] for stage in record["stages"].values()) <= 120
    assert [each["name"] for each in record["measures"]] == [measure.name for measure in MEASURES]
    assert all(each["count"] == 512 for each in record["measures"])
    assert (FOLDER / "README.md").read_text() == card_of(record)


def test_the_page_shows_what_the_record_says(record):
    page = (ROOT / "docs/mllm.md").read_text()
    for part in (measures_table(record), probes_table(record), settings_table(record)):
        assert part in page
    assert " ".join(misses_of(record).split()) in " ".join(page.split())


@pytest.mark.parametrize("name", ["image, color", "image, position", "video, motion", "image, yes or no"])
def test_answers_are_as_often_right_as_recorded(name, parts, record):
    measure = next(each for each in MEASURES if each.name == name)
    expected = next(each["right"] for each in record["measures"] if each["name"] == name)
    found = share_right(ask_all(*parts, measure, QUESTIONS, seed=3))
    # Three standard deviations of a share of so few questions, and a little.
    assert found >= expected - 3 * (expected * (1 - expected) / QUESTIONS) ** 0.5 - 0.03


def test_a_few_held_out_questions_are_answered_right(parts):
    for measure in (MEASURES[0], MEASURES[2], MEASURES[3]):
        answered = ask_all(*parts, measure, 2)
        assert [each.text for each in answered] == [each.question.answer for each in answered]
