"""Images and clips of captions through the harness: numbers by the measures' own functions, files, stops and doors."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from atoken.evaluation.captions import made_path
from atoken.evaluation.metrics.prompt_scores import PromptScore
from atoken.evaluation.metrics.scene_judges import load_scene_judges
from atoken.evaluation.metrics.scene_words import ZeroShotWords, shares_right
from atoken.evaluation.models.atoken_tokenizers import AtokenEmbedder
from atoken.evaluation.models.text_to_media import TextToMediaSamples
from atoken.evaluation.reports.geneval import TAGS
from atoken.evaluation.runner import evaluate
from atoken.evaluation.sets.caption_sets import geneval_prompts, prompt_file, vbench_prompts
from atoken.evaluation.sets.miniature_sets import miniature_captions
from atoken.tokenizing.images import read_image

from ..cli_samples import run
from ..generation.media_helpers import SAMPLING, TOKENIZER, media_pipeline
from .metrics.clip_samples import save_clip
from .reports.test_geneval import lines
from .reports.test_vbench import LEADERBOARD
from .reports.test_vbench import write as write_vbench

SQUARE = {**SAMPLING, "height": 64, "width": 64, "num_inference_steps": 2}
COUNTS = {"image": 5, "video": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("captions")
    media_pipeline(image_sampling=SQUARE, video_sampling=SQUARE).save_pretrained(root / "generator")
    save_clip(root / "clip")
    (root / "prompts.txt").write_text("a red dog\n\na photo of a cat. Or two\n")
    return root


def config(folder, name: str = "config", **changes):
    values = {
        "title": "Captions",
        "chunk_size": 2,
        "measures": ["clip-score", "pick-score", "words-right", "words-zero-shot"],
        "weights": {
            "clip-score": str(folder / "clip"),
            "pick-score": str(folder / "clip"),
            "words-zero-shot": str(TOKENIZER),
        },
        "sets": {
            kind: {"set": "miniature-captions", "kind": kind, "count": count, "task": "captions"}
            for kind, count in COUNTS.items()
        },
        "tokenizers": {"ceiling": {"adapter": "atoken", "model": str(TOKENIZER)}},
        "generators": {"ours": {"adapter": "text-to-media", "model": str(folder / "generator"), "batch_size": 2}},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**values, **changes}, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def measured(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("output") / "run"
    return output, evaluate(config(folder), output)


def test_numbers_are_those_of_the_measures(folder, measured):
    output, results = measured
    found = {(one.model, one.set): one for one in results.results}
    assert list(found) == [("ceiling", "image"), ("ceiling", "video"), ("ours", "image"), ("ours", "video")]
    samples = miniature_captions("image", count=COUNTS["image"])
    for model in ("ceiling", "ours"):
        made = [read_image(made_path(output / "made" / model / "image", one.name, "image")) for one in samples.samples]
        media, captions = [one[None] for one in made], [one.captions[0] for one in samples.samples]
        numbers = found[model, "image"].numbers
        for measure in ("clip-score", "pick-score"):
            expected = float(PromptScore(measure, str(folder / "clip"))(media, captions).mean())
            assert numbers[measure.replace("-", "_")] == pytest.approx(expected, abs=1e-4)
        shown = [one.shows for one in samples.samples]
        told = load_scene_judges().judged(torch.stack(media).numpy(), "image")
        assert {name: numbers[f"right_{name}"] for name in ("color", "shape", "pair")} == shares_right(shown, told)
        told = ZeroShotWords(AtokenEmbedder(str(TOKENIZER))).told(media, "image")
        assert {name: numbers[f"zero_shot_{name}"] for name in ("color", "shape", "pair")} == shares_right(shown, told)
        assert numbers["count"] == 5 and numbers["chances"]["pair"] == 1 / 64
    assert found["ceiling", "image"].numbers["right_color"] >= 0.8  # true scenes through the tokenizer
    assert {"right_motion", "zero_shot_all"} <= found["ours", "video"].numbers.keys()


def test_each_number_says_what_it_depends_on(folder, measured):
    _, results = measured
    protocol = results.results[2].protocol
    assert protocol["measured_by"]["clip-score"]["model"] == str(folder / "clip")
    assert protocol["model"]["seed"] == 0 and protocol["model"]["own_settings"]["image"]["guidance_scale"] == 3.0
    assert protocol["set"]["protocol"]["split"] == "held_out" and len(protocol["fingerprints"]["measures"]) >= 6


def test_media_are_kept_and_shown(measured):
    output, _ = measured
    images = output / "made/ours/image"
    assert sorted(path.name for path in images.iterdir()) == [f"0000{index}.png" for index in range(5)]
    assert (output / "made/ours/video/00001.mp4").is_file()
    page = (output / "index.html").read_text()
    assert page.count("First of ours") == 2 and "shown/ours/video/0.png" in page and "chance: color 12.5 %" in page
    assert Image.open(output / "shown/ours/video/0.png").width > 3 * 64
    assert "paper, Table 13" not in page and "AToken-So/C, stage 3 (paper)" in page


def test_a_stopped_run_goes_on_to_the_same_bytes(folder, measured):
    output, _ = measured
    before = (output / "results.json").read_bytes()
    (output / "chunks/ours/image/000001.safetensors").unlink()
    image = output / "made/ours/image/00002.png"
    pixels = image.read_bytes()
    image.unlink()
    told = []
    evaluate(config(folder), output, progress=lambda *values: told.append(values))
    assert told == [("ours on image", 0, 1), ("ours on image", 1, 1)]
    assert (output / "results.json").read_bytes() == before and image.read_bytes() == pixels


def test_two_processes_give_the_same_bytes(folder, measured, tmp_path):
    output, _ = measured
    evaluate(config(folder), tmp_path / "two", processes=2)
    assert (tmp_path / "two/results.json").read_bytes() == (output / "results.json").read_bytes()
    made = {path.relative_to(output): path.read_bytes() for path in (output / "made").rglob("*.png")}
    assert made == {name: (tmp_path / "two" / name).read_bytes() for name in made}


GRAY = """
import torch
from atoken.evaluation.interface import CaptionGenerator

class Gray(CaptionGenerator):
    kinds = frozenset({"image"})
    name = "gray"
    def __init__(self, level=128):
        self.level = level
    def make(self, samples, indices):
        for index in indices:
            length = len(samples.samples[index].captions[0])
            yield torch.full((1, 3, 8, 8 + length), self.level, dtype=torch.uint8)
    def describe(self):
        return {"level": self.level}
"""


def test_a_class_of_ones_own_makes_images(folder, tmp_path):
    (tmp_path / "gray.py").write_text(GRAY)
    mine = {"mine": {"adapter": "python", "target": f"{tmp_path / 'gray.py'}:Gray", "options": {"level": 7}}}
    prompts = {"prompts": {"set": "prompt-file", "file": str(folder / "prompts.txt"), "task": "captions"}}
    path = config(folder, "mine", sets=prompts, tokenizers={}, generators=mine, measures=["clip-score"])
    (result,) = evaluate(path, tmp_path / "out").results
    assert result.protocol["model"]["level"] == 7 and len(result.protocol["model"]["sha256"]) == 64
    image = read_image(tmp_path / "out/made/mine/prompts/00000.png")
    assert image.shape == (3, 8, 8 + len("a red dog")) and (image == 7).all()


def test_an_item_does_not_depend_on_its_batch(folder):
    samples = miniature_captions("image", count=3)
    apart, together = (
        list(TextToMediaSamples(str(folder / "generator"), batch_size=size).make(samples, range(3))) for size in (1, 3)
    )
    assert all((one.int() - other.int()).abs().max() <= 1 for one, other in zip(apart, together, strict=True))
    alone = next(iter(TextToMediaSamples(str(folder / "generator")).make(samples, [2])))
    assert (alone.int() - together[2].int()).abs().max() <= 1


def test_stored_media_have_the_numbers_of_those_that_were_made(folder, measured, tmp_path):
    output, results = measured
    stored = {"theirs": {"adapter": "stored-media", "path": str(output / "made/ours/image"), "sets": ["image"]}}
    (found,) = evaluate(
        config(folder, "stored", generators=stored, tokenizers={}, sets={"image": sets(folder)["image"]}),
        tmp_path / "out",
    ).results
    expected = results.results[2].numbers
    assert found.numbers.pop("chances") == expected["chances"]
    assert found.numbers == pytest.approx({name: value for name, value in expected.items() if name != "chances"})


def sets(folder) -> dict:
    return yaml.safe_load(config(folder).read_text())["sets"]


def test_captions_alone_go_to_generators_alone(folder, tmp_path):
    alone = {"prompts": {"set": "prompt-file", "file": str(folder / "prompts.txt"), "task": "captions"}}
    results = evaluate(
        config(folder, "alone", sets={**alone, "image": sets(folder)["image"]}), tmp_path / "out"
    ).results
    assert [(one.model, one.set) for one in results] == [("ceiling", "image"), ("ours", "prompts"), ("ours", "image")]
    numbers = results[1].numbers
    assert set(numbers) == {"clip_score", "pick_score", "count"} and numbers["count"] == 2
    assert results[1].protocol["measures"] == ["clip-score", "pick-score"]
    table = (tmp_path / "out/results.md").read_text().partition("Table 13")[2]
    assert "ours on prompts" in table and "ours on image" in table


def test_other_weights_of_the_autoencoder_do_not_go_on(folder, tmp_path):
    pipeline = media_pipeline(image_sampling=SQUARE, video_sampling=SQUARE)
    pipeline.save_pretrained(tmp_path / "generator")
    prompts = {"prompts": {"set": "prompt-file", "file": str(folder / "prompts.txt"), "task": "captions"}}
    generators = {"ours": {"adapter": "text-to-media", "model": str(tmp_path / "generator")}}
    path = config(folder, "other", sets=prompts, tokenizers={}, generators=generators, measures=[])
    evaluate(path, tmp_path / "out")
    weights = tmp_path / "generator/vae/diffusion_pytorch_model.safetensors"
    save_file({name: value + 1 for name, value in load_file(weights).items()}, weights)
    with pytest.raises(ValueError, match="differs in fingerprints"):
        evaluate(path, tmp_path / "out")


CODES = """
from atoken.evaluation.interface import Encoded, MediaTokenizer

class Codes(MediaTokenizer):
    kinds, name, decodes = frozenset({"image"}), "codes", False
    def encode(self, media):
        return Encoded(media, 8, (1,))
    def decode(self, encoded):
        raise AssertionError
"""


def test_a_tokenizer_that_does_not_decode_fits_no_captions(folder, tmp_path):
    (tmp_path / "codes.py").write_text(CODES)
    only = {"codes": {"adapter": "python", "target": f"{tmp_path / 'codes.py'}:Codes"}}
    path = config(folder, "codes", tokenizers=only, generators={}, sets={"image": sets(folder)["image"]})
    with pytest.raises(ValueError, match="codes fits none of the sets"):
        evaluate(path, tmp_path / "out")


def test_media_for_geneval_lie_as_it_reads_them(folder, tmp_path):
    entries = [{"tag": "colors", "prompt": f"a {color} dog", "include": []} for color in ("red", "blue")]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    options = {"file": str(folder / "metadata.jsonl"), "images": 2, "limit": 2, "task": "captions"}
    path = config(
        folder, "geneval", sets={"geneval": {"set": "geneval-prompts", **options}}, tokenizers={}, measures=[]
    )
    (result,) = evaluate(path, tmp_path / "out").results
    root = tmp_path / "out/made/ours/geneval"
    assert result.numbers == {"count": 4} and json.loads((root / "00001/metadata.jsonl").read_text()) == entries[1]
    files = sorted(file.relative_to(root).as_posix() for file in root.rglob("*.png"))
    assert files == [f"0000{prompt}/samples/000{image}.png" for prompt in (0, 1) for image in (0, 1)]
    first, second = (read_image(root / name) for name in files[:2])
    assert not torch.equal(first, second)  # of one prompt, by different seeds


def test_media_for_vbench_have_the_names_that_it_looks_for(folder, tmp_path):
    entries = [
        {"prompt_en": "Mr. Dog, in 4.5 colors", "dimension": ["color"]},
        {"prompt_en": "a cat", "dimension": ["scene", "color"]},
        {"prompt_en": "a cat", "dimension": ["human_action"]},
    ]
    (folder / "full_info.json").write_text(json.dumps(entries))
    options = {"file": str(folder / "full_info.json"), "videos": 2, "dimensions": ["color"], "limit": 1}
    made = {"vbench": {"set": "vbench-prompts", "task": "captions", **options}}
    evaluate(config(folder, "vbench", sets=made, tokenizers={}, measures=[]), tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out/made/ours/vbench").iterdir())
    assert names == ["Mr. Dog, in 4.5 colors-0.mp4", "Mr. Dog, in 4.5 colors-1.mp4"]
    samples = vbench_prompts(str(folder / "full_info.json"), limit=9)
    assert [sample.name for sample in samples.samples][::5] == ["Mr. Dog, in 4.5 colors-0", "a cat-0"]
    assert samples.fps == 16.0 and not samples.has_media


def test_numbers_of_others_stand_in_one_table_with_ours(folder, tmp_path):
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines(TAGS)))
    (tmp_path / "vbench").mkdir()
    vbench = write_vbench(tmp_path / "vbench", LEADERBOARD["Gen-3"][0], False)
    (tmp_path / "part.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines({"counting": 2})))
    reports = {
        "geneval of ours": {
            "adapter": "geneval",
            "model": "ours",
            "path": str(tmp_path / "results.jsonl"),
            "version": "d927da8",
            "describe": {"seed": 0},
        },
        "vbench of ours": {"adapter": "vbench", "model": "ours", "path": vbench, "version": "0.1.5"},
        "part": {"adapter": "geneval", "path": str(tmp_path / "part.jsonl"), "version": "d927da8"},
    }
    prompts = {"prompts": {"set": "prompt-file", "file": str(folder / "prompts.txt"), "task": "captions"}}
    path = config(folder, "reports", sets=prompts, tokenizers={}, reports=reports, measures=["clip-score"])
    results = evaluate(path, tmp_path / "out")
    text = (tmp_path / "out/results.md").read_text()
    (row,) = [line for line in text.partition("Table 13")[2].splitlines() if line.startswith("| ours |")]
    assert (
        row.split(" | ")[4:] == ["84.11", "75.17", "82.32 |"] and "d927da8" in (tmp_path / "out/index.html").read_text()
    )
    assert "not the whole of it for part" in text and "| part |" not in text.partition("Table 13")[2]
    assert [one.task for one in results.results] == ["captions", "report", "report", "report"]
    # Without any model of one's own.
    alone = folder / "reports-alone.yaml"
    alone.write_text(yaml.safe_dump({"title": "Others", "reports": reports}))
    shown = run("evaluate", alone, "--output", tmp_path / "alone")
    assert "82.32" in shown.stdout and (tmp_path / "alone/index.html").is_file()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"measures": ["clip-score"], "weights": {}}, "clip-score.*hf download openai/clip"),
        ({"sets": {"a": {"set": "miniature-captions", "kind": "object", "task": "captions"}}}, "kind must be one of"),
        ({"sets": {"a": {"set": "miniature-captions", "kind": "image", "split": "test", "task": "captions"}}}, "split"),
        ({"sets": {"a": {"set": "prompt-file", "file": "/nowhere.txt", "task": "captions"}}}, "nowhere.txt"),
        (
            {"sets": {"a": {"set": "prompt-file", "file": "PROMPTS"}}, "measures": ["psnr"]},
            "must have the task captions",
        ),
        ({"sets": {"a": {"set": "prompt-file", "file": "PROMPTS", "kind": "object", "task": "captions"}}}, "kind"),
        ({"sets": {"a": {"set": "prompt-file", "file": "PROMPTS", "fps": 0, "task": "captions"}}}, "fps must be"),
        ({"sets": {"a": {"set": "prompt-file", "file": "PROMPTS", "limit": 0, "task": "captions"}}}, "limit must be"),
        (
            {"sets": {"a": {"set": "prompt-file", "file": "LONG", "task": "captions"}}, "tokenizers": {}},
            "prompt must have at most 16 tokens",
        ),
        ({"sets": {"a": {"set": "geneval-prompts", "file": "PROMPTS", "task": "captions"}}}, "553 samples"),
        ({"sets": {"a": {"set": "geneval-prompts", "file": "PROMPTS", "limit": 1, "task": "captions"}}}, "JSON"),
        ({"sets": {"a": {"set": "geneval-prompts", "file": "/none", "task": "captions"}}}, "github.com/djghosh13"),
        ({"sets": {"a": {"set": "vbench-prompts", "file": "/none", "task": "captions"}}}, "vbench==0.1.5"),
        ({"sets": {"a": {"set": "vbench-prompts", "file": "PROMPTS", "task": "captions"}}}, "JSON"),
        ({"sets": {"a": {"set": "image-folder", "folder": "PICTURES", "task": "captions"}}}, "must have a caption"),
        ({"sets": {"a": {"set": "miniature-retrieval", "kind": "object", "task": "captions"}}}, "images or videos"),
        ({"sets": {"a": {"set": "miniature-captions", "kind": "image"}}}, "measures must have a set with task"),
        ({"generators": {"a": {"adapter": "text-to-media", "model": "/nowhere"}}}, "nowhere"),
        ({"generators": {"a": {"adapter": "text-to-media", "model": "GENERATOR", "frames": 10}}}, "num_frames"),
        ({"generators": {"a": {"adapter": "text-to-media", "model": "GENERATOR", "frames": 1}}}, "frames must be"),
        ({"generators": {"a": {"adapter": "text-to-media", "model": "GENERATOR", "seed": -1}}}, "seed must be"),
        ({"generators": {"a": {"adapter": "text-to-media", "model": "GENERATOR", "settings": {"steps": 3}}}}, "steps"),
        ({"generators": {"a": {"adapter": "stored-media", "path": "/nowhere"}}}, "nowhere"),
        ({"generators": {"a": {"adapter": "stored-media", "path": "PICTURES"}}}, "5 of 5 media are missing"),
        ({"generators": {"a": {"adapter": "stored-media", "path": "PICTURES", "kinds": ["object"]}}}, "kinds must be"),
        ({"reports": {"a": {"adapter": "vbench", "path": "/nowhere", "version": "0.1.5"}}}, "reports: a: .*nowhere"),
        ({"reports": {"a": {"adapter": "vbench", "path": "PICTURES"}}}, "reports: a: options must be"),
        (
            {"reports": {"a": {"adapter": "geneval", "path": "PICTURES/a.png", "version": "1"}}},
            "reports: a: path must be results.jsonl of GenEval, got .*a.png, which is no text in UTF-8",
        ),
        (
            {"sets": {"a": {"set": "prompt-file", "file": "PICTURES/a.png", "task": "captions"}}},
            "file must have captions, got .*a.png, which is no text in UTF-8",
        ),
        ({"reports": {"a": {"adapter": "imagereward", "path": "PICTURES"}}}, "one of geneval, lmms-eval, vbench"),
        ({"reports": {"a": {"adapter": "geneval", "path": "PROMPTS", "version": "1", "model": ""}}}, "model must be"),
        ({"weights": {"clip-score": "PICTURES"}}, "clip-score: path must be"),
    ],
)
def test_what_is_wrong_is_named_before_any_work(folder, tmp_path, changes, match):
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(tmp_path / "pictures/a.png")
    path = config(folder, "wrong", **changes)
    (tmp_path / "long.txt").write_text("a dog\n" + "a very long dog " * 40)
    named = {
        "LONG": tmp_path / "long.txt",
        "GENERATOR": folder / "generator",
        "PROMPTS": folder / "prompts.txt",
        "PICTURES": tmp_path / "pictures",
    }
    text = path.read_text()
    for name, place in named.items():
        text = text.replace(name, str(place))
    path.write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        evaluate(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_media_that_the_networks_of_words_do_not_know_are_named(folder, tmp_path):
    generators = {"ours": {"adapter": "text-to-media", "model": str(folder / "generator"), "settings": {"width": 32}}}
    path = config(folder, "small", generators=generators, tokenizers={}, sets={"image": sets(folder)["image"]})
    with pytest.raises(
        ValueError, match=r"words-right: 00000: media must be of 64 x 64 pixels and 1 frames.*got 1 of 32 x 64; leave"
    ):
        evaluate(path, tmp_path / "out")


def test_what_was_made_and_is_gone_is_named(folder, tmp_path):
    prompts = {"prompts": {"set": "prompt-file", "file": str(folder / "prompts.txt"), "task": "captions"}}
    path = config(folder, "gone", sets=prompts, tokenizers={}, measures=[])
    evaluate(path, tmp_path / "out")
    (tmp_path / "out/made/ours/prompts/00001.png").unlink()
    with pytest.raises(FileNotFoundError, match="all that was made, got no .*00001.png; overwrite"):
        evaluate(path, tmp_path / "out")
    evaluate(path, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out/made/ours/prompts/00001.png").is_file()


def test_lines_of_a_file_are_captions(folder):
    samples = prompt_file(str(folder / "prompts.txt"), "video", fps=12)
    assert [sample.captions for sample in samples.samples] == [("a red dog",), ("a photo of a cat. Or two",)]
    assert samples.protocol == {"source": "prompts.txt", "fps": 12, "count": 2}
    with pytest.raises(ValueError, match="captions alone"):
        samples.samples[0].load()
    (folder / "empty.txt").write_text("\n \n")
    with pytest.raises(ValueError, match="has none"):
        prompt_file(str(folder / "empty.txt"))


def test_prompts_of_geneval_are_whole_or_limited(folder):
    (folder / "whole.jsonl").write_text('{"prompt": "a dog"}\n' * 553)
    assert len(geneval_prompts(str(folder / "whole.jsonl")).samples) == 4 * 553
    (folder / "other.jsonl").write_text('{"text": "a dog"}\n')
    with pytest.raises(ValueError, match="a prompt on every line"):
        geneval_prompts(str(folder / "other.jsonl"), limit=1)
    with pytest.raises(ValueError, match="images must be a positive integer, got 0"):
        geneval_prompts(str(folder / "whole.jsonl"), images=0)
