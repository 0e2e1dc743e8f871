"""Corpora of latents of autoencoders of diffusers, compared with the autoencoders' own calls."""

import json
import shutil
from dataclasses import replace

import huggingface_hub
import pytest
import torch
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderKLWan, AutoencoderTiny
from torchvision.transforms.v2 import functional as tvF

from atoken.miniature.world import draw
from atoken.tokenizing.autoencoders import load_autoencoder
from atoken.tokenizing.corpus.opening import open_source
from atoken.tokenizing.corpus.options import TokenizeOptions
from atoken.tokenizing.corpus.plan import load_planned_model, make_plan, read_plan
from atoken.tokenizing.corpus.reading import AtokenTokens
from atoken.tokenizing.corpus.verification import Verification, compare_with_originals, verify
from atoken.training.recipes.tiny_text_to_media.corpora import write_scenes
from atoken.training.recipes.tiny_text_to_media.worlds import learned_world

from ...autoencoder_samples import save_autoencoder, save_video_autoencoder
from .samples import complete, name_of, pixels_of

OPTIONS = {"size": 32, "flip": True, "keep": {"label": "label"}, "unit_rows": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny AutoencoderKL that makes one latent of 4 x 4 pixels."""
    return save_autoencoder(tmp_path_factory.mktemp("autoencoder") / "vae")


@pytest.fixture(scope="module")
def corpus(folder, pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("corpora") / "out"
    return complete(pictures, out, load_autoencoder(str(folder), "cpu", "float32"), **OPTIONS)


def test_latents_are_the_mode_of_the_posterior(folder, corpus):
    model = AutoencoderKL.from_pretrained(folder).eval()
    rows = AtokenTokens(corpus.folder, normalize=False)
    assert len(rows) == 20
    for place in (0, 1, 13):
        row = rows[place]
        index = next(index for index in range(10) if row["key"].startswith(name_of(index)))
        pixels = torch.from_numpy(pixels_of(index).copy()).permute(2, 0, 1)
        side = 32 / min(pixels.shape[1:])
        size = [round(length * side) for length in pixels.shape[1:]]
        resized = tvF.resize(pixels, size, tvF.InterpolationMode.BICUBIC, antialias=True)
        top, left = ((length - 32) // 2 for length in resized.shape[1:])
        picture = resized[:, top : top + 32, left : left + 32]
        picture = picture.flip(-1) if rows.row(place)["flipped"] else picture
        with torch.no_grad():
            expected = model.encode(picture[None].float() / 127.5 - 1).latent_dist.mode()[0]
        assert row["latents"].shape == (4, 8, 8)
        # bfloat16 keeps 8 bits.
        assert (row["latents"] - expected).abs().max() <= 2**-8 * expected.abs().max()


def test_statistics_are_those_of_all_latents(corpus):
    rows = AtokenTokens(corpus.folder, normalize=False)
    values = torch.stack([rows[place]["latents"] for place in range(len(rows))]).double().movedim(1, 0).flatten(1)
    facts = json.loads((corpus.folder / "statistics.json").read_text())
    assert torch.allclose(torch.tensor(facts["mean"]).double(), values.mean(1), atol=1e-6)
    assert torch.allclose(torch.tensor(facts["std"]).double(), values.std(1), rtol=1e-2)


def test_a_corpus_opens_its_autoencoder_again_and_is_verified(corpus):
    plan = read_plan(corpus.folder)
    loaded, found = load_planned_model(plan, "cpu"), verify(plan)
    compare_with_originals(plan, loaded, plan.open_source(), 2, found)
    assert found.problems == [] and isinstance(found, Verification)
    assert all(check.difference < 0.01 and check.psnr > 0 for check in found.decoded)


def test_another_autoencoder_is_noticed(folder, pictures, tmp_path):
    copy = tmp_path / "vae"
    shutil.copytree(folder, copy)
    plan = make_plan(str(pictures), tmp_path / "out", TokenizeOptions(**OPTIONS), load_autoencoder(str(copy), "cpu"))
    shutil.rmtree(copy)
    save_autoencoder(copy, seed=1)
    with pytest.raises(ValueError, match="model must be that of the plan"):
        load_planned_model(plan, "cpu")


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"size": None}, "size must be given for .*, a multiple of its 4 pixels, got None"),
        ({"size": 30}, "size must be given for .*, a multiple of its 4 pixels, got 30"),
        ({"content": "codes"}, "content must be latents"),
        ({"moments": True}, "moments must be False"),
        ({"kind": "video", "flip": False}, "kind must be image"),
    ],
)
def test_what_it_cannot_give_is_refused(folder, pictures, tmp_path, changed, message):
    options = replace(TokenizeOptions(**OPTIONS), **changed)
    opened = open_source(str(pictures), TokenizeOptions(**OPTIONS))
    with pytest.raises(ValueError, match=message):
        make_plan(str(pictures), tmp_path / "out", options, load_autoencoder(str(folder), "cpu"), opened)
    assert not (tmp_path / "out").exists()


def test_deep_compression_autoencoders_have_no_posterior(tmp_path):
    torch.manual_seed(0)
    sizes = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
    layers = {"encoder_layers_per_block": (1, 1), "decoder_layers_per_block": (1, 1)}
    kinds = {f"{part}_block_types": ("ResBlock", "ResBlock") for part in ("encoder", "decoder")}
    scales = {f"{part}_qkv_multiscales": ((), ()) for part in ("encoder", "decoder")}
    model = AutoencoderDC(latent_channels=4, attention_head_dim=8, **sizes, **layers, **kinds, **scales).eval()
    model.save_pretrained(tmp_path / "dc")
    loaded = load_autoencoder(str(tmp_path / "dc"), "cpu")
    assert (loaded.channels, loaded.compression) == (4, 2)
    pixels = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded.encode(pixels[:, :, None])[:, :, 0], model.encode(pixels).latent)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_dtype_is_that_of_the_files(folder, tmp_path, dtype):
    model, place = AutoencoderKL.from_pretrained(folder, dtype=dtype), tmp_path / "vae"
    model.save_pretrained(place)
    kept, wide = load_autoencoder(str(place), "cpu"), load_autoencoder(str(place), "cpu", "float32")
    assert kept.model.dtype == dtype and wide.model.dtype == torch.float32
    assert kept.fingerprint == wide.fingerprint
    for name, value in model.state_dict().items():
        assert torch.equal(kept.model.state_dict()[name], value)


def test_the_dtype_of_several_files_and_of_several_dtypes(folder, tmp_path):
    model = AutoencoderKL.from_pretrained(folder, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "vae", max_shard_size="10KB")
    assert len(list((tmp_path / "vae").glob("*.safetensors"))) > 1
    assert load_autoencoder(str(tmp_path / "vae"), "cpu").model.dtype == torch.bfloat16
    model.decoder.conv_out.float()
    model.save_pretrained(tmp_path / "mixed")
    assert load_autoencoder(str(tmp_path / "mixed"), "cpu").model.dtype == torch.float32


def test_the_dtype_of_a_model_of_the_hub(folder, tmp_path, monkeypatch):
    """As it lies in the cache once it was downloaded."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    place = repository / "snapshots" / ("0" * 40) / "vae"
    AutoencoderKL.from_pretrained(folder, dtype=torch.float16).save_pretrained(place)
    loaded = load_autoencoder("owner/name/vae", "cpu")
    assert loaded.model.dtype == torch.float16 and loaded.name == "owner/name/vae"


def test_other_classes_and_places_are_refused(tmp_path):
    AutoencoderTiny().save_pretrained(tmp_path / "tiny")
    with pytest.raises(
        ValueError, match="one of AutoencoderKL, AutoencoderDC, AutoencoderKLWan, .*, got Autoenc.*Tiny"
    ):
        load_autoencoder(str(tmp_path / "tiny"), "cpu")
    (tmp_path / "empty").mkdir()
    for name in (str(tmp_path / "empty"), "nothing", "nobody/nothing"):
        with pytest.raises(FileNotFoundError, match="autoencoder must be a folder"):
            load_autoencoder(name, "cpu")


@pytest.fixture(scope="module")
def of_videos(tmp_path_factory):
    """A tiny AutoencoderKLWan, and a parquet file of three clips of 16 frames."""
    root = tmp_path_factory.mktemp("videos")
    write_scenes(root / "clips.parquet", "video", 3)
    return save_video_autoencoder(root / "wan"), root / "clips.parquet"


VIDEOS = {"kind": "video", "size": 32, "frames": 9, "keep": {"caption": "caption"}}


def test_latents_of_videos_are_the_mode_of_the_posterior(of_videos, tmp_path):
    folder, clips = of_videos
    loaded = load_autoencoder(str(folder), "cpu", "float32")
    assert (loaded.channels, loaded.compression, loaded.frames, loaded.takes_videos) == (4, 4, 4, True)
    plan = complete(clips, tmp_path / "out", loaded, **VIDEOS)
    rows, model = AtokenTokens(plan.folder, normalize=False), AutoencoderKLWan.from_pretrained(folder).eval()
    for index in range(3):
        scene, caption = learned_world("video", 3).describe(index)
        frames = draw(scene, 64, 16)[3:12]  # the middle 9 of 16
        resized = tvF.resize(frames, [32, 32], tvF.InterpolationMode.BICUBIC, antialias=True)
        with torch.no_grad():
            pixels = resized.transpose(0, 1)[None].float() / 127.5 - 1
            expected = model.encode(pixels).latent_dist.mode()[0]
        assert rows[index]["latents"].shape == (4, 3, 8, 8) and rows[index]["caption"] == caption
        assert (rows[index]["latents"] - expected).abs().max() <= 2**-8 * expected.abs().max()
    found = verify(plan)
    compare_with_originals(plan, loaded, plan.open_source(), 2, found)
    assert found.problems == [] and all(check.difference < 0.01 and check.psnr > 0 for check in found.decoded)


def test_pictures_of_a_model_of_videos_are_clips_of_one_frame(of_videos, pictures, tmp_path):
    folder, _ = of_videos
    loaded = load_autoencoder(str(folder), "cpu", "float32")
    rows = AtokenTokens(complete(pictures, tmp_path / "out", loaded, **OPTIONS).folder)
    assert rows[0]["latents"].shape == (4, 8, 8)
    model = AutoencoderKLWan.from_pretrained(folder).eval()
    pixels = torch.rand(2, 3, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded.encode(pixels), model.encode(pixels).latent_dist.mode())
        assert torch.equal(loaded.decode(loaded.encode(pixels)), model.decode(loaded.encode(pixels)).sample)


@pytest.mark.parametrize("frames", [None, 1, 8])
def test_frames_that_a_model_of_videos_cannot_encode_are_refused(of_videos, frames, tmp_path):
    folder, clips = of_videos
    options = TokenizeOptions(**{**VIDEOS, "frames": frames})
    with pytest.raises(ValueError, match=f"frames must be given for .*wan, 1 . 4 k, got {frames}"):
        make_plan(str(clips), tmp_path / "out", options, load_autoencoder(str(folder), "cpu"))
