"""The demo's questions and answers, of a tiny random model under the name of the embedded one."""

from types import SimpleNamespace

import pytest

from atoken.miniature.questions import OPEN_QUESTIONS, MiniatureQuestions
from atoken.processing.media_reading_atoken import open_image, read_video
from atoken_app import demo_answers, demo_command
from atoken_app.demo_answers import show_answers

from ..cli_samples import names, run, save_model, save_photo
from ..mllm.parts import parts

NAME = "atoken-tiny-llava"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A source tree with a tokenizer, media and the answering model."""
    checkpoints = tmp_path / "checkpoints"
    save_model(checkpoints / "atoken-tiny")
    save_model(checkpoints / "atoken-tiny-d", discrete=True)
    for part in parts():
        part.save_pretrained(checkpoints / NAME)
    save_photo(tmp_path / "media/a.png")
    monkeypatch.setattr("atoken_headers.model_folders.CHECKPOINTS", checkpoints)
    monkeypatch.setattr(demo_command, "EXAMPLE_MEDIA", tmp_path / "media")
    monkeypatch.setattr(demo_answers, "PICTURES", 2)
    monkeypatch.setattr(demo_answers, "CLIPS", 1)
    monkeypatch.setattr(demo_answers, "LONGEST_ANSWER", 2)
    return tmp_path


def test_questions_stand_beside_their_scenes(tree):
    run("demo", "-o", tree / "demo")
    page = (tree / "demo/index.html").read_text(encoding="utf-8")
    assert f"Questions answered by {NAME}" in page and "0 of 15 right" in page
    for text in OPEN_QUESTIONS.values():
        assert text in page
    for kind, count in (("image", 2), ("video", 1)):
        scenes = MiniatureQuestions(kind, "held_out", count, size=64, frames=8, kinds=("open",))
        for index in range(count):
            base = tree / f"demo/{NAME}.{kind}-{index}"
            drawn = scenes[index]["media"][0]
            still = open_image(base.with_name(f"{base.name}.png"))
            assert (still == (drawn if kind == "image" else drawn[0])).all()
    frames, _ = read_video(tree / f"demo/{NAME}.video-0.mp4")
    assert frames.shape == (8, 64, 64, 3)


def test_right_answers_are_marked_and_wrong_ones_corrected(tree, monkeypatch):
    scene = MiniatureQuestions("image", "held_out", 2, kinds=("open",))[0]["question"].scenes[0]

    def knows_one_color(loaded, media, question, max_new_tokens):
        return SimpleNamespace(text=f" {scene.colour.upper()}" if "color" in question else "nothing")

    monkeypatch.setattr(demo_answers, "answer", knows_one_color)
    row = show_answers(NAME, tree, "cpu")
    facts = dict(row.pictures[0].facts)
    assert facts[OPEN_QUESTIONS["colour"]] == f"✓  {scene.colour.upper()}"
    assert facts[OPEN_QUESTIONS["shape"]] == f"✗ nothing ({scene.shape})"
    marked = sum(fact[1].startswith("✓") for picture in row.pictures for fact in picture.facts)
    assert row.size.startswith(f"{marked} of 15 right")


def test_other_demos_and_trees_without_the_model_show_none(tree):
    run("demo", "-o", tree / "own", "--model", "atoken-tiny")
    (tree / f"checkpoints/{NAME}/config.json").unlink()
    run("demo", "-o", tree / "without")
    assert not [name for folder in ("own", "without") for name in names(tree / folder) if NAME in name]
