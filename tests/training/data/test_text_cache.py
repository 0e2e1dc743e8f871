"""Embeddings of captions kept on disk: those of the text tower itself, and none of another."""

import pytest
import torch
import yaml

from atoken.training.data import embed_captions
from atoken.training.data.embed_captions import CaptionEmbeddings, main
from atoken.training.data.limits import Limits
from atoken.training.data.tasks import open_tasks
from atoken.training.data.text_cache import TextCache, caption_key, fingerprint
from atoken.training.starts import load_start

from ..stage_samples import WIDTH, make_start
from ..tokenizer.siglip2_samples import write_siglip2
from .picture_sources import write_pictures


@pytest.fixture(scope="module", params=["AToken", "SigLIP 2"])
def start(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    return make_start(folder) if request.param == "AToken" else write_siglip2(folder, WIDTH)


@pytest.fixture(scope="module")
def loaded(start):
    """What the trainer starts from."""
    return load_start(str(start))


def test_batches_have_what_the_tower_makes_of_their_captions(start, loaded, tmp_path, monkeypatch):
    model, processor = loaded
    (tmp_path / "shards").mkdir()
    data = {"image_understanding": [write_pictures("webdataset", tmp_path / "shards")]}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(data))
    monkeypatch.setattr(embed_captions, "BATCH", 5)
    for shard in ("0/2", "1/2"):
        main(tmp_path / "cache", tmp_path / "data.yaml", str(start), "cpu", shard)
    parts = sorted(path.name for path in (tmp_path / "cache").glob("part-*"))
    assert parts == [f"part-image_understanding-0-{index}-of-2.safetensors" for index in range(2)]
    cache = TextCache(tmp_path / "cache", fingerprint(model.text_model))
    length = model.config.text_config.max_position_embeddings

    def batch(**options):
        sizes = {"image_understanding": 6}
        opened = open_tasks(list(data), data, sizes, Limits(), processor.tokenizer, length, 0, 0, 1, 0, **options)
        return next(opened["image_understanding"])

    plain, cached = batch(), batch(text_cache=cache)
    assert plain.text_embeds is None and cached.input_ids is None
    with torch.no_grad():
        expected = model.text_model(input_ids=plain.input_ids).pooler_output
    assert cached.text_embeds.dtype == torch.bfloat16
    torch.testing.assert_close(cached.text_embeds.float(), expected, rtol=2**-8, atol=1e-6)


def embeddings(captions):
    return torch.tensor([[float(len(caption)), 1.0] for caption in captions])


def test_a_batch_with_one_unknown_caption_is_left_to_the_tower(tmp_path):
    writer = CaptionEmbeddings(tmp_path, "tower", embeddings)
    writer.write("a", ["one", "three", "one", "One!"])
    writer.write("b", ["fifteen"])
    writer.write("empty", [])
    cache = TextCache(tmp_path, "tower")
    assert cache.find(["fifteen", "ONE", "three"]).tolist() == [[7, 1], [3, 1], [5, 1]]
    assert cache.find(["one", "two"]) is None
    # Captions that the tower reads alike are kept once.
    assert caption_key("One!") == caption_key("one") != caption_key("two")


def test_a_part_that_is_there_is_left_as_it_is(tmp_path):
    writer = CaptionEmbeddings(tmp_path, "tower", embeddings)
    writer.write("a", ["one"])
    writer.write("a", (pytest.fail(caption) for caption in ["one"]))
    with pytest.raises(RuntimeError, match="stopped"):
        writer.write("b", _stopped())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part-a.safetensors", "tower.json"]


def _stopped():
    yield "one"
    raise RuntimeError("stopped")


def test_embeddings_of_another_tower_are_refused(loaded, tmp_path):
    model, _ = loaded
    with pytest.raises(ValueError, match="folder must be one that embed_captions has written, got"):
        TextCache(tmp_path, "tower")
    CaptionEmbeddings(tmp_path, "tower", embeddings)
    with pytest.raises(ValueError, match="folder must have embeddings of captions, got .* without"):
        TextCache(tmp_path, "tower")
    with pytest.raises(ValueError, match="got .* of another one; write it with this model"):
        CaptionEmbeddings(tmp_path, fingerprint(model.text_model), embeddings)
    before = fingerprint(model.text_model)
    with torch.no_grad():
        next(model.text_model.parameters()).view(-1)[0] += 1
    assert fingerprint(model.text_model) != before
