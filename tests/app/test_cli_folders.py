"""The `atoken` command on folders of many kinds of files: what is read, passed over, warned about, and has failed."""

import gc
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from atoken.processing.media_warnings_atoken import warn_about_media
from atoken_app import media_jobs

from ..cli_samples import names, run, run_json, save_clip, save_model, save_photo


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_model(folder)
    return folder


def test_files_of_other_suffixes_are_counted_and_named(model, tmp_path):
    media = tmp_path / "media"
    save_photo(media / "a.png")
    others = [f"n{index:02}.txt" for index in range(9)] + ["deep/b.psd", "deep/c", "z.raw"]
    (media / "deep").mkdir()
    (media / ".cache").mkdir()
    for name in (*others, ".hidden.txt", ".cache/d.txt"):
        (media / name).write_bytes(b"1")
    options = ["-o", tmp_path / "out", "--model", model]
    answer = run_json("encode", media, *options)
    assert answer["passed_over"] == sorted(str(media / name) for name in others) and answer["failures"] == []
    result = run("encode", media, *options, "--overwrite")
    assert "passed over 12 files with other suffixes:" in result.stderr and "and 2 more" in result.stderr
    assert all(name in result.stderr for name in ("deep/b.psd", "n07.txt")) and "hidden" not in result.stderr
    # Patterns are told of in the same way, a file that is named itself is a failure.
    assert run_json("encode", media / "*.*", *options, "--overwrite")["passed_over"] == [
        str(media / name) for name in sorted(others) if "/" not in name
    ]
    assert run_json("encode", media / "z.raw", *options, code=1)["passed_over"] == []
    assert len(run_json("decode", media, "-o", tmp_path / "back", code=1)["passed_over"]) == 13


def test_all_kinds_of_names_are_found(model, tmp_path):
    """A picture under the names of many formats: each is read or has failed, none is passed over."""
    media = tmp_path / "media"
    pixels = save_photo(media / "a.jpg")
    for name in ("b.heic", "c.tga", "d.mts", "e.jfif", "f.JPE", "g.3gp", "h.obj"):
        (media / name).write_bytes((media / "a.jpg").read_bytes())
    Image.fromarray(pixels).save(media / "real.tga")
    result = run("reconstruct", media, "-o", tmp_path / "out", "--model", model, code=1)
    for path in media.iterdir():
        assert path.name in result.stdout + result.stderr
    assert "passed over" not in result.stderr and "Traceback" not in result.stderr
    assert {"a.png", "real.png"} <= set(names(tmp_path / "out"))


def test_warnings_of_readers_are_told_by_file(model, tmp_path, monkeypatch):
    save_photo(tmp_path / "a.png")
    save_photo(tmp_path / "b.png")
    save_photo(tmp_path / "c.png")

    def embed(loaded, job, *rest):
        if job.path.name != "a.png":
            for text in ("gone.png is not there", "gone.png is not there", f"{job.path}: has no color"):
                warn_about_media(text)
            warnings.warn("of another kind", UserWarning, stacklevel=2)
        if job.path.name == "c.png":
            raise ValueError("c is broken")
        return original(loaded, job, *rest)

    original = media_jobs.embed_media
    monkeypatch.setattr(media_jobs, "embed_media", embed)
    with pytest.warns(UserWarning, match="of another kind"):
        answer = run_json("embed", tmp_path / "?.png", "--model", model, code=1)
    said = ["gone.png is not there", f"{tmp_path / 'b.png'}: has no color"]
    assert [row["warnings"] for row in answer["results"]] == [[], said]
    assert answer["failures"][0]["warnings"][0] == said[0]
    with pytest.warns(UserWarning):
        command = ["embed", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "e.safetensors"]
        result = run(*command, "--model", model, code=0)
    lines = result.stderr.splitlines()
    start = lines.index("1 of 2 read with warnings:")
    assert lines[start + 1 : start + 3] == [f"  {tmp_path / 'b.png'}: {said[0]}", f"  {said[1]}"]


def test_an_unexpected_error_ends_one_file_only(model, tmp_path, monkeypatch):
    save_photo(tmp_path / "a.png")
    save_photo(tmp_path / "b.png")

    def encode(loaded, job, *rest):
        return {}["frames"] if job.path.name == "a.png" else original(loaded, job, *rest)

    original = media_jobs.encode_media
    monkeypatch.setattr(media_jobs, "encode_media", encode)
    result = run("encode", tmp_path, "-o", tmp_path / "out", "--model", model, code=1)
    assert names(tmp_path / "out") == ["b.safetensors"] and "Traceback" not in result.stderr
    assert f"{tmp_path / 'a.png'}: unexpected KeyError: 'frames' (test_cli_folders.py, line " in result.stderr


@pytest.mark.parametrize("command", ["reconstruct", "encode", "embed"])
def test_many_files_keep_nothing_of_their_pixels(model, tmp_path, monkeypatch, command):
    """After 23 mixed files, a quarter of them damaged, no more tensors are alive than after 5."""
    media = tmp_path / "media"
    for index in range(6):
        save_photo(media / f"{index}a.png", seed=index)
        save_clip(media / f"{index}b.mp4", frames=5)
        frames = [Image.fromarray(np.full((20, 24, 3), 40 * shade, np.uint8)) for shade in range(3)]
        frames[0].save(media / f"{index}c.gif", save_all=True, append_images=frames[1:], duration=100)
        (media / f"{index}d.png").write_bytes((media / f"{index}a.png").read_bytes()[: 300 + 400 * (index % 2)])
    name = {"reconstruct": "reconstruct_media", "encode": "encode_media", "embed": "embed_media"}[command]
    original, done, alive = getattr(media_jobs, name), [], {}

    def work(loaded, job, *rest):
        if len(done) in (5, 23):
            gc.collect()
            tensors = (each for each in gc.get_objects() if type(each) is torch.Tensor)
            # Embeddings have 48 values.
            alive[len(done)] = sum(each.nbytes > 4 * 48 for each in tensors)
        done.append(job)
        return original(loaded, job, *rest)

    monkeypatch.setattr(media_jobs, name, work)
    output = [] if command == "embed" else ["-o", tmp_path / "out"]
    answer = run_json(command, media, *output, "--model", model, code=1)
    assert len(answer["results"]) == 18 and len(answer["failures"]) == 6
    assert alive[23] <= alive[5]
