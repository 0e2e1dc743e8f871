"""`atoken ask`: answers are those of the model, about files together and one by one; what is refused, and how."""

import json
import shutil

import pytest
import torch

from atoken.processing.media_reading_atoken import open_image, read_video

from ..cli_samples import run, run_json, save_clip, save_model, save_photo
from ..mllm.parts import model_inputs, parts


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder of a tiny random model."""
    folder = tmp_path_factory.mktemp("answers") / "model"
    for part in parts():
        part.save_pretrained(folder)
    return folder


@pytest.fixture
def media(tmp_path):
    """Two photos and a clip of 9 frames, of which the processor takes 5."""
    folder = tmp_path / "media"
    save_photo(folder / "a.png", 64, 96)
    save_photo(folder / "b.png", 70, 33, seed=1)
    save_clip(folder / "c.mp4", 9, 32, 48)
    return folder


def expected(text: str, files: list, tokens: int = 4) -> str:
    """What the model answers to the pixels of files, through its chat template."""
    answerer, processor = parts()
    shown = []
    for file in files:
        if file.suffix == ".png":
            shown.append(("image", open_image(file).permute(1, 2, 0).numpy()))
        else:
            shown.append(("video", read_video(file)[0].numpy()))
    content = [{"type": kind, kind: value} for kind, value in shown]
    conversation = [{"role": "user", "content": [*content, {"type": "text", "text": text}]}]
    inputs = model_inputs(processor, [conversation])
    ids = answerer.generate(**inputs, max_new_tokens=tokens, do_sample=False)
    return processor.batch_decode(ids[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)[0].strip()


def test_an_answer_is_printed_alone(model, media):
    answer = run("ask", media / "a.png", "What is it?", "--model", model, "--max-new-tokens", 4).stdout
    assert answer.strip() == expected("What is it?", [media / "a.png"])


def test_files_are_shown_together_in_their_order(model, media):
    files = [media / "c.mp4", media / "a.png", media / "b.png"]
    printed = run_json("ask", *files, "Which?", "--also", "Why?", "--model", model, "--max-new-tokens", 4)
    assert [row["question"] for row in printed["results"]] == ["Which?", "Why?"]
    for row in printed["results"]:
        assert row["files"] == list(map(str, files)) and row["seconds"] > 0
        assert row["answer"] == expected(row["question"], files)
    _, processor = parts()
    assert printed["results"][0]["prompt_tokens"] > sum(
        processor._get_num_multimodal_tokens([(64, 96), (70, 33)], [(9, 32, 48)]).num_image_tokens
    )
    assert (printed["model"], printed["device"], printed["dtype"]) == (str(model), "cpu", "float32")
    assert len(printed["fingerprint"]) == 32 and printed["failures"] == []


def test_a_folder_file_by_file_goes_on_after_a_file_that_cannot_be_read(model, media):
    (media / "broken.png").write_bytes((media / "a.png").read_bytes()[:100])
    printed = run_json("ask", media, "What?", "--each", "--model", model, "--max-new-tokens", 4, code=1)
    answers = {row["files"][0]: row["answer"] for row in printed["results"]}
    assert answers == {str(media / name): expected("What?", [media / name]) for name in ("a.png", "b.png", "c.mp4")}
    assert [failure["file"] for failure in printed["failures"]] == [str(media / "broken.png")]
    table = run("ask", media / "a.png", media / "b.png", "What?", "--each", "--model", model).stdout
    assert "file" in table and "b.png" in table and "What?" in table


def test_fewer_frames_are_fewer_tokens(model, media):
    few, more = (
        run_json("ask", media / "c.mp4", "a", "--model", model, "--max-new-tokens", 1, "--max-frames", frames)
        for frames in (1, 4)
    )
    assert few["results"][0]["prompt_tokens"] < more["results"][0]["prompt_tokens"]


def test_the_embedded_model_is_the_default(model, media, monkeypatch):
    checkpoints = media.parent / "checkpoints"
    monkeypatch.setattr("atoken_headers.model_folders.CHECKPOINTS", checkpoints)
    checkpoints.mkdir()
    result = run("ask", media / "a.png", "What?", code=1)
    assert "--model: model must be a folder, a Hub name or the name of an embedded checkpoint" in result.stderr
    shutil.copytree(model, checkpoints / "atoken-tiny-llava")
    printed = run_json("ask", media / "a.png", "What?", "--dtype", "bfloat16", "--max-new-tokens", 2)
    assert (printed["model"], printed["dtype"]) == ("atoken-tiny-llava", "bfloat16")


BAD_USAGE = {
    "no question": (["{media}/a.png"], "QUESTION: it is missing, as the last argument is the file"),
    "a file that is not there, and no question": (["{media}/nothing.png"], "QUESTION: it is missing"),
    "two files and no question": (["{media}/a.png", "{media}/c.mp4"], "QUESTION: it is missing"),
    "no file": (["What is it?"], "FILE: give at least one image or video before the question"),
    "an empty question": (["{media}/a.png", "  "], "QUESTION: it must not be empty"),
    "an empty further question": (["{media}/a.png", "What?", "--also", ""], "QUESTION: it must not be empty"),
    "nothing": ([], "Missing argument"),
    "no tokens": (["{media}/a.png", "What?", "--max-new-tokens", "0"], "--max-new-tokens"),
    "an unknown device": (["{media}/a.png", "What?", "--device", "tpu"], "--device"),
}
BAD_INPUT = {
    "a file that is not there": (["{media}/nothing.png", "What?"], "FILE: {media}/nothing.png: no such file or folder"),
    "another kind of file": (["{media}/notes.txt", "What?"], "has the suffix '.txt'; expected one of"),
    "a 3D object": (["{media}/thing.ply", "What?"], "is a 3D object; ask about its pictures"),
    "a picture that ends early": (["{media}/a.png", "{media}/broken.png", "What?"], "broken.png"),
    "a video that is none": (["{media}/broken.mp4", "What?"], "broken.mp4"),
    "a placeholder in the question": (["{media}/a.png", "<|image_pad|>?"], "question must be plain text"),
    "a prompt beyond the context": (["{media}/a.png", "a" * 5000], "tokens of the language model's context, got"),
    "no such model": (["{media}/a.png", "What?", "--model", "nothing"], "--model: model must be a folder, a Hub name"),
    "a tokenizer": (
        ["{media}/a.png", "What?", "--model", "{media}/tokenizer"],
        "must be a multimodal language model (model_type \"atoken_llava\"), got 'atoken'",
    ),
    "a model without weights": (["{media}/a.png", "What?", "--model", "{media}/empty"], "--model: model: "),
    "damaged weights": (["{media}/a.png", "What?", "--model", "{media}/damaged"], "cannot be loaded"),
    "weights of another size": (["{media}/a.png", "What?", "--model", "{media}/other"], "do not fit its config.json"),
    "a processor of another model": (
        ["{media}/a.png", "What?", "--model", "{media}/counts"],
        "processor must count tokens as the model does",
    ),
}


@pytest.mark.parametrize("name", BAD_USAGE)
def test_bad_usage(name, media):
    arguments, message = BAD_USAGE[name]
    assert message in run("ask", *(each.format(media=media) for each in arguments), code=2).stderr


@pytest.fixture(scope="module")
def bad_media(tmp_path_factory, model):
    """Files and models of which each has one thing wrong."""
    folder = tmp_path_factory.mktemp("bad")
    save_photo(folder / "a.png", 64, 96)
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:100])
    (folder / "broken.mp4").write_bytes(b"\0" * 64)
    (folder / "notes.txt").write_text("a")
    (folder / "thing.ply").write_text("ply\n")
    save_model(folder / "tokenizer")
    for name in ("empty", "damaged", "other", "counts"):
        shutil.copytree(model, folder / name)
    (folder / "empty/model.safetensors").unlink()
    weights = (model / "model.safetensors").read_bytes()
    (folder / "damaged/model.safetensors").write_bytes(weights[: len(weights) // 2])
    for name, file, part, key in (
        ("other", "config.json", "text_config", "intermediate_size"),
        ("counts", "processor_config.json", None, "slow_frames"),
    ):
        values = json.loads((folder / name / file).read_text())
        (values[part] if part else values)[key] = 7
        (folder / name / file).write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input(name, bad_media, model):
    arguments, message = (
        [each.format(media=bad_media) for each in BAD_INPUT[name][0]],
        BAD_INPUT[name][1].format(media=bad_media),
    )
    arguments += [] if "--model" in arguments else ["--model", model]
    result = run("ask", *arguments, code=1)
    assert message in result.stderr and result.stdout == ""


def test_pictures_of_sixteen_bits_and_animations(model, tmp_path):
    from PIL import Image

    deep = (torch.arange(64 * 64).reshape(64, 64) * 15).to(torch.uint16).numpy()
    Image.fromarray(deep).save(tmp_path / "deep.png")
    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "green", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:], duration=100)
    files = [tmp_path / "deep.png", tmp_path / "moving.gif"]
    printed = run_json("ask", *files, "What?", "--model", model, "--max-new-tokens", 1)
    assert printed["results"][0]["prompt_tokens"] > 16
