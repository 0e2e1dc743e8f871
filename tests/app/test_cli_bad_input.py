"""The `atoken` command on bad input: the exit code, the culprit's name in the message, and nothing written."""

import json
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from atoken import AtokenModel
from atoken.conversion_atoken import to_original_state_dict
from atoken.processing.media_reading_atoken import read_video

from ..cli_samples import names, rewrite, run, run_json, save_clip, save_model, save_photo


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """Models, media and latents that are in order, for every test to copy."""
    root = tmp_path_factory.mktemp("source")
    for name, options in {
        "continuous": {},
        "discrete": {"discrete": True},
        "other": {"seed": 1},
        "mute": {"text": True},
        "headless": {"vision": {"vision_use_head": False}},
    }.items():
        save_model(root / "models" / name, **options)
    save_photo(root / "a.png")
    save_photo(root / "a.jpg")
    save_clip(root / "clip.mp4")
    for kind in ("continuous", "discrete"):
        run("encode", root / "a.png", "-o", root / kind, "--model", root / "models" / kind)
    torch.save(to_original_state_dict(AtokenModel.from_pretrained(root / "models" / "continuous")), root / "good.pt")
    return root


@pytest.fixture
def work(source, tmp_path, monkeypatch):
    """A copy of the media and latents as the current folder, and links to the models."""
    monkeypatch.chdir(tmp_path)
    Path("models").symlink_to(source / "models")
    for path in source.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    for kind in ("continuous", "discrete"):
        shutil.copy(source / kind / "a.safetensors", tmp_path / f"{kind}.safetensors")
    return tmp_path


def refuse(*arguments: object, culprit: str, code: int = 1, says: str = "") -> str:
    """Runs `atoken`, which must fail with the culprit on stderr, no traceback, and all files as they were."""

    def state() -> dict[str, bytes | None]:
        here = Path.cwd()
        return {name: (here / name).read_bytes() if (here / name).is_file() else None for name in names(here)}

    before = state()
    result = run(*arguments, code=code)
    assert culprit in result.stderr and says in result.stderr and "Traceback" not in result.stderr, result.stderr
    assert state() == before
    return result.stderr


def cut(name: str, keep: float) -> None:
    data = Path(name).read_bytes()
    Path(name).write_bytes(data[: int(len(data) * keep)])


def write(name: str, content: bytes | str) -> None:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)


def animate(name: str) -> None:
    """A GIF that states no durations, and so no frame rate."""
    frames = [Image.fromarray(np.full((8, 8, 3), shade, dtype=np.uint8)) for shade in (0, 99, 200)]
    frames[0].save(name, save_all=True, append_images=frames[1:], duration=0)


def copy_model(name: str = "continuous") -> None:
    shutil.copytree(Path("models") / name, "spoiled")


def change_weights(**changed: torch.Tensor | None) -> None:
    copy_model()
    state = load_file("spoiled/model.safetensors")
    for name, tensor in changed.items():
        state[name.replace("__", ".")] = tensor
    save_file(
        {name: value for name, value in state.items() if value is not None},
        "spoiled/model.safetensors",
        {"format": "pt"},
    )


# ------------------------------------------------------------------------------------------------------------ media

BAD_MEDIA = {
    "missing file": ("nothing.png", None, "no such file"),
    "missing folder": ("nothing/", None, "no such file"),
    "folder without media": ("empty", lambda: Path("empty").mkdir(), "holds no file"),
    "pattern without matches": ("nothing*.png", None, "matches no file"),
    "pattern of other files": ("*.pt", None, "matches no file"),
    "unsupported suffix": ("notes.txt", lambda: write("notes.txt", "hello"), ".txt"),
    "no suffix": ("notes", lambda: write("notes", "hello"), "suffix"),
    "address": ("https://example.org/a.png", None, "no such file"),
    "text called .png": ("text.png", lambda: write("text.png", "hello " * 50), "not an image"),
    "text called .mp4": ("text.mp4", lambda: write("text.mp4", "hello " * 50), "not a video"),
    "zero bytes, image": ("zero.jpg", lambda: write("zero.jpg", ""), "empty file"),
    "zero bytes, video": ("zero.mp4", lambda: write("zero.mp4", ""), "empty file"),
    "truncated PNG": ("a.png", lambda: cut("a.png", 0.6), "truncated"),
    "truncated JPEG": ("a.jpg", lambda: cut("a.jpg", 0.6), "truncated"),
    "truncated MP4": ("clip.mp4", lambda: cut("clip.mp4", 0.6), "truncated"),
    "damaged MP4": (
        "clip.mp4",
        lambda: write("clip.mp4", Path("clip.mp4").read_bytes()[:2000] + bytes(10**4)),
        "truncated or corrupt",
    ),
    "image called .mp4": ("photo.mp4", lambda: shutil.copy("a.jpg", "photo.mp4"), "still image"),
    "video called .png": ("film.png", lambda: shutil.copy("clip.mp4", "film.png"), "not an image"),
    "sound only": ("sound.mp4", lambda: write_sound("sound.mp4"), "no video stream"),
}


def write_sound(name: str) -> None:
    import av

    with av.open(name, "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize("command", ["reconstruct", "encode", "embed"])
@pytest.mark.parametrize("case", BAD_MEDIA)
def test_bad_media(work, command, case):
    name, prepare, says = BAD_MEDIA[case]
    if prepare is not None:
        prepare()
    output = "out/e.safetensors" if command == "embed" else "out"
    refuse(command, name, "--output", output, "--model", "models/continuous", culprit=name, says=says)


def test_failures_as_json(work):
    answer = run_json("encode", "nothing.png", "-o", "out", "--model", "models/continuous", code=1)
    assert answer["results"] == [] and answer["failures"][0]["file"] == "nothing.png"


def test_animation_without_durations(work):
    """Browsers show each of its frames for a tenth of a second."""
    animate("a.gif")
    (row,) = run_json("reconstruct", "a.gif", "-o", "out", "--model", "models/continuous")["results"]
    assert row["fps"] == 10 and read_video("out/a.mp4")[1].fps == 10
    run("reconstruct", "a.gif", "-o", "out", "--model", "models/continuous", "--fps", 5, "--overwrite")
    assert read_video("out/a.mp4")[1].fps == 5


# ---------------------------------------------------------------------------------------------------------- outputs


def test_output_is_a_file(work):
    write("out", "mine")
    for output in ("out", "out/deeper"):
        refuse("encode", "a.png", "-o", output, "--model", "models/continuous", culprit="out is a file", code=2)


def test_output_exists(work):
    Path("out").mkdir()
    write("out/a.safetensors", "mine")
    options = ["--model", "models/continuous"]
    refuse("encode", "a.png", "-o", "out", *options, culprit="out/a.safetensors", says="--overwrite")
    write("e.safetensors", "mine")
    refuse("embed", "a.png", "-o", "e.safetensors", *options, culprit="e.safetensors", says="--overwrite")


@pytest.mark.parametrize("command", ["reconstruct", "encode"])
def test_colliding_names(work, command):
    stderr = refuse(
        command, "a.png", "clip.mp4", "a.jpg", "-o", "out", "--model", "models/continuous", culprit="a.png", code=2
    )
    assert "a.jpg" in stderr


def test_input_would_be_overwritten(work):
    options = ["--model", "models/continuous", "--overwrite"]
    refuse("reconstruct", "a.png", "-o", ".", *options, culprit="a.png is one of the inputs", code=2)


def test_embedding_outputs(work):
    Path("folder.safetensors").mkdir()
    options = ["--model", "models/continuous"]
    refuse("embed", "a.png", *options, culprit="--output", code=2)
    refuse("embed", "a.png", "-o", "e.npy", *options, culprit="e.npy", code=2)
    refuse("embed", "a.png", "-o", "folder.safetensors", *options, culprit="folder.safetensors", code=2)


# ----------------------------------------------------------------------------------------------------------- options

BAD_OPTIONS = {
    "device": (["encode", "a.png", "-o", "out", "--device", "tpu"], "--device"),
    "dtype": (["encode", "a.png", "-o", "out", "--dtype", "int8"], "--dtype"),
    "latent dtype": (["encode", "a.png", "-o", "out", "--latent-dtype", "int4"], "--latent-dtype"),
    "no output": (["encode", "a.png"], "--output"),
    "no input": (["encode", "-o", "out"], "INPUT"),
    "codes of a continuous model": (["encode", "a.png", "-o", "out", "--codes"], "--codes"),
    "frame rate": (["reconstruct", "a.png", "-o", "out", "--fps", "0"], "--fps"),
    "unknown option": (["encode", "a.png", "-o", "out", "--quality", "3"], "--quality"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options(work, case):
    arguments, culprit = BAD_OPTIONS[case]
    refuse(*arguments, "--model", "models/continuous", culprit=culprit, code=2)


def test_unknown_command(work):
    refuse("compress", "a.png", culprit="compress", code=2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device(work):
    options = ["--model", "models/continuous", "--device", "cuda"]
    refuse("encode", "a.png", "-o", "out", *options, culprit="--device", code=2)


def test_text_without_tower_or_tokenizer(work):
    command = ["embed", "a.png", "-o", "e.safetensors", "--text", "a cat", "--model"]
    refuse(*command, "models/continuous", culprit="models/continuous", says="no text tower")
    refuse(*command, "models/mute", culprit="models/mute", says="no tokenizer")


def test_embeddings_without_a_head(work):
    refuse("embed", "a.png", "--json", "--model", "models/headless", culprit="models/headless", says="pooling head")


# ------------------------------------------------------------------------------------------------------------ models

BAD_MODELS = {
    "missing folder": ("./nothing", None),
    "not on the Hub": ("nobody/nothing", None),
    "empty name": ("", None),
    "a file": ("a.png", None),
    "folder without a configuration": ("spoiled", lambda: Path("spoiled").mkdir()),
    "folder without weights": ("spoiled", lambda: (copy_model(), Path("spoiled/model.safetensors").unlink())),
    "another kind of model": (
        "spoiled",
        lambda: (copy_model(), write("spoiled/config.json", json.dumps({"model_type": "bert"}))),
    ),
    "broken configuration": ("spoiled", lambda: (copy_model(), write("spoiled/config.json", "{"))),
    "impossible configuration": (
        "model",
        lambda: (
            copy_model(),
            write("spoiled/config.json", json.dumps({"model_type": "atoken", "latent_channels": "x"})),
        ),
    ),
    "truncated weights": ("spoiled", lambda: (copy_model(), cut("spoiled/model.safetensors", 0.7))),
    "text as weights": ("spoiled", lambda: (copy_model(), write("spoiled/model.safetensors", "hello " * 99))),
    "missing tensor": ("spoiled", lambda: change_weights(latent_proj__weight=None)),
    "tensor of another shape": ("spoiled", lambda: change_weights(latent_proj__weight=torch.zeros(3, 4))),
    "unknown tensor": ("spoiled", lambda: change_weights(surplus=torch.zeros(3))),
    "broken processor": ("spoiled", lambda: (copy_model(), write("spoiled/processor_config.json", "{"))),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_bad_models(work, case):
    name, prepare = BAD_MODELS[case]
    if prepare is not None:
        prepare()
    refuse("encode", "a.png", "-o", "out", "--model", name, culprit=name, says="error: ")


def test_no_embedded_checkpoint(work, monkeypatch):
    monkeypatch.setattr("atoken_headers.model_folders.CHECKPOINTS", work / "checkpoints")
    refuse("encode", "a.png", "-o", "out", culprit="atoken-tiny", says="--model")
    refuse("info", culprit="atoken-tiny", says="--model")
    refuse("demo", "-o", "demo", "--media", ".", culprit="atoken-tiny", says="--model")


def test_info_of_nothing(work):
    refuse("info", "nothing.safetensors", culprit="nothing.safetensors")
    refuse("info", "a.png", culprit="a.png", says="not a safetensors file")
    refuse("info", "a.png", "--model", "models/continuous", culprit="--model", code=2)


# ----------------------------------------------------------------------------------------------------------- latents


def change_header(name: str, **changed: object) -> None:
    """Changes the header of a safetensors file without any of the library's checks."""
    data = Path(name).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    for entry in header.values():
        entry.update({key: value for key, value in changed.items() if key in entry})
    text = json.dumps(header).encode()
    write(name, struct.pack("<Q", len(text)) + text + data[8 + length :])


def stored(name: str) -> torch.Tensor:
    (tensor,) = load_file(name).values()
    return tensor


def with_value(tensor: torch.Tensor, value: float) -> torch.Tensor:
    tensor = tensor.clone()
    tensor.view(-1)[5] = value
    return tensor


BAD_LATENTS = {
    "missing": (lambda f: Path(f).unlink(), "no such file"),
    "empty": (lambda f: write(f, ""), "not a safetensors file"),
    "text": (lambda f: write(f, "hello " * 99), "not a safetensors file"),
    "half-written": (lambda f: cut(f, 0.5), "truncated"),
    "last byte missing": (lambda f: write(f, Path(f).read_bytes()[:-1]), "truncated"),
    "only a header's length": (lambda f: cut(f, 0.004), "truncated"),
    "a folder": (lambda f: (Path(f).unlink(), Path(f).mkdir()), "holds no file"),
    "model weights": (lambda f: shutil.copy("models/continuous/model.safetensors", f), "not a file of atoken latents"),
    "no metadata": (lambda f: save_file({"latents": stored(f)}, f), "not a file of atoken latents"),
    "another format": (lambda f: rewrite(Path(f), format="vae-latents"), "not a file of atoken latents"),
    "another version": (lambda f: rewrite(Path(f), version="2"), "version"),
    "another kind": (lambda f: rewrite(Path(f), kind="sound"), "kind"),
    "no size": (lambda f: rewrite(Path(f), media_size=None), "media_size"),
    "size of two numbers": (lambda f: rewrite(Path(f), media_size="35,45"), "media_size"),
    "size in letters": (lambda f: rewrite(Path(f), media_size="a,b,c"), "media_size"),
    "negative size": (lambda f: rewrite(Path(f), media_size="1,-35,45"), "media_size"),
    "another size": (lambda f: rewrite(Path(f), media_size="1,35,99"), "must have shape"),
    "frames in an image": (lambda f: rewrite(Path(f), media_size="4,35,45"), "one frame"),
    "another patch size": (lambda f: rewrite(Path(f), patch_size="4,15,15"), "patch_size"),
    "another number of channels": (lambda f: rewrite(Path(f), latent_channels="16"), "must have shape"),
    "another name of the tensor": (lambda f: rewrite(Path(f), {"z": stored(f)}), "expected one tensor"),
    "a second tensor": (lambda f: rewrite(Path(f), {**load_file(f), "z": stored(f).clone()}), "expected one tensor"),
    "wrong rank": (lambda f: rewrite(Path(f), {"latents": stored(f)[0].clone()}), "must have shape"),
    "integers as latents": (lambda f: rewrite(Path(f), {"latents": stored(f).int()}), "stored as"),
    "doubles as latents": (lambda f: rewrite(Path(f), {"latents": stored(f).double()}), "stored as"),
    "NaN": (lambda f: rewrite(Path(f), {"latents": with_value(stored(f), float("nan"))}), "NaN"),
    "infinity": (lambda f: rewrite(Path(f), {"latents": with_value(stored(f), float("inf"))}), "NaN or infinite"),
    "codes without a quantizer": (lambda f: rewrite(Path(f), content="codes"), "quantizer"),
    "broken quantizer": (lambda f: rewrite(Path(f), quantizer="fsq"), "quantizer"),
    "invented quantizer": (
        lambda f: rewrite(Path(f), quantizer='{"num_codebooks": 2, "codebook_dim": 6, "levels": 4}'),
        "quantizer",
    ),
    "broken frame rate": (lambda f: rewrite(Path(f), fps="fast"), "fps"),
    "missing model": (lambda f: rewrite(Path(f), model="/nothing/here"), "/nothing/here"),
    "another model": (lambda f: rewrite(Path(f), model=str(Path("models/other").resolve())), "fingerprint"),
    "impossible offsets": (lambda f: change_header(f, data_offsets=[0, 10**9]), "not a safetensors file"),
}


@pytest.mark.parametrize("case", BAD_LATENTS)
def test_bad_latents(work, case):
    spoil, says = BAD_LATENTS[case]
    spoil("continuous.safetensors")
    refuse("decode", "continuous.safetensors", "-o", "out", culprit="continuous.safetensors", says=says)


BAD_CODES = {
    "too large": (lambda codes: with_value(codes, 4096), "[0, 4096)"),
    "negative": (lambda codes: with_value(codes, -1), "[0, 4096)"),
    "floating point": (lambda codes: codes.float(), "stored as"),
    "a codebook too many": (lambda codes: torch.cat([codes, codes[..., :1]], -1), "must have shape"),
}


@pytest.mark.parametrize("case", BAD_CODES)
def test_bad_codes(work, case):
    spoil, says = BAD_CODES[case]
    rewrite(work / "discrete.safetensors", {"codes": spoil(stored("discrete.safetensors"))})
    refuse("decode", "discrete.safetensors", "-o", "out", culprit="discrete.safetensors", says=says)


def test_latents_of_another_model_name_both(work):
    command = ["decode", "continuous.safetensors", "-o", "out", "--model", "models/other"]
    stderr = refuse(*command, culprit="continuous.safetensors", says="models/other")
    assert "models/continuous" in stderr


def test_half_a_video_leaves_nothing(work):
    run("encode", "clip.mp4", "-o", "latents", "--model", "models/continuous")
    file = work / "latents" / "clip.safetensors"
    latents = stored(str(file))
    latents[-1] = float("nan")
    rewrite(file, {"latents": latents})
    refuse("decode", "latents", "-o", "out", culprit="clip.safetensors", says="NaN")


def test_decode_of_media(work):
    refuse("decode", "a.png", "-o", "out", culprit="a.png", says=".safetensors")


# ----------------------------------------------------------------------------------------------------------- convert


class Intruder:
    def __reduce__(self):
        return (Path("intruder").touch, ())


def released(**changed: torch.Tensor | None) -> None:
    state = torch.load("good.pt", weights_only=True)
    for name, tensor in changed.items():
        state[name.replace("__", ".")] = tensor
    torch.save({name: value for name, value in state.items() if value is not None}, "file.pt")


BAD_RELEASES = {
    "missing": (None, "file.pt"),
    "text": (lambda: write("file.pt", "hello"), "file.pt"),
    "empty": (lambda: write("file.pt", ""), "file.pt"),
    "truncated": (lambda: (released(), cut("file.pt", 0.5)), "file.pt"),
    "pickle with code": (lambda: write("file.pt", pickle.dumps(Intruder())), "file.pt"),
    "archive with code": (lambda: torch.save(Intruder(), "file.pt"), "file.pt"),
    "no tensors": (lambda: torch.save({"a": 1}, "file.pt"), "file.pt"),
    "a tensor": (lambda: torch.save(torch.zeros(3), "file.pt"), "file.pt"),
    "another model": (lambda: torch.save({"a": torch.zeros(3)}, "file.pt"), "encoder.input_layer.weight"),
    "missing key": (lambda: released(encoder__post_layernorm__bias=None), "encoder.post_layernorm.bias"),
    "surplus key": (lambda: released(encoder__surplus=torch.zeros(3)), "encoder.surplus"),
    "wrong shape": (lambda: released(encoder__post_layernorm__bias=torch.zeros(3)), "encoder.post_layernorm.bias"),
}


@pytest.mark.parametrize("case", BAD_RELEASES)
def test_bad_releases(work, case):
    prepare, culprit = BAD_RELEASES[case]
    if prepare is not None:
        prepare()
    refuse("convert", "file.pt", "deep/out", "--encoder-num-heads", 2, culprit=culprit, says="error: ")
    assert not Path("intruder").exists()


def test_convert_options(work):
    refuse("convert", "good.pt", "out", culprit="encoder_num_heads")
    refuse("convert", "good.pt", "out", "--encoder-num-heads", 5, culprit="encoder_num_heads")
    refuse("convert", "good.pt", "out", "--encoder-num-heads", 0, culprit="--encoder-num-heads", code=2)
    refuse("convert", "good.pt", "out", "--quantizer", "vq", culprit="--quantizer", code=2)
    options = ["--encoder-num-heads", 2]
    refuse("convert", "good.pt", "out", *options, "--text-tower", "./nothing", culprit="./nothing")
    refuse("convert", "good.pt", "out", *options, "--text-tower", "models/continuous", culprit="models/continuous")


def test_convert_into_what_exists(work):
    options = ["--encoder-num-heads", 2]
    refuse("convert", "good.pt", "a.png", *options, culprit="a.png is a file", code=2)
    Path("mine").mkdir()
    write("mine/thesis.tex", "years of work")
    refuse("convert", "good.pt", "mine", *options, culprit="mine", says="--overwrite")
    refuse("convert", "good.pt", "mine", *options, "--overwrite", culprit="mine", says="no AToken model folder")
    copy_model()
    write("file.pt", "hello")
    refuse("convert", "file.pt", "spoiled", *options, "--overwrite", culprit="file.pt")


# -------------------------------------------------------------------------------------------------------------- demo


def test_demo_into_what_exists(work):
    Path("mine").mkdir()
    write("mine/index.html", "my own page")
    command = ["demo", "--media", "a.png", "--model", "models/continuous"]
    refuse(*command, "-o", "mine", culprit="mine", says="--overwrite")
    refuse(*command, "-o", "a.png", culprit="a.png is a file", code=2)
    refuse(*command, "-o", ".", "--overwrite", culprit="current folder", code=2)


def test_demo_without_media(work):
    Path("empty").mkdir()
    command = ["demo", "-o", "demo", "--model", "models/continuous", "--media"]
    refuse(*command, "empty", culprit="empty")
    refuse(*command, "nothing", culprit="nothing")
    Path("media").mkdir()
    write("media/bad.png", "hello")
    refuse(*command, "media", culprit="bad.png")
