"""Training on conversations: what is learned, what stays as it is, stopping and going on, stored features."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from atoken.miniature.questions import MiniatureQuestions, as_messages
from atoken.processing.media_writing_atoken import write_video
from atoken.training.mllm.collator import ConversationCollator, within_context
from atoken.training.mllm.feature_cache import FeatureCache
from atoken.training.mllm.sources import media_of, read_sources
from atoken.training.mllm.stage import Stage, build_trainer, read_stage

from ...mllm.parts import parts, tower

SMALL = {"bf16": False, "gradient_checkpointing": True, "global_batch": 4, "process_batch": 2, "save_steps": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six conversations: about three pictures, two clips, and one without media."""
    folder = tmp_path_factory.mktemp("conversations")
    lines = []
    for medium, count in (("image", 3), ("video", 2)):
        questions = MiniatureQuestions(medium, length=count, kinds=("open",), size=64, frames=8)
        for index in range(count):
            item = questions[index]
            name = f"{medium}-{index}.{'png' if medium == 'image' else 'mp4'}"
            if medium == "image":
                Image.fromarray(item["media"][0].permute(1, 2, 0).numpy()).save(folder / name)
            else:
                write_video(folder / name, item["media"][0].permute(0, 2, 3, 1).numpy(), 8)
            lines.append({"messages": as_messages(item["question"], [name])})
    lines.append({"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello you"}]})
    (folder / "lines.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "data.yaml").write_text(yaml.safe_dump({"sources": [{"path": "lines.jsonl"}]}))
    return folder / "data.yaml"


def run(model, processor, dataset, output, cache=None, callbacks=(), **settings):
    stage = Stage("test", 1e-2, **{**SMALL, "max_steps": 4, **settings})
    trainer = build_trainer(stage, model, processor, dataset, output, cache, callbacks)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(output)) if output.is_dir() else None)
    return trainer


def test_sources(data):
    dataset = read_sources(data)
    assert dataset["kind"] == ["image"] * 3 + ["video"] * 2 + ["text"]
    assert media_of(json.loads(dataset[3]["messages"]), "video") == [str(data.parent / "video-0.mp4")]
    twice = data.with_name("twice.yaml")
    twice.write_text(yaml.safe_dump({"sources": [{"path": "lines.jsonl", "repeat": 2}]}))
    assert len(read_sources(twice)) == 12


def test_labels_are_the_answers_and_long_conversations_are_left_out(data):
    _, processor = parts()
    dataset, left_out = within_context(read_sources(data), processor, 4096)
    assert left_out == 0
    batch = ConversationCollator(processor)([dataset[index] for index in range(6)])
    assert dataset["length"] == batch["attention_mask"].sum(1).tolist()
    for index, row in enumerate(dataset):
        answer = json.loads(row["messages"])[-1]["content"]
        answer = answer if isinstance(answer, str) else answer[0]["text"]
        labels = batch["labels"][index]
        assert processor.tokenizer.decode(labels[labels != -100]) == f"{answer}<|im_end|>"
    longest = max(dataset["length"])
    kept, left_out = within_context(read_sources(data), processor, longest - 1)
    assert left_out == dataset["length"].count(longest) and len(kept) == 6 - left_out
    with pytest.raises(ValueError, match="context must fit at least one conversation"):
        within_context(read_sources(data), processor, 3)


def test_two_stages_leave_the_encoder_bit_for_bit(data, tmp_path):
    model, processor = parts()
    dataset, _ = within_context(read_sources(data), processor, 4096)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    run(model, processor, dataset, tmp_path / "0", trained="projector", max_steps=2)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed and all("multi_modal_projector" in name for name in changed)
    run(model, processor, dataset, tmp_path / "1", max_steps=2)
    for name, tensor in tower().state_dict().items():
        assert torch.equal(model.state_dict()[f"model.vision_tower.{name}"], tensor), name
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {"lm_head.weight", "model.language_model.layers.0.mlp.up_proj.weight"} <= changed


class Killed(Exception):
    pass


class Kill(TrainerCallback):
    """Ends a run in the middle of its third step."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise Killed


def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(data, tmp_path):
    weights = []
    for killed in (False, True):
        output = tmp_path / str(killed)
        model, processor = parts()
        dataset, _ = within_context(read_sources(data), processor, 4096)
        if killed:
            with pytest.raises(Killed):
                run(model, processor, dataset, output, callbacks=[Kill()])
            model, processor = parts()
        run(model, processor, dataset, output)
        weights.append(model.state_dict())
    for name, tensor in weights[0].items():
        assert torch.equal(weights[1][name], tensor), name


def test_stored_features_train_as_pixels_do(data, tmp_path):
    losses = []
    for stored in (False, True):
        model, processor = parts()
        dataset, _ = within_context(read_sources(data), processor, 4096)
        cache = None
        if stored:
            cache = FeatureCache(tmp_path / "features", model, processor)
            media = [
                (kind, path)
                for text in dataset["messages"]
                for kind in ("image", "video")
                for path in media_of(json.loads(text), kind)
            ]
            cache.fill(media, model, processor)
            assert len(list((tmp_path / "features").iterdir())) == 1  # packed, as all fit one batch of the encoder
            again = FeatureCache(tmp_path / "features", model, processor)
            again.fill(media, None, None)  # all are found
            assert torch.equal(again.image(media[0][1]), cache.image(media[0][1]))
            model.model.vision_tower.forward = None  # it is not needed any more
        trainer = run(model, processor, dataset, tmp_path / str(stored), cache, max_steps=3)
        losses.append(trainer.state.log_history[-1]["train_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    other, _ = parts(slow_frames=2)
    assert FeatureCache(tmp_path / "features", other, processor).key_of(media[0][1]) != cache.key_of(media[0][1])
    with pytest.raises(ValueError, match="pool_after_projector"):
        FeatureCache(tmp_path, parts(pool_after_projector=True)[0], processor)


def test_batches_of_stored_features_are_those_of_the_media(data, tmp_path):
    model, processor = parts()
    rows = list(read_sources(data))
    cache = FeatureCache(tmp_path, model, processor)
    media = [(kind, path) for row in rows for kind in ("image", "video") for path in media_of(row_messages(row), kind)]
    model.config.vision_batch_tokens = 40  # so that there are several files
    cache.fill(media, model, processor)
    assert len(list(tmp_path.iterdir())) > 1
    read, stored = ConversationCollator(processor)(rows), ConversationCollator(processor, cache)(rows)
    for name in ("input_ids", "attention_mask", "labels"):
        assert torch.equal(read[name], stored[name]), name
    with torch.no_grad():
        assert torch.allclose(model(**read).loss, model(**stored).loss, rtol=1e-5)
    lengths = within_context(read_sources(data), processor, 4096, cache)[0]["length"]
    assert lengths == read["attention_mask"].sum(1).tolist()
    processor.add_time_instruction = True
    with pytest.raises(ValueError, match="add_time_instruction=False with a cache"):
        ConversationCollator(processor, cache)


def row_messages(row: dict) -> list:
    return json.loads(row["messages"])


def test_adapters_of_the_language_model(data, tmp_path):
    model, processor = parts()
    dataset, _ = within_context(read_sources(data), processor, 4096)
    trainer = run(model, processor, dataset, tmp_path / "lora", lora_rank=2, max_steps=1)
    trained = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    assert any("lora_A" in name for name in trained) and any("multi_modal_projector" in name for name in trained)
    assert not any("vision_tower" in name for name in trained)


def test_stage_files(tmp_path):
    for path in (Path(__file__).parents[3] / "training/mllm/stages").glob("*.yaml"):
        assert read_stage(path).global_batch == 128
    for settings, message in (
        ({"name": "a"}, "path must be a YAML file"),
        ({"name": "a", "learning_rate": 1e-3, "speed": 2}, "path must be a YAML file"),
        ({"name": "a", "learning_rate": 0}, "learning_rate must be positive"),
        ({"name": "a", "learning_rate": 1e-3, "trained": "encoder"}, "trained must be one of"),
        ({"name": "a", "learning_rate": 1e-3, "trained": "projector", "lora_rank": 4}, "lora_rank must be 0"),
        ({"name": "a", "learning_rate": 1e-3, "warmup": 3}, "warmup must be a share"),
    ):
        (tmp_path / "stage.yaml").write_text(yaml.safe_dump(settings))
        with pytest.raises(ValueError, match=message):
            read_stage(tmp_path / "stage.yaml")
    with pytest.raises(ValueError, match="global_batch must be a multiple"):
        build_trainer(Stage("a", 1e-3, global_batch=3, process_batch=2), None, None, None, tmp_path)


@pytest.mark.parametrize(
    "line,message",
    [
        ("nonsense", "sources.0., line 1 must be a JSON object"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "the last of the assistant"),
        (
            '{"messages": [{"role": "tool", "content": "a"}, {"role": "assistant", "content": "a"}]}',
            "must have messages",
        ),
        ('{"messages": [{"role": "assistant", "content": [{"type": "audio", "audio": "a"}]}]}', "must have parts of"),
        ('{"messages": [{"role": "assistant", "content": 3}]}', "must have content"),
        (
            '{"messages": [{"role": "assistant", "content": [{"type": "image", "image": "no.png"}]}]}',
            "there is no file",
        ),
    ],
)
def test_bad_lines(line, message, tmp_path):
    (tmp_path / "lines.jsonl").write_text(line)
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"sources": [{"path": "lines.jsonl"}]}))
    with pytest.raises(Exception) as error:
        read_sources(tmp_path / "data.yaml")
    causes, cause = [], error.value
    while cause is not None:
        causes.append(str(cause))
        cause = cause.__cause__
    assert any(re.search(message, text) for text in causes), causes


def test_bad_data_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_sources(tmp_path / "none.yaml")
    for content, message in (
        ({"files": []}, "list of sources"),
        ({"sources": []}, "list of sources"),
        ({"sources": [{"file": "a"}]}, "must have path"),
        ({"sources": [{"path": "a", "repeat": 0}]}, "repeat must be an integer"),
    ):
        (tmp_path / "data.yaml").write_text(yaml.safe_dump(content))
        with pytest.raises(ValueError, match=message):
            read_sources(tmp_path / "data.yaml")
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"sources": [{"path": "missing.jsonl"}]}))
    with pytest.raises(FileNotFoundError, match="missing.jsonl"):
        read_sources(tmp_path / "data.yaml")
