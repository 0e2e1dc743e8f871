"""A stage with words beside its tasks, as a user runs it: what is trained, and that it goes on where it was."""

import json

from safetensors.torch import load_file

from atoken.training.recipes.tiny.curriculum import HERE
from atoken.training.recipes.tiny.words_training import main
from atoken.training.tokenizer.curriculum import Stage

from ...stage_samples import make_start, write_data, write_stage
from .word_samples import write_targets


def test_words_are_trained_in_every_step_and_a_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    start, words = make_start(tmp_path / "start"), write_targets(tmp_path / "targets")
    files = {"data": write_data(tmp_path), "words": words, "init_from": str(start)}
    stage = write_stage(tmp_path / "stage.yaml", ratios={"image_reconstruction": 1})
    options = {"teacher": str(start), "batch": 2, "save_every": 1, **files}
    main(stage, output=tmp_path / "whole", steps=2, **options)
    lines = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
    tasks = {name.partition("/")[0] for name in lines[-1] if name.endswith("/loss")}
    assert tasks == {"image_understanding", "image_reconstruction", "photo_words"}
    assert {"photo_words/words", "photo_words/names", "photo_words/maps"} <= set(lines[-1])
    before, after = (load_file(folder / "model.safetensors") for folder in (start, tmp_path / "whole/model"))
    assert set(after) == set(before)
    changed = {name.partition(".")[0] for name, value in after.items() if not value.equal(before[name])}
    assert {"vision_model", "decoder"} <= changed and "text_model" not in changed
    main(stage, output=tmp_path / "whole", steps=3, **options)
    lines = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 3]


def test_the_experiments_stage_can_be_read():
    stage = Stage.read(HERE / "stages/tiny-words.yaml")
    assert stage.latent_channels == 48 and set(stage.ratios) == {"image_reconstruction"}
