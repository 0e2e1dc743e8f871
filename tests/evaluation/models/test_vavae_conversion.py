"""VA-VAE's weights in diffusers' form give what the layout of latent diffusion gives, written out in functions here."""

import pytest
import torch
from torch.nn import functional as F

from atoken.evaluation.models.vavae_conversion import convert

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")

WIDTHS, BLOCKS, CHANNELS, GROUPS = (32, 64), 2, 5, 32


def make_weights() -> dict[str, torch.Tensor]:
    """Random weights under the published names: two levels, attention in the lower one and the middle."""
    generator = torch.Generator().manual_seed(0)
    state = {}

    def draw(name, *shape):
        state[name] = torch.randn(shape, generator=generator) * (0.3 if len(shape) == 1 else (shape[1] * 9) ** -0.5)

    def conv(name, inner, outer, size):
        draw(f"{name}.weight", outer, inner, size, size)
        draw(f"{name}.bias", outer)

    def norm(name, width):
        draw(f"{name}.weight", width)
        draw(f"{name}.bias", width)

    def block(name, inner, outer):
        norm(f"{name}.norm1", inner)
        conv(f"{name}.conv1", inner, outer, 3)
        norm(f"{name}.norm2", outer)
        conv(f"{name}.conv2", outer, outer, 3)
        if inner != outer:
            conv(f"{name}.nin_shortcut", inner, outer, 1)

    def attention(name, width):
        norm(f"{name}.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            conv(f"{name}.{part}", width, width, 1)

    low, high = WIDTHS
    for side in ("encoder", "decoder"):
        block(f"{side}.mid.block_1", high, high)
        attention(f"{side}.mid.attn_1", high)
        block(f"{side}.mid.block_2", high, high)
    conv("encoder.conv_in", 3, low, 3)
    for index in range(BLOCKS):
        block(f"encoder.down.0.block.{index}", low, low)
        block(f"encoder.down.1.block.{index}", low if index == 0 else high, high)
        attention(f"encoder.down.1.attn.{index}", high)
    conv("encoder.down.0.downsample.conv", low, low, 3)
    norm("encoder.norm_out", high)
    conv("encoder.conv_out", high, 2 * CHANNELS, 3)
    conv("decoder.conv_in", CHANNELS, high, 3)
    for index in range(BLOCKS + 1):
        block(f"decoder.up.1.block.{index}", high, high)
        attention(f"decoder.up.1.attn.{index}", high)
        block(f"decoder.up.0.block.{index}", high if index == 0 else low, low)
    conv("decoder.up.1.upsample.conv", high, high, 3)
    norm("decoder.norm_out", low)
    conv("decoder.conv_out", low, 3, 3)
    conv("quant_conv", 2 * CHANNELS, 2 * CHANNELS, 1)
    conv("post_quant_conv", CHANNELS, CHANNELS, 1)
    return state


class Reference:
    """The autoencoder of latent diffusion as functions of its weights, in float64."""

    def __init__(self, state):
        self.state = {name: value.double() for name, value in state.items()}

    def conv(self, name, x, **options):
        return F.conv2d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"], **options)

    def norm(self, name, x):
        return F.group_norm(x, GROUPS, self.state[f"{name}.weight"], self.state[f"{name}.bias"], eps=1e-6)

    def block(self, name, x):
        h = self.conv(f"{name}.conv1", F.silu(self.norm(f"{name}.norm1", x)), padding=1)
        h = self.conv(f"{name}.conv2", F.silu(self.norm(f"{name}.norm2", h)), padding=1)
        return h + (self.conv(f"{name}.nin_shortcut", x) if f"{name}.nin_shortcut.weight" in self.state else x)

    def attention(self, name, x):
        q, k, v = (self.conv(f"{name}.{part}", self.norm(f"{name}.norm", x)).flatten(2) for part in "qkv")
        weights = torch.softmax(torch.einsum("bci,bcj->bij", q, k) * q.shape[1] ** -0.5, -1)
        return x + self.conv(f"{name}.proj_out", torch.einsum("bij,bcj->bci", weights, v).view_as(x))

    def middle(self, side, x):
        x = self.attention(f"{side}.mid.attn_1", self.block(f"{side}.mid.block_1", x))
        return self.block(f"{side}.mid.block_2", x)

    def out(self, side, x):
        return self.conv(f"{side}.conv_out", F.silu(self.norm(f"{side}.norm_out", x)), padding=1)

    def encode(self, x):
        x = self.conv("encoder.conv_in", x, padding=1)
        for index in range(BLOCKS):
            x = self.block(f"encoder.down.0.block.{index}", x)
        x = self.conv("encoder.down.0.downsample.conv", F.pad(x, (0, 1, 0, 1)), stride=2)
        for index in range(BLOCKS):
            x = self.attention(f"encoder.down.1.attn.{index}", self.block(f"encoder.down.1.block.{index}", x))
        return self.conv("quant_conv", self.out("encoder", self.middle("encoder", x))).chunk(2, 1)[0]

    def decode(self, z):
        x = self.middle("decoder", self.conv("decoder.conv_in", self.conv("post_quant_conv", z), padding=1))
        for index in range(BLOCKS + 1):
            x = self.attention(f"decoder.up.1.attn.{index}", self.block(f"decoder.up.1.block.{index}", x))
        x = self.conv("decoder.up.1.upsample.conv", F.interpolate(x, scale_factor=2.0, mode="nearest"), padding=1)
        for index in range(BLOCKS + 1):
            x = self.block(f"decoder.up.0.block.{index}", x)
        return self.out("decoder", x)


@torch.no_grad()
def test_the_converted_model_is_the_published_one(tmp_path):
    state = make_weights()
    beside = {
        "foundation_model.model.x": torch.zeros(1),
        "linear_proj.weight": torch.zeros(1),
        "loss.y": torch.zeros(1),
    }
    torch.save({"state_dict": state | beside, "epoch": 3}, tmp_path / "vavae.pt")
    convert(tmp_path / "vavae.pt", tmp_path / "out")
    model = diffusers.AutoencoderKL.from_pretrained(tmp_path / "out").double().eval()
    reference = Reference(state)
    pixels = torch.randn(1, 3, 12, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = reference.encode(pixels)
    torch.testing.assert_close(model.encode(pixels).latent_dist.mode(), expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(model.decode(expected).sample, reference.decode(expected), atol=1e-6, rtol=1e-6)


def test_other_files_are_refused_and_leave_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="weights must be a file that is there"):
        convert(tmp_path / "none.pt", tmp_path / "out")
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="latent diffusion's AutoencoderKL, got 1 without encoder.conv_in.weight"):
        convert(tmp_path / "other.pt", tmp_path / "out")
    state = make_weights()
    del state["decoder.mid.block_1.conv1.bias"]
    torch.save(state, tmp_path / "torn.pt")
    with pytest.raises(ValueError, match="weights must be those of VA-VAE"):
        convert(tmp_path / "torn.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="out must be a folder that is not there yet"):
        convert(tmp_path / "torn.pt", tmp_path / "out")
