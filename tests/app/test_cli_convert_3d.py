"""`atoken convert --gaussian-decoder`: a model that decodes Gaussians, and nothing written where that fails."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from atoken import AtokenGaussianConfig, AtokenGaussianDecoder, AtokenModel
from atoken.conversion_atoken import to_original_state_dict
from atoken.gaussian_conversion_atoken import to_original_gaussian_state_dict

from ..cli_samples import names, run
from ..modeling.helpers import assert_close, make_model, pack, randomize, voxel_tokens

GOLDEN = Path(__file__).parents[1] / "golden"
FIELDS = {
    "means": "xyz",
    "quats": "rotation",
    "scales": "scaling",
    "opacities": "opacity",
    "sh0": "features_dc",
}
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
HEADS = ["--gaussian-num-heads", 2]


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The current folder, with a released model and a released Gaussian decoder, both tiny."""
    monkeypatch.chdir(tmp_path)
    torch.save(to_original_state_dict(make_model()), "model.pt")
    decoder = randomize(AtokenGaussianDecoder(AtokenGaussianConfig(**SMALL, num_gaussians=4)))
    torch.save({**to_original_gaussian_state_dict(decoder), "lpips_loss.lin": torch.zeros(1)}, "gaussians.pt")
    return decoder


def convert(*options, code: int = 0):
    return run("convert", "model.pt", "out", "--encoder-num-heads", 2, *options, code=code)


def refuse(*options, says: str, code: int = 1) -> None:
    before = names(Path.cwd())
    error = convert(*options, code=code).stderr
    assert says in error and "Traceback" not in error, error
    assert names(Path.cwd()) == before


def test_golden_numbers_through_the_command(work):
    torch.save(load_file(GOLDEN / "gaussian.weights.safetensors"), "golden.pt")
    convert("--gaussian-decoder", "golden.pt", *HEADS)
    tensors = load_file(GOLDEN / "gaussian.tensors.safetensors")
    sample, coords = tensors["coords"][:, 0], tensors["coords"][:, 1:]
    starts = torch.nn.functional.pad(torch.bincount(sample).cumsum(0), (1, 0))
    model = AtokenModel.from_pretrained("out").eval()
    with torch.no_grad():
        decoded = model.gaussian_decoder(tensors["features"], coords, starts)
    for index, gaussians in enumerate(decoded):
        for ours, theirs in FIELDS.items():
            expected = tensors[f"sample{index}.{theirs}"]
            assert_close(getattr(gaussians, ours), expected.reshape(getattr(gaussians, ours).shape), 2e-5)


def test_the_converted_folder_decodes_gaussians(work):
    convert("--gaussian-decoder", "gaussians.pt", *HEADS)
    model, parts = AtokenModel.from_pretrained("out").eval(), make_model()
    features, coords, cu_seqlens = pack([voxel_tokens(30), voxel_tokens(20, seed=1)])
    with torch.no_grad():
        latents = parts.encode(features, coords, cu_seqlens).latents
        colors = parts.decode(latents, coords, cu_seqlens).pixel_values[:, :768]
        expected = work(colors, coords[:, 1:], cu_seqlens)
        decoded = model.decode_gaussians(latents, coords, cu_seqlens)
    for ours, theirs in zip(decoded, expected, strict=True):
        for name in FIELDS:
            assert_close(getattr(ours, name), getattr(theirs, name), 2e-6)


def test_stored_in_bf16(work):
    convert("--gaussian-decoder", "gaussians.pt", *HEADS, "--dtype", "bfloat16")
    model = AtokenModel.from_pretrained("out").eval()
    assert model.gaussian_decoder.dtype == torch.bfloat16
    features, coords, cu_seqlens = pack([voxel_tokens(30)])
    with torch.no_grad():
        (gaussians,) = model.gaussian_decoder(features[:, :768], coords[:, 1:], cu_seqlens)
    assert len(gaussians) == 120 and gaussians.dtype == torch.float32


@pytest.mark.parametrize(
    ("heads", "says", "code"),
    [
        (None, "num_heads must be given", 1),
        (5, "num_heads must divide the width, 32, got 5", 1),
        (64, "num_heads must divide the width, 32, got 64", 1),
        (0, "--gaussian-num-heads", 2),
        ("two", "--gaussian-num-heads", 2),
    ],
)
def test_head_counts_that_do_not_fit(work, heads, says, code):
    options = [] if heads is None else ["--gaussian-num-heads", heads]
    refuse("--gaussian-decoder", "gaussians.pt", *options, says=says, code=code)


def test_heads_without_a_decoder(work):
    refuse(*HEADS, says="--gaussian-num-heads needs --gaussian-decoder", code=2)


class Intruder:
    def __reduce__(self):
        return (Path("intruder").touch, ())


def changed(**tensors: torch.Tensor | None) -> None:
    state = torch.load("gaussians.pt", weights_only=True)
    state |= {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    torch.save({name: tensor for name, tensor in state.items() if tensor is not None}, "bad.pt")


def cut_off() -> None:
    data = Path("gaussians.pt").read_bytes()
    Path("bad.pt").write_bytes(data[: len(data) // 2])


BAD = {
    "absent": (lambda: None, "--gaussian-decoder: path: no file bad.pt"),
    "a folder": (lambda: Path("bad.pt").mkdir(), "bad.pt"),
    "empty": (lambda: Path("bad.pt").touch(), "bad.pt"),
    "text": (lambda: Path("bad.pt").write_text("hello"), "bad.pt"),
    "cut off": (cut_off, "bad.pt"),
    "pickle with code": (lambda: Path("bad.pt").write_bytes(pickle.dumps(Intruder(), protocol=2)), "bad.pt"),
    "archive with code": (lambda: torch.save(Intruder(), "bad.pt"), "bad.pt"),
    "the tokenizer itself": (lambda: Path("bad.pt").write_bytes(Path("model.pt").read_bytes()), "not a Gaussian"),
    "missing key": (lambda: changed(blocks__1__norm2__weight=None), "blocks.1.norm2.weight"),
    "surplus key": (lambda: changed(surplus=torch.zeros(2)), "surplus"),
    "wrong shape": (lambda: changed(out_layer__bias=torch.zeros(3)), "out_layer.bias"),
    "no whole Gaussians": (lambda: changed(out_layer__weight=torch.zeros(57, 32)), "out_layer.weight"),
    "no Gaussian": (lambda: changed(out_layer__weight=torch.zeros(5, 32)), "num_gaussians"),
    "too many features": (lambda: changed(input_layer__weight=torch.zeros(32, 4000)), "at most the decoder's 3072"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_gaussian_decoders(work, case):
    prepare, says = BAD[case]
    prepare()
    refuse("--gaussian-decoder", "bad.pt", *HEADS, says=says)
    assert not Path("intruder").exists()
