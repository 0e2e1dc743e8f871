"""Another text tower in a model: everything else stays, and the new one is the tower that was given."""

import torch

from atoken import AtokenModel
from atoken.training.recipes.tiny.words_start import with_text_model
from atoken.training.recipes.tiny.words_text import build_word_model

from ...stage_samples import WIDTH, make_start


def test_only_the_text_tower_changes(tmp_path):
    before = AtokenModel.from_pretrained(make_start(tmp_path / "start"))
    tower = build_word_model(70, WIDTH)
    with_text_model(before, tower).save_pretrained(tmp_path / "out")
    after = AtokenModel.from_pretrained(tmp_path / "out").state_dict()
    kept = {name: value for name, value in before.state_dict().items() if not name.startswith("text_model.")}
    assert all(torch.equal(value, after[name]) for name, value in kept.items())
    assert all(torch.equal(value, after[f"text_model.{name}"]) for name, value in tower.state_dict().items())
    assert len(after) == len(kept) + len(tower.state_dict())
