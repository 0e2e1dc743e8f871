"""What is measured beside the harness: tiles in time, answers, and whether made pictures show what they should."""

import json
from pathlib import Path

import pytest
import torch

from atoken.evaluation.answering import load_answerer
from atoken.evaluation.lmms_miniature import MiniatureTask
from atoken.evaluation.metrics.scene_words import ZeroShotWords, chances, shares_right
from atoken.evaluation.models.atoken_tokenizers import AtokenEmbedder, AtokenMedia
from atoken.evaluation.paper import generated_images, streaming_figure
from atoken.evaluation.paper.answer_tables import MODEL, right_answers
from atoken.evaluation.paper.reconstruction_pictures import spread
from atoken.evaluation.paper.understanding import understanding_table
from atoken.evaluation.results import Result
from atoken.evaluation.sets.miniature_sets import miniature_captions
from atoken.miniature.scenes import is_held_out
from atoken.tokenizing.loading import load_model

from ...processing.samples import smooth_clip
from .helpers import workspace

CHECKPOINTS = Path(__file__).resolve().parents[3] / "checkpoints"


@pytest.fixture(scope="module")
def loaded():
    return load_model("atoken-tiny", "cpu", "float32")


@pytest.fixture(scope="module")
def clip() -> torch.Tensor:
    return torch.from_numpy(smooth_clip(40, 32, 48)).permute(0, 3, 1, 2).contiguous()  # the last tile is half


def test_tiles_alone_are_what_the_harness_measures(loaded, clip):
    tokenizer = AtokenMedia("atoken-tiny", latent_dtype="float32")
    result, *_, frames = streaming_figure.tiled(loaded, clip, 0)
    assert frames == 40 and torch.equal(result, tokenizer.decode(tokenizer.encode(clip)))
    cached = streaming_figure.tiled(loaded, clip, 8)[0]
    assert torch.equal(cached[:16], result[:16]) and not torch.equal(cached[16:], result[16:])


def test_overlapping_tiles_blend(loaded, clip):
    result, *_, frames = streaming_figure.overlapping(loaded, clip)
    windows = [streaming_figure.tiled(loaded, clip[start : start + 16], 0)[0] for start in (0, 8, 16, 24)]
    assert frames == 64 and result.shape == clip.shape
    assert torch.equal(result[:8], windows[0][:8]) and torch.equal(result[-8:], windows[-1][-8:])
    share = 2.5 / 8  # of the later tile, in the third frame that both show
    blended = (1 - share) * windows[0][10].double() + share * windows[1][2].double()
    assert (result[10] - blended).abs().max() <= 0.51
    alone = streaming_figure.overlapping(loaded, clip[:12])
    assert torch.equal(alone[0], streaming_figure.tiled(loaded, clip[:12], 0)[0]) and alone[3] == 12


def testseams_are_the_frames_at_borders():
    frames = torch.arange(40).reshape(40, 1, 1, 1)
    assert streaming_figure.seams(frames).flatten().tolist() == [15, 16, 31, 32]
    assert len(streaming_figure.seams(frames[:16])) == 16


@pytest.mark.parametrize("kind", ["image", "video"])
def test_true_scenes_show_what_they_should(kind):
    samples = miniature_captions(kind, count=24, seed=21).samples
    shown = [sample.shows for sample in samples]
    assert all(is_held_out(scene["colour"], scene["shape"]) for scene in shown)
    told = ZeroShotWords(AtokenEmbedder("atoken-tiny", video="whole")).told([one.load() for one in samples], kind)
    right = shares_right(shown, told)
    assert right["color"] >= 0.9 and right.keys() == chances(kind).keys()
    assert right["pair"] <= min(right["color"], right["shape"])
    # With the scenes of others, about as often as by guessing.
    assert shares_right([*shown[5:], *shown[:5]], told)["pair"] < 0.5


def test_scenes_of_a_class():
    scene = generated_images.scene_of_class("red star", 1, 0)
    assert (scene.colour, scene.shape) == ("red", "star") and scene == generated_images.scene_of_class("red star", 1, 0)
    others = [generated_images.scene_of_class("red star", *place) for place in ((1, 1), (2, 0))]
    assert scene not in others


def test_images_of_a_generator_are_made_once(tmp_path):
    made, scenes, facts = generated_images.made_images(workspace(tmp_path), generated_images.LATENTS)
    assert made.shape == (8, 3, 64, 64) and len(scenes) == 8 and facts["seed"] == generated_images.SEED
    (file,) = (tmp_path / "out/work").glob("*.npz")
    before = file.read_bytes()
    again = generated_images.made_images(workspace(tmp_path), generated_images.LATENTS)
    assert torch.equal(again[0], made) and file.read_bytes() == before


def test_images_with_other_settings_are_made_anew(tmp_path):
    name, made = generated_images.LATENTS.name, []
    folder = tmp_path / "checkpoints" / name
    folder.mkdir(parents=True)
    for file in (CHECKPOINTS / name).iterdir():
        if file.name != "training.json":
            (folder / file.name).symlink_to(file)
    for steps in (1, 2):
        (folder / "training.json").write_text(json.dumps({"sampling": {"num_inference_steps": steps}}))
        made.append(generated_images.made_images(workspace(tmp_path, root=tmp_path), generated_images.LATENTS)[0])
    assert not torch.equal(*made) and len(list((tmp_path / "out/work").glob("*.npz"))) == 2


def test_answers_of_the_embedded_model():
    right, chance = right_answers(MiniatureTask("image", "open", "colour"), load_answerer(MODEL, "cpu"), 12)
    assert right >= 10 and chance == pytest.approx(1 / 8)


def test_understanding_in_one_table():
    def result(model: str, name: str, task: str, **numbers: float) -> Result:
        return Result(model, name, "video", task, numbers, {})

    recalls = {f"{way}_r{rank}": rank / 20 for way in ("text_to_sample", "sample_to_text") for rank in (1, 5, 10)}
    table = understanding_table(
        [
            result("a", "shape", "classification", top1=0.75, chance=0.125),
            result("a", "retrieval", "retrieval", **recalls, chance_at_1=0.05),
            result("b", "shape", "classification", top1=0.5, chance=0.125),
        ],
        ranks=(1, 10),
    )
    headings = ["text to video R@1 %", "text to video R@10 %", "video to text R@1 %", "video to text R@10 %"]
    assert table.heading == ["model", "shape, top-1 %", *headings]
    assert table.rows == [
        ["a", "75.0", "5.0", "50.0", "5.0", "50.0"],
        ["b", "50.0", "", "", "", ""],
        ["chance", "12.5", "5.0", "50.0", "5.0", "50.0"],
    ]


def test_media_to_show_are_spread():
    assert spread(24, 3) == [0, 8, 16] and spread(2, 3) == [0, 1] and spread(1, 1) == [0]
