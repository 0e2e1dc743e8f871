"""Whole trainings on a few captioned scenes: images, then videos grown of them, resumed, with LoRA, and refused."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, HunyuanVideoTransformer3DModel
from safetensors.torch import load_file

from atoken import AtokenModel, AutoencoderAtoken
from atoken.generation import TextToMediaPipeline
from atoken.tokenizing.corpus.reading import AtokenTokens
from atoken.training.generators.text_to_media.stage import TextToMediaStage
from atoken.training.generators.text_to_media.statistics_file import read_statistics
from atoken.training.generators.text_to_media.train import main

from ....cli_samples import save_model
from .conftest import TOKENIZER

STAGES = [
    *(Path(__file__).parents[4] / "training/generators/text_to_media/stages").glob("*.yaml"),
    *(Path(__file__).parents[4] / "training/recipes/tiny_text_to_media/stages").glob("*.yaml"),
]


def train(files, output: Path, stage: Path, videos: bool = True, **options) -> Path:
    captions = files.root / ("captions" if videos else "image-captions")
    given = {"images": files.images, "captions": captions, "log_every": 1, "save_every": 3, "keep": 9}
    given |= {"videos": files.videos} if videos else {}
    main(stage, str(TOKENIZER), output=output, **{**given, **options})
    return output


def log(output: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in line if name not in ("tokens per second", "minutes")} for line in lines]


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "model/diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory) -> Path:
    """A training on both kinds, begun from nothing."""
    return train(files, tmp_path_factory.mktemp("whole") / "run", files.stage())


def test_the_loss_falls_and_videos_grow_of_images(files, tmp_path):
    images = train(files, tmp_path / "images", files.stage(steps=40), videos=False, save_every=40, in_memory=True)
    losses = [line["generation/loss"] for line in log(images)]
    assert sum(losses[-8:]) < 0.95 * sum(losses[:8])
    grown = train(files, tmp_path / "videos", files.stage(), init_from=images / "model")
    assert [sorted(name for name in line if name.endswith(" loss")) for line in log(grown)[:2]] == [
        ["generation/video loss"],
        ["generation/image loss"],
    ]
    # No weight is new, and the first losses are those of trained weights.
    assert weights(grown).keys() == weights(images).keys()
    assert log(grown)[1]["generation/image loss"] < losses[0]
    statistics = read_statistics(grown / "model")
    assert statistics["image_statistics"] == read_statistics(images / "model")["image_statistics"]
    assert statistics["video_statistics"]["mean"] == AtokenTokens(files.videos).mean.tolist()


def test_what_is_exported_makes_a_pipeline(whole):
    tower = AtokenModel.from_pretrained(TOKENIZER, dtype=torch.float32)
    pipeline = TextToMediaPipeline(
        HunyuanVideoTransformer3DModel.from_pretrained(whole / "model"),
        AutoencoderAtoken.from_pretrained(TOKENIZER),
        FlowMatchEulerDiscreteScheduler(),
        **read_statistics(whole / "model"),
    )
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.transformer.config.text_embed_dim == tower.config.text_config.hidden_size
    assert pipeline.config.vae_statistics["std"] == list(tower.config.latents_std)


@pytest.mark.parametrize("in_memory", [False, True])
def test_resumed_equals_uninterrupted(in_memory, files, whole, tmp_path):
    torch.manual_seed(99)  # nothing may hang on the numbers that a process happens to begin with
    checkpoint = str(whole / "checkpoint-00000003")
    output = train(files, tmp_path / "run", files.stage(), resume=checkpoint, in_memory=in_memory)
    assert log(output) == log(whole)[3:]
    expected, found = weights(whole), weights(output)
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_resuming_with_another_corpus_is_refused(files, whole, tmp_path):
    with pytest.raises(ValueError, match="corpora, seed and sizes of batches must be those"):
        train(files, tmp_path, files.stage(), resume=str(whole / "checkpoint-00000003"), videos=False)


def test_lora_changes_nothing_but_what_it_adds(files, whole, tmp_path):
    stage = files.stage("lora", lora={"r": 2, "lora_alpha": 8})
    output = train(files, tmp_path / "run", stage, init_from=whole / "model")
    (file,) = (output / "model").glob("*.safetensors")
    assert {name.split(".")[-2] for name in load_file(file)} == {"lora_A", "lora_B"}
    pipeline = TextToMediaPipeline(
        HunyuanVideoTransformer3DModel.from_pretrained(whole / "model"),
        AutoencoderAtoken.from_pretrained(TOKENIZER),
        FlowMatchEulerDiscreteScheduler(),
        **read_statistics(output / "model"),
    )
    pipeline.load_lora_weights(output / "model")
    adapter = pipeline.transformer.peft_config["default_0"]
    assert (adapter.r, adapter.lora_alpha) == (2, 8)
    base = {name.replace(".base_layer", ""): value for name, value in pipeline.transformer.state_dict().items()}
    assert all(torch.equal(base[name], value) for name, value in weights(whole).items())
    assert any(bool(value.any()) for name, value in base.items() if "lora_B" in name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"images": "videos"},
            "images must be a corpus of latents of images with a kept caption, got latents of videos",
        ),
        ({"init_from": "nowhere"}, "folder must be one that a training has written"),
        ({"stage": {"lora": {"r": 2}}}, "init_from must be given where lora is"),
        ({"stage": {"buckets": [[1, 4, 4]]}}, "buckets must have the size of every video"),
    ],
)
def test_what_is_refused(options, message, files, tmp_path):
    given = {**options}
    stage = files.stage("refused", **given.pop("stage", {}))
    given = {name: files.root / value for name, value in given.items()}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(files, tmp_path, stage, **given)


def test_a_corpus_of_another_tokenizer_is_refused_and_both_are_named(files, tmp_path):
    save_model(tmp_path / "other")
    with pytest.raises(
        ValueError, match="images must be a corpus of the tokenizer '.*other'.*got one of '.*atoken-tiny'"
    ):
        main(files.stage(), str(tmp_path / "other"), files.captions, tmp_path / "run", images=files.images)


def test_weights_of_another_size_and_other_statistics(files, whole, tmp_path):
    with pytest.raises(ValueError, match="init_from must have the sizes of the stage, got another num_attention_heads"):
        train(files, tmp_path, files.stage(model={"num_attention_heads": 1}), init_from=whole / "model")
    other = tmp_path / "model"
    other.mkdir()
    statistics = read_statistics(whole / "model")
    statistics["image_statistics"]["mean"][0] += 1
    (other / "statistics.json").write_text(json.dumps(statistics))
    with pytest.raises(ValueError, match="init_from must have been trained with the same image_statistics"):
        train(files, tmp_path / "run", files.stage(), init_from=other)


@pytest.mark.parametrize("path", STAGES, ids=lambda path: path.stem)
def test_stage_files_are_read(path):
    assert TextToMediaStage.read(path).steps > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_batch_size": 0}, "image_batch_size must be at least 1"),
        ({"text_dropout": 1.5}, "text_dropout must be from 0 to 1"),
        ({"image_share": 1.0}, "image_share must be from 0 to below 1"),
        ({"logit_std": 0.0}, "logit_std must be above 0"),
        ({"shift": 0.0}, "shift must be above 0"),
        ({"buckets": [[1, 4]]}, "buckets must be of latent frames, rows and columns"),
        ({"lora": {"alpha": 3}}, "lora must have r, the rank"),
        ({"frames": 3}, "must have names among"),
    ],
)
def test_stage_files_that_cannot_be(options, message, files):
    with pytest.raises(ValueError, match=message):
        TextToMediaStage.read(files.stage("bad", **options))
