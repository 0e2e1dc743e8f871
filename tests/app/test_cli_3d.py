"""The `atoken` command on 3D objects: a mesh to Gaussians, latents and embeddings, and Gaussians to pictures."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from atoken import AtokenGaussianConfig, AtokenGaussianDecoder, AtokenModel
from atoken.gaussian_conversion_atoken import attach_gaussian_decoder
from atoken.gaussian_files_atoken import load_ply, save_ply
from atoken.processing import AtokenProcessor, AtokenVoxelProcessor, hammersley_cameras
from atoken.processing.media_reading_atoken import read_video
from atoken.rendering_atoken import render
from atoken_app.main import app

from ..modeling.helpers import make_model

trimesh = pytest.importorskip("trimesh", reason="meshes are read by trimesh")
pytest.importorskip("embreex", reason="meshes are rendered by embreex")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tiny random models with and without a Gaussian decoder, on a grid of 16^3, and a mesh."""
    folder = tmp_path_factory.mktemp("3d")
    trimesh.creation.box((1.0, 0.6, 0.3)).export(folder / "box.glb")
    processor = AtokenProcessor(voxel_processor=AtokenVoxelProcessor(resolution=16))
    for name, discrete in (("model", False), ("discrete", True)):
        model = make_model(discrete=discrete)
        config = AtokenGaussianConfig(
            hidden_size=24,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_gaussians=2,
            resolution=16,
        )
        attach_gaussian_decoder(model, AtokenGaussianDecoder(config)).save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    make_model().save_pretrained(folder / "flat")
    processor.save_pretrained(folder / "flat")
    return folder


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def reconstructed(folder):
    """The folder of a reconstruction, and what the command said of it."""
    out = folder / "reconstructed"
    result = run("reconstruct", folder / "box.glb", "-o", out, "--model", folder / "model", "--json")
    return out, json.loads(result.stdout)["results"][0]


def test_reconstruct_writes_gaussians_with_their_quality(folder, reconstructed):
    out, row = reconstructed
    gaussians = load_ply(out / "box.ply")
    voxels = AtokenProcessor.from_pretrained(folder / "model")(voxels=folder / "box.glb")
    assert row["kind"] == "object" and row["tokens"] == len(voxels.coords)
    assert row["gaussians"] == len(gaussians) == 2 * row["tokens"]
    # Centers lie at most 0.75 voxels from that of their voxel; the box is 1 x 0.3 x 0.6 with z up.
    reach = 1.25 / 16
    assert (gaussians.means.abs().amax(0) <= gaussians.means.new_tensor([0.5, 0.15, 0.3]) + reach).all()
    assert 0 < row["psnr"] < 60 and 0 < row["ssim"] < 1


@pytest.mark.parametrize(("name", "content"), [("model", "latents"), ("discrete", "codes")])
def test_encode_and_decode_give_what_reconstruct_gives(folder, tmp_path, name, content):
    model = folder / name
    run("encode", folder / "box.glb", "-o", tmp_path, "--model", model)
    stored = load_file(tmp_path / "box.safetensors")
    assert set(stored) == {content, "coords"} and len(stored[content]) == len(stored["coords"])
    facts = json.loads(run("info", tmp_path / "box.safetensors", "--json").stdout)
    assert (facts["kind"], facts["tokens"], facts["content"]) == ("object", len(stored["coords"]), content)
    run("decode", tmp_path / "box.safetensors", "-o", tmp_path / "decoded")
    run("reconstruct", folder / "box.glb", "-o", tmp_path / "whole", "--model", model)
    decoded, whole = load_ply(tmp_path / "decoded/box.ply"), load_ply(tmp_path / "whole/box.ply")
    for field in ("means", "quats", "scales", "opacities", "sh0"):
        difference = getattr(decoded, field) - getattr(whole, field)
        assert difference.abs().max() < 1e-5


def test_embed(folder):
    row = json.loads(run("embed", folder / "box.glb", "--model", folder / "model", "--json").stdout)["results"][0]
    assert np.linalg.norm(row["embedding"]) == pytest.approx(1, abs=1e-5)
    processor, model = AtokenProcessor.from_pretrained(folder / "model"), AtokenModel.from_pretrained(folder / "model")
    inputs = processor(voxels=folder / "box.glb")
    pooled = model.get_image_features(inputs.pixel_values, inputs.coords, inputs.cu_seqlens).pooler_output[0].detach()
    assert np.allclose(row["embedding"], pooled / pooled.norm(), atol=1e-5)


def test_render_writes_a_turntable_a_picture_and_a_page(reconstructed, tmp_path):
    out, _ = reconstructed
    paths = {name: tmp_path / "new" / name for name in ("t.mp4", "v.png", "p.html")}
    options = ["--turntable", paths["t.mp4"], "--views", paths["v.png"], "--page", paths["p.html"]]
    look = ["--frames", 3, "--size", 32, "--background", "#ffffff", "--json"]
    facts = json.loads(run("render", out / "box.ply", *options, *look).stdout)
    assert facts["turntable"] == str(paths["t.mp4"])
    assert read_video(paths["t.mp4"])[0].shape == (3, 32, 32, 3)
    picture = np.asarray(Image.open(paths["v.png"]))
    assert picture.shape == (64, 128, 3) and (picture[0, 0] == 255).all() and (picture < 255).any()
    assert "<html" in paths["p.html"].read_text(encoding="utf-8")


def test_render_frames_foreign_gaussians_and_says_what_it_left_out(reconstructed, tmp_path):
    out, _ = reconstructed
    box = load_ply(out / "box.ply")
    bright = replace(box, opacities=torch.full_like(box.opacities, 0.9), sh0=torch.ones_like(box.sh0))
    gaussians = bright.transform(scale=7.0, translation=(2100.0, -140.0, 35.0))
    gaussians.quats[3] = torch.nan
    save_ply(gaussians, tmp_path / "far.ply")
    options = ["--views", tmp_path / "far.png", "--page", tmp_path / "far.html", "--size", 64, "--json"]
    result = run("render", tmp_path / "far.ply", *options)
    said = f"1 of {len(gaussians)} Gaussians is left out"
    assert said in result.stderr and said in json.loads(result.stdout)["warnings"][0]
    lit = np.asarray(Image.open(tmp_path / "far.png")).max(axis=2) > 8
    views = lit.reshape(2, 64, 4, 64).transpose(0, 2, 1, 3).reshape(8, 64, 64)
    assert (views.mean(axis=(1, 2)) > 0.1).all()
    assert not views[:, [0, -1]].any() and not views[:, :, [0, -1]].any()
    upright = ["--views", tmp_path / "up.png", "--size", 64, "--up", "-y"]
    run("render", tmp_path / "far.ply", *upright)
    assert (np.asarray(Image.open(tmp_path / "up.png")).max(axis=2) > 8).mean() > 0.1
    assert not np.array_equal(np.asarray(Image.open(tmp_path / "up.png")), np.asarray(Image.open(tmp_path / "far.png")))


def test_decoded_gaussians_are_rendered_from_the_cameras_of_the_library(reconstructed, tmp_path):
    """What fills the cube already is not moved: the picture is that of `render`, bit for bit."""
    out, _ = reconstructed
    run("render", out / "box.ply", "--views", tmp_path / "v.png", "--size", 32)
    pictures = render(load_ply(out / "box.ply"), hammersley_cameras(8), 32)
    pictures = (pictures.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    expected = np.concatenate([np.concatenate(pictures[row : row + 4], axis=1) for row in (0, 4)])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "v.png")), expected)


BLANK = {
    "transparent": (lambda g: replace(g, opacities=torch.full_like(g.opacities, 0.002)), "opacities below 1/255"),
    "black": (lambda g: replace(g, sh0=torch.full_like(g.sh0, -9)), "give another --background"),
    "points": (lambda g: replace(g, scales=torch.full_like(g.scales, 1e-6)), "smaller than a pixel"),
}


@pytest.mark.parametrize("case", BLANK)
def test_pictures_of_nothing_are_refused_with_the_reason(reconstructed, tmp_path, case):
    out, _ = reconstructed
    change, reason = BLANK[case]
    box = load_ply(out / "box.ply")
    box = replace(box, opacities=torch.full_like(box.opacities, 0.9), scales=torch.full_like(box.scales, 0.05))
    save_ply(change(box), tmp_path / "blank.ply")
    for option, name in (("--views", "v.png"), ("--turntable", "t.mp4")):
        command = ["render", tmp_path / "blank.ply", option, tmp_path / name, "--size", 16, "--frames", 2]
        result = run(*command, code=1)
        assert reason in result.stderr and not (tmp_path / name).exists()
    if case == "black":
        run("render", tmp_path / "blank.ply", "--views", tmp_path / "v.png", "--background", "white", "--size", 16)


@pytest.mark.parametrize("suffix", [".spz", ".ksplat", ".sog"])
def test_other_files_of_gaussians_are_refused_by_name(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(b"1")
    result = run("render", tmp_path / f"a{suffix}", "--views", tmp_path / "v.png", code=1)
    assert f"{suffix} files are not read. Convert it to .ply" in result.stderr


def test_demo_shows_turntables_and_links_the_page(folder, tmp_path):
    media = tmp_path / "media"
    media.mkdir()
    (media / "box.glb").write_bytes((folder / "box.glb").read_bytes())
    run("demo", "--media", media, "-o", tmp_path / "demo", "--model", folder / "model")
    page = (tmp_path / "demo/index.html").read_text(encoding="utf-8")
    for name in ("box-glb.original.mp4", "box-glb.model.mp4", "box-glb.model.html"):
        assert (tmp_path / "demo" / name).is_file() and name in page


def damaged(folder, tmp_path, change):
    run("encode", folder / "box.glb", "-o", tmp_path, "--model", folder / "model", "--overwrite")
    path = tmp_path / "box.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors, metadata)
    save_file(tensors, path, metadata=metadata)
    return path


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t, m: t.pop("coords"), "tensors named coords, latents"),
        (lambda t, m: t.update(coords=t["coords"].int()), "coords must be U8"),
        (lambda t, m: m.update(voxels="7"), "coords must be U8 (7, 3)"),
        (lambda t, m: m.pop("voxels"), "'voxels'"),
        (lambda t, m: t["latents"].fill_(float("nan")), "NaN"),
        (lambda t, m: t["coords"].fill_(3), "twice"),
        (lambda t, m: t["coords"].add_(100), r"\[0, 16\)"),
        (lambda t, m: m.update(fingerprint="0"), "model must be the one that wrote the latents"),
    ],
)
def test_damaged_latents_of_objects(folder, tmp_path, change, problem):
    path = damaged(folder, tmp_path, change)
    result = run("decode", path, "-o", tmp_path / "out", code=1)
    assert problem.replace("\\", "") in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_bad_calls(folder, reconstructed, tmp_path):
    ply = reconstructed[0] / "box.ply"
    (tmp_path / "bad.glb").write_bytes(b"glTF")
    (tmp_path / "bad.ply").write_bytes(b"ply\n")
    for arguments, code, problem in [
        (
            ["reconstruct", folder / "box.glb", "-o", tmp_path / "o", "--model", folder / "flat"],
            1,
            "no Gaussian decoder",
        ),
        (["reconstruct", tmp_path / "bad.glb", "-o", tmp_path / "o", "--model", folder / "model"], 1, "cannot be read"),
        (["reconstruct", ply, "-o", tmp_path / "o", "--model", folder / "model"], 1, "no faces"),
        (["render", ply], 2, "at least one of"),
        (["render", ply, "--views", tmp_path / "v.mp4"], 2, "must end in"),
        (["render", ply, "--views", tmp_path / "v.png", "--background", "bluish"], 2, "--background"),
        (["render", tmp_path / "none.ply", "--views", tmp_path / "v.png"], 1, "does not exist"),
        (["render", folder / "box.glb", "--views", tmp_path / "v.png"], 1, "must end in .ply or .splat"),
        (["render", tmp_path / "bad.ply", "--views", tmp_path / "v.png"], 1, "bad.ply"),
    ]:
        result = run(*arguments, code=code)
        assert problem in " ".join(result.output.split()), result.output
    assert not (tmp_path / "v.png").exists() and not (tmp_path / "o").exists()
