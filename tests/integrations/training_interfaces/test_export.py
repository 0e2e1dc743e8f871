"""Encoder and decoder as `ExportedProgram` and as ONNX files, for any batch."""

import sys

import pytest
import torch

from atoken import AtokenModel
from atoken.exporting_atoken import export_onnx, export_program

from ...modeling.helpers import LATENTS, assert_close, make_model, media

# A clip of a whole tile and a rest, of which the last frames are filled up.
CLIP, GRID = (18, 3, 32, 48), (5, 2, 3, LATENTS)
BATCHES = (1, 2, 5)


@pytest.fixture(scope="module")
def models():
    return {"continuous": make_model(), "discrete": make_model(discrete=True)}


@pytest.fixture(scope="module")
def encoder(models):
    return export_program(models["discrete"], "encode", media(1, *CLIP))


@pytest.fixture(scope="module")
def decoder(models):
    return export_program(models["continuous"], "decode", media(3, *GRID))


@torch.no_grad()
def expected_encoding(model: AtokenModel, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
    encoded = model.encode(pixel_values)
    frames = -(-pixel_values.shape[1] // 4) if pixel_values.ndim == 5 else 1
    grid = (len(pixel_values), frames, pixel_values.shape[-2] // 16, pixel_values.shape[-1] // 16)
    expected = {"latents": encoded.latents.view(*grid, -1), "pooler_output": encoded.pooler_output}
    return expected if encoded.codes is None else {**expected, "codes": encoded.codes.view(*grid, -1)}


def assert_same(actual: dict, expected: dict, tolerance: float) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name].dtype == value.dtype
        assert_close(actual[name], value, tolerance)


@pytest.mark.parametrize("batch", BATCHES)
def test_encode_program(models, encoder, batch):
    pixel_values = media(batch, *CLIP, seed=batch)
    assert_same(encoder.module()(pixel_values), expected_encoding(models["discrete"], pixel_values), 1e-5)


@pytest.mark.parametrize("batch", BATCHES)
def test_decode_program(models, decoder, batch):
    latents = media(batch, *GRID, seed=batch)
    with torch.no_grad():
        expected = models["continuous"].decode(latents).pixel_values
    assert_same(decoder.module()(latents), {"pixel_values": expected}, 1e-5)


def test_a_saved_program_comes_back(tmp_path, decoder):
    torch.export.save(decoder, tmp_path / "decoder.pt2")
    latents = media(4, *GRID)
    again = torch.export.load(tmp_path / "decoder.pt2").module()
    assert_same(again(latents), decoder.module()(latents), 0)


def test_images_of_one_batch_size(models):
    model = models["continuous"].train()
    images = media(1, 3, 32, 48)
    program = export_program(model, "encode", images, dynamic_batch=False)
    assert model.training
    assert_same(program.module()(images), expected_encoding(model.eval(), images), 1e-5)
    with pytest.raises(Exception, match="Guard failed|Expected"):
        program.module()(media(2, 3, 32, 48))


def run_onnx(path, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    names = [output.name for output in session.get_outputs()]
    return {name: torch.from_numpy(value) for name, value in zip(names, outputs, strict=True)}


def test_encode_onnx(tmp_path, models):
    pytest.importorskip("onnxscript")
    path = export_onnx(models["discrete"], "encode", media(2, *CLIP), tmp_path / "encoder.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["encoder.onnx"]
    for batch in BATCHES:
        pixel_values = media(batch, *CLIP, seed=batch)
        actual = run_onnx(path, pixel_values=pixel_values)
        assert_same(actual, expected_encoding(models["discrete"], pixel_values), 1e-4)


def test_decode_onnx(tmp_path, models):
    pytest.importorskip("onnxscript")
    path = export_onnx(models["continuous"], "decode", media(2, *GRID), tmp_path / "decoder.onnx")
    for batch in BATCHES:
        latents = media(batch, *GRID, seed=batch)
        with torch.no_grad():
            expected = models["continuous"].decode(latents).pixel_values
        assert_same(run_onnx(path, latents=latents), {"pixel_values": expected}, 1e-4)


@pytest.mark.parametrize(
    "part,example,message",
    [
        ("reconstruct", media(1, 3, 32, 48), 'part must be "encode" or "decode"'),
        ("encode", media(6, 3072), "example must be a dense tensor"),
        ("encode", None, "example must be a dense tensor .* got NoneType"),
        ("decode", media(1, 3, 32, 48), r"example must be a dense tensor \(B, t, h, w, latent_channels\)"),
        ("encode", media(1, 3, 30, 48), "multiples of 16"),
        ("decode", media(1, 1, 2, 3, LATENTS + 1), f"must have {LATENTS} features"),
    ],
)
def test_arguments_that_do_not_fit(models, part, example, message):
    with pytest.raises(ValueError, match=message):
        export_program(models["continuous"], part, example)


def test_a_cache_is_refused():
    model = make_model(decoder={"cache_frames": 4})
    with pytest.raises(ValueError, match="decoder_config.cache_frames must be 0, got 4"):
        export_program(model, "decode", media(1, *GRID))


def test_without_the_packages(tmp_path, models, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r'pip install "atoken\[export\]"'):
        export_onnx(models["continuous"], "decode", media(1, *GRID), tmp_path / "decoder.onnx")


def test_a_missing_folder(tmp_path, models):
    pytest.importorskip("onnxscript")
    with pytest.raises(ValueError, match="path must lie in an existing folder"):
        export_onnx(models["continuous"], "decode", media(1, *GRID), tmp_path / "none" / "decoder.onnx")
