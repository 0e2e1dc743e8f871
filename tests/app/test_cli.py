"""The `atoken` command on good input: what it writes, prints and returns."""

import math
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from atoken import AtokenModel
from atoken.conversion_atoken import to_original_state_dict
from atoken.processing import AtokenProcessor
from atoken.processing.media_reading_atoken import open_image, read_video
from atoken.tokenizing.loading import decoder_fingerprint
from atoken.tokenizing.quality import Quality
from atoken_app import demo_command

from ..cli_samples import metadata_of, names, run, run_json, save_clip, save_model, save_photo
from ..processing.samples import photo, tiny_tokenizer

MEDIA = ["a.png", "clip.mp4", "deep/b.jpg"]


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folders of tiny models: continuous, discrete, and one that takes text."""
    root = tmp_path_factory.mktemp("models")
    save_model(root / "continuous")
    save_model(root / "discrete", discrete=True)
    save_model(root / "text", text=True, tokenizer=tiny_tokenizer())
    return root


@pytest.fixture
def media(tmp_path):
    """A folder with two photos, one of them in a subfolder, a clip, and files that are passed over."""
    folder = tmp_path / "media"
    save_photo(folder / "a.png")
    save_clip(folder / "clip.mp4")
    save_photo(folder / "deep" / "b.jpg", 40, 33)
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_text("no picture")
    return folder


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_reconstruct_gives_back_sizes_and_numbers(models, media, tmp_path, kind):
    out = tmp_path / "out"
    answer = run_json("reconstruct", media, "--output", out, "--model", models / kind)
    assert names(out) == ["a.png", "clip.mp4", "deep", "deep/b.png"] and answer["failures"] == []
    assert [result["media_size"] for result in answer["results"]] == [[1, 35, 45], [18, 32, 48], [1, 40, 33]]
    assert [result["tokens"] for result in answer["results"]] == [3 * 3, 5 * 2 * 3, 3 * 3]
    with Image.open(out / "a.png") as image:
        assert image.size == (45, 35)
    frames, metadata = read_video(out / "clip.mp4")
    assert len(frames) == 18 and metadata.fps == pytest.approx(12.5)

    image = answer["results"][0]
    original, written = (open_image(folder / "a.png").permute(1, 2, 0).numpy() for folder in (media, out))
    error = np.square(original.astype(float) - written).mean()
    assert image["psnr"] == pytest.approx(10 * math.log10(255**2 / error))
    bits = 12 * 16 if kind == "continuous" else 2 * 12
    assert image["bits_per_pixel"] == pytest.approx(9 * bits / (35 * 45))
    assert image["latent_dtype"] == ("bfloat16" if kind == "continuous" else "codes")
    assert all(result["seconds"] > 0 for result in answer["results"])


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_reconstruct_is_the_model_applied_to_the_whole(models, media, tmp_path, kind):
    run("reconstruct", media, "--output", tmp_path / "out", "--model", models / kind, "--latent-dtype", "float32")
    model, processor = AtokenModel.from_pretrained(models / kind).eval(), AtokenProcessor()
    inputs = processor(images=[media / "a.png"])
    tokens = inputs.coords, inputs.cu_seqlens
    with torch.no_grad():
        decoded = model.decode(model.encode(inputs.pixel_values, *tokens).latents, *tokens).pixel_values
    (expected,) = processor.post_process(decoded, *tokens, inputs.media_sizes, output_type="np")
    written = open_image(tmp_path / "out" / "a.png").permute(1, 2, 0).numpy()
    assert np.abs(expected.astype(int) - written).max() <= 1


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_encode_and_decode_are_reconstruct(models, media, tmp_path, kind):
    run("reconstruct", media, "--output", tmp_path / "whole", "--model", models / kind)
    encoded = run_json("encode", media, "--output", tmp_path / "latents", "--model", models / kind)
    # Nothing but the files: the model is found through them.
    decoded = run_json("decode", tmp_path / "latents", "--output", tmp_path / "back")
    assert names(tmp_path / "back") == names(tmp_path / "whole") and decoded["failures"] == []
    for name in ("a.png", "clip.mp4", "deep/b.png"):
        assert (tmp_path / "back" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    for result in encoded["results"]:
        assert result["bytes"] < 5000 and result["content"] == ("latents" if kind == "continuous" else "codes")


def test_latents_file_says_all(models, media, tmp_path):
    run("encode", media / "clip.mp4", media / "a.png", "--output", tmp_path / "out", "--model", models / "discrete")
    (codes,) = load_file(tmp_path / "out" / "clip.safetensors").values()
    assert codes.dtype == torch.int16 and codes.shape == (5, 2, 3, 2)
    metadata = metadata_of(tmp_path / "out" / "clip.safetensors")
    model = AtokenModel.from_pretrained(models / "discrete")
    assert metadata == {
        "format": "atoken-latents",
        "version": "1",
        "kind": "video",
        "media_size": "18,32,48",
        "patch_size": "4,16,16",
        "latent_channels": "12",
        "quantizer": '{"num_codebooks": 2, "codebook_dim": 6, "levels": 4}',
        "content": "codes",
        "model": str(models / "discrete"),
        "model_type": "atoken",
        "fingerprint": decoder_fingerprint(model),
        "fps": "12.5",
    }
    assert "fps" not in metadata_of(tmp_path / "out" / "a.safetensors")
    inputs = AtokenProcessor()(videos=[media / "clip.mp4"])
    with torch.no_grad():
        expected = model.eval().encode(inputs.pixel_values, inputs.coords, inputs.cu_seqlens).codes
    assert (codes.flatten(0, 2) == expected).float().mean() > 0.99


def test_latents_on_request(models, media, tmp_path):
    options = ["--model", models / "discrete", "--latents", "--latent-dtype", "float32"]
    run("encode", media / "a.png", "--output", tmp_path / "out", *options)
    (latents,) = load_file(tmp_path / "out" / "a.safetensors").values()
    assert latents.dtype == torch.float32 and latents.shape == (1, 3, 3, 12)
    run("encode", media / "a.png", "--output", tmp_path / "codes", "--model", models / "discrete")
    for folder in ("out", "codes"):
        run("decode", tmp_path / folder, "--output", tmp_path / f"{folder}-back")
    assert (tmp_path / "out-back/a.png").read_bytes() == (tmp_path / "codes-back/a.png").read_bytes()


def test_files_of_several_models_decode_together(models, media, tmp_path):
    run("encode", media / "a.png", "--output", tmp_path / "out", "--model", models / "discrete")
    run("encode", media / "deep", "--output", tmp_path / "out", "--model", models / "continuous")
    answer = run_json("decode", tmp_path / "out", "--output", tmp_path / "back")
    assert [result["model"] for result in answer["results"]] == [str(models / "discrete"), str(models / "continuous")]


def test_moved_models_and_other_dtypes_still_fit(models, media, tmp_path):
    save_model(tmp_path / "here")
    run("encode", media / "a.png", "--output", tmp_path / "out", "--model", tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    options = ["--model", tmp_path / "there", "--dtype", "bfloat16"]
    run("decode", tmp_path / "out", "--output", tmp_path / "back", *options)
    assert names(tmp_path / "back") == ["a.png"]


def test_embedded_checkpoints_go_by_name(models, media, tmp_path, monkeypatch):
    monkeypatch.setattr("atoken_headers.model_folders.CHECKPOINTS", models)
    save_model(models / "atoken-tiny")
    run("encode", media / "a.png", "--output", tmp_path / "out")
    assert metadata_of(tmp_path / "out" / "a.safetensors")["model"] == "atoken-tiny"
    run("decode", tmp_path / "out", "--output", tmp_path / "back")
    assert run_json("info")["model"] == "atoken-tiny"


def test_globs_and_files_found_twice(models, media, tmp_path):
    inputs = [media / "*.png", media / "a.png", media / "**" / "*.jpg", media / "clip*"]
    answer = run_json("reconstruct", *inputs, "--output", tmp_path / "out", "--model", models / "continuous")
    assert len(answer["results"]) == 3 and names(tmp_path / "out") == ["a.png", "b.png", "clip.mp4"]


def test_animations_are_videos(models, tmp_path):
    frames = [Image.fromarray(photo(20, 24, seed)) for seed in range(6)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    frames[0].save(tmp_path / "b.gif")
    answer = run_json("encode", tmp_path, "--output", tmp_path / "out", "--model", models / "continuous")
    assert [(result["kind"], result["fps"]) for result in answer["results"]] == [("video", 10.0), ("image", None)]


def test_names_with_dots_and_brackets_survive(models, tmp_path):
    save_photo(tmp_path / "in" / "v1.5 [x].png")
    run("reconstruct", tmp_path / "in", "--output", tmp_path / "out", "--model", models / "continuous")
    assert names(tmp_path / "out") == ["v1.5 [x].png"]


def test_overwrite(models, media, tmp_path):
    command = ["reconstruct", media / "a.png", "--output", tmp_path / "out"]
    run(*command, "--model", models / "continuous")
    before = (tmp_path / "out" / "a.png").read_bytes()
    run(*command, "--model", models / "discrete", code=1)
    assert (tmp_path / "out" / "a.png").read_bytes() == before
    run(*command, "--model", models / "discrete", "--overwrite")
    assert (tmp_path / "out" / "a.png").read_bytes() != before


def test_a_bad_file_does_not_stop_the_others(models, media, tmp_path):
    (media / "a.jpg").write_text("not a picture")
    (media / "z.png").write_bytes((media / "a.png").read_bytes()[:-300])
    command = ["encode", media / "*.*", "--output", tmp_path / "out", "--model", models / "continuous"]
    (media / "a.png").rename(media / "c.png")
    answer = run_json(*command, code=1)
    assert names(tmp_path / "out") == ["c.safetensors", "clip.safetensors"]
    assert [failure["file"] for failure in answer["failures"]] == [str(media / "a.jpg"), str(media / "z.png")]
    result = run(*command, "--overwrite", code=1)
    assert "2 of 4 failed" in result.stderr and "truncated" in result.stderr


def test_embed(models, media, tmp_path):
    answer = run_json("embed", media, "--model", models / "continuous")
    vectors = np.array([result["embedding"] for result in answer["results"]])
    assert vectors.shape == (3, 48) and np.allclose(np.linalg.norm(vectors, axis=1), 1)
    run("embed", media, "--model", models / "continuous", "--output", tmp_path / "deep" / "e.safetensors")
    stored = load_file(tmp_path / "deep" / "e.safetensors")
    assert stored.keys() == {"embeddings"} and np.allclose(stored["embeddings"], vectors, atol=1e-6)


def test_embed_with_text(models, media, tmp_path):
    options = ["--text", "a photo of a dog", "--text", "a cat", "--output", tmp_path / "e.safetensors"]
    result = run("embed", media, "--model", models / "text", *options)
    assert "a photo of a dog" in result.stdout
    stored = load_file(tmp_path / "e.safetensors")
    expected = stored["embeddings"] @ stored["text_embeddings"].T
    assert stored["similarities"].shape == (3, 2) and torch.allclose(stored["similarities"], expected)
    processor, model = AtokenProcessor.from_pretrained(models / "text"), AtokenModel.from_pretrained(models / "text")
    inputs = processor(images=[media / "a.png"], text=["a cat"], text_kwargs={"max_length": 16})
    with torch.no_grad():
        output = model.eval()(**{name: value for name, value in inputs.items() if name != "media_sizes"})
    assert (output.image_embeds @ output.text_embeds.T).item() == pytest.approx(expected[0, 1].item(), abs=1e-5)


def test_info_of_models_and_files(models, media, tmp_path):
    facts = run_json("info", "--model", models / "discrete")
    assert facts["tokens"]["bits_per_token"] == 24 and facts["dtype_on_disk"] == ["F32"]
    assert facts["parameters"]["total"] == AtokenModel.from_pretrained(models / "discrete").num_parameters()
    assert facts["text_tower"] is False and "model.safetensors" in facts["files"]
    assert run_json("info", models / "text")["text_tower"] is True
    assert "latent channels" in run("info", "--model", models / "continuous").stdout
    run("encode", media / "clip.mp4", "--output", tmp_path / "out", "--model", models / "discrete")
    facts = run_json("info", tmp_path / "out" / "clip.safetensors")
    assert (facts["kind"], facts["media_size"], facts["tokens"]) == ("video", [18, 32, 48], 30)
    assert "18 x 32 x 48" in run("info", tmp_path / "out" / "clip.safetensors").stdout


def test_convert_then_use(models, media, tmp_path):
    state = to_original_state_dict(AtokenModel.from_pretrained(models / "discrete"))
    torch.save(state, tmp_path / "released.pt")
    out = tmp_path / "deep" / "converted"
    options = ["--encoder-num-heads", 2, "--dtype", "bfloat16"]
    result = run("convert", tmp_path / "released.pt", out, *options)
    assert "research only" in result.stderr and names(tmp_path / "deep") == [
        "converted",
        *(f"converted/{name}" for name in ("config.json", "model.safetensors", "processor_config.json")),
    ]
    assert run_json("info", out)["dtype_on_disk"] == ["BF16"]
    run("encode", media / "a.png", "--output", tmp_path / "out", "--model", out)
    # Another one in its place.
    run("convert", tmp_path / "released.pt", out, *options, "--overwrite")
    run("decode", tmp_path / "out", "--output", tmp_path / "back")


def test_convert_with_text_tower(models, media, tmp_path):
    whole = AtokenModel.from_pretrained(models / "text")
    whole.text_model.save_pretrained(tmp_path / "tower")
    tiny_tokenizer().save_pretrained(tmp_path / "tower")
    torch.save(to_original_state_dict(whole), tmp_path / "released.pt")
    out = tmp_path / "converted"
    run("convert", tmp_path / "released.pt", out, "--encoder-num-heads", 2, "--text-tower", tmp_path / "tower")
    one, other = (run_json("embed", media / "a.png", "--text", "a cat", "--model", m) for m in (models / "text", out))
    similarities = [answer["results"][0]["similarities"]["a cat"] for answer in (one, other)]
    assert similarities[0] == pytest.approx(similarities[1], abs=1e-5)


def test_demo(models, media, tmp_path, monkeypatch):
    monkeypatch.setattr(demo_command, "EXAMPLE_MEDIA", media)
    (media / "LICENSES.md").write_text(
        "| file | author | license |\n|---|---|---|\n| `a.png` | A <b> | [CC0](https://example.org/cc0) |\n"
    )
    command = ["demo", "--output", tmp_path / "demo", "--model", models / "continuous", "--model", models / "discrete"]
    result = run(*command)
    assert "bits/pixel" in result.stdout and "index.html" in result.stderr
    page = (tmp_path / "demo" / "index.html").read_text()
    assert page.count("<video") == 3 and page.count("<img") == 6
    assert 'A &lt;b&gt; · <a href="https://example.org/cc0">CC0</a>' in page
    for name in names(tmp_path / "demo"):
        assert name == "index.html" or name in page
    answer = run_json(*command)
    assert len(answer["results"]) == 6 and {"psnr", "ssim", "tokens", "bits_per_pixel"} <= answer["results"][0].keys()
    frames, _ = read_video(tmp_path / "demo" / "clip-mp4.original.mp4")
    assert len(frames) == 18


def test_psnr_and_ssim_are_the_usual_ones():
    metrics = pytest.importorskip("skimage.metrics")
    pytest.importorskip("torchmetrics")
    original, noise = np.stack([photo(40, 50), photo(40, 50, 1)]), photo(40, 50, 2)
    blurred = (0.8 * original + 0.2 * noise).round().astype(np.uint8)
    quality = Quality()
    for index in range(2):
        quality.add(original[index : index + 1], blurred[index : index + 1])
    assert quality.psnr == pytest.approx(metrics.peak_signal_noise_ratio(original, blurred))
    options = {"channel_axis": 2, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    pairs = zip(original, blurred, strict=True)
    expected = np.mean([metrics.structural_similarity(*pair, data_range=255, **options) for pair in pairs])
    assert quality.ssim == pytest.approx(expected, abs=1e-3)


def test_identical_pixels_and_tiny_ones():
    quality = Quality()
    quality.add(photo(5, 5)[None], photo(5, 5)[None])
    assert quality.psnr is None and quality.ssim is None


def test_module_and_help():
    result = subprocess.run([sys.executable, "-m", "atoken_app.main", "--help"], capture_output=True, text=True)
    assert result.returncode == 0 and "reconstruct" in result.stdout
    for command in ("reconstruct", "encode", "decode", "tokenize", "embed", "info", "convert", "demo"):
        assert "--json" in run(command, "--help").stdout


IMPORTED = """
import sys
from atoken_app.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = [name for name in ("torch", "transformers", "diffusers", "atoken") if name in sys.modules]
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "command", ["reconstruct --help", "tokenize --help", "evaluate --help", "render --help", "info", "info FILE"]
)
def test_help_and_info_import_no_torch(command, models, media, tmp_path):
    if "FILE" in command:
        run("encode", media / "a.png", "--output", tmp_path, "--model", models / "continuous")
        command = command.replace("FILE", str(tmp_path / "a.safetensors"))
    process = [sys.executable, "-c", IMPORTED, *command.split()]
    result = subprocess.run(process, capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout, result.stderr


def test_interrupt(models, media, tmp_path, monkeypatch):
    def interrupt(file, mode="r", **options):
        if mode == "w":
            Path(file).write_bytes(b"half a file")
            raise KeyboardInterrupt
        return open_container(file, mode, **options)

    open_container = av.open
    monkeypatch.setattr(av, "open", interrupt)
    options = ["--output", tmp_path / "deep" / "out", "--model", models / "continuous"]
    result = run("reconstruct", media / "clip.mp4", *options, code=130)
    assert "Traceback" not in result.stderr and not (tmp_path / "deep").exists()
