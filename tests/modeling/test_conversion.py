"""Released files to our models and back, every key used or named, and the text towers that go along."""

import pickle
from functools import cache

import pytest
import torch
from safetensors.torch import save_file
from transformers import Siglip2Config, Siglip2Model, SiglipConfig, SiglipModel

from atoken import AtokenConfig, AtokenModel
from atoken.conversion_atoken import (
    OFFICIAL_LICENSE,
    config_from_original,
    convert_original_checkpoint,
    to_original_state_dict,
)

from .helpers import TEXT, WIDTH, assert_close, make_model, media, randomize

# How the official code names and lays out tensors, for two blocks.
ENCODER_BLOCK = ["norm1", "norm2", "attn.to_qkv", "attn.to_out", "mlp.mlp.0", "mlp.mlp.2"]
HEAD = ["attention.to_q", "attention.to_kv", "attention.to_out", "layernorm", "mlp.mlp.0", "mlp.mlp.2"]
BIASED = (
    ["encoder.input_layer", "encoder.post_layernorm"]
    + [f"encoder.blocks.{n}.{name}" for n in range(2) for name in ENCODER_BLOCK]
    + [f"encoder.head.{name}" for name in HEAD]
)
DECODER_BLOCK = ["norm1.weight", "norm2.weight", "attn.to_qkv.weight", "attn.to_out.weight"]
DECODER_BLOCK += ["attn.q_rms_norm.gamma", "attn.k_rms_norm.gamma", "mlp.mlp.0.weight", "mlp.mlp.2.weight"]
KEYS = {
    *(f"{name}.{kind}" for name in BIASED for kind in ("weight", "bias")),
    *(f"decoder.blocks.{n}.{name}" for n in range(2) for name in DECODER_BLOCK),
    *(f"{part}.pos_embedder.position_embedding.weight" for part in ("encoder", "decoder")),
    "encoder.head.probe",
    "proj.weight",
    "decoder.input_layer.weight",
    "decoder.out_norm.weight",
    "decoder.out_layer.weight",
}


@cache
def tiny_state() -> dict[str, torch.Tensor]:
    return to_original_state_dict(make_model())


def released(**options) -> dict[str, torch.Tensor]:
    """The state dict of a released file of tiny size."""
    return dict(to_original_state_dict(make_model(**options)) if options else tiny_state())


@pytest.fixture
def save(tmp_path):
    """A function that writes what is given with torch.save and returns the path."""

    def write(content, name="atoken-soc.pt"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return write


def convert(path, **options):
    return convert_original_checkpoint(path, **{"encoder_num_heads": 2, **options})


def test_the_released_names():
    assert set(released()) == KEYS


@pytest.mark.parametrize("channels", [32, 48])
@pytest.mark.parametrize("head", [True, False])
def test_every_tensor_comes_back(save, channels, head):
    """32 latent channels are those of `atoken-soc-s1`."""
    state = released(latent_channels=channels, vision={"vision_use_head": head})
    model = convert(save(state))
    assert model.config.latent_channels == channels
    assert not model.training and model.config.quantizer_config is None
    back = to_original_state_dict(model)
    assert back.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(back[name], tensor), name


def test_the_converted_model_computes_the_same(save):
    original = make_model(seed=4, discrete=True, latent_channels=48, quantizer_config={})
    converted = convert(save(to_original_state_dict(original)), quantizer="fsq")
    image = media(1, 3, 32, 48)
    with torch.no_grad():
        ours, theirs = converted.encode(image), original.encode(image)
        assert torch.equal(ours.codes, theirs.codes)
        assert torch.equal(ours.pooler_output, theirs.pooler_output)


def test_sizes_are_read_from_the_tensors(save):
    options = {
        "vision": {"num_hidden_layers": 3, "intermediate_size": 56, "position_embedding_size": 8},
        "decoder": {
            "hidden_size": 64,
            "num_attention_heads": 4,
            "num_hidden_layers": 1,
            "intermediate_size": 72,
            "position_embedding_size": 6,
        },
    }
    config = convert(save(released(**options))).config
    for part, expected in (("vision_config", options["vision"]), ("decoder_config", options["decoder"])):
        for name, value in expected.items():
            assert getattr(getattr(config, part), name) == value


@pytest.mark.parametrize("size", ["so400m", "base"])
@pytest.mark.parametrize("quantizer", [None, "fsq"])
def test_released_sizes_need_no_options(size, quantizer):
    quantizer_config = {} if quantizer else None
    preset = AtokenConfig.from_preset(size, quantizer_config=quantizer_config, weights_license=OFFICIAL_LICENSE)
    with torch.device("meta"):
        model = AtokenModel(preset)
    assert config_from_original(to_original_state_dict(model), quantizer).to_dict() == preset.to_dict()


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "module"])
def test_wrapped_weights(save, wrapper):
    state = released()
    model = convert(save({wrapper: state, "step": 7}))
    assert torch.equal(to_original_state_dict(model)["proj.weight"], state["proj.weight"])


def test_safetensors_and_other_types(tmp_path):
    state = {name: tensor.to(torch.bfloat16) for name, tensor in released().items()}
    save_file(state, tmp_path / "weights.safetensors")
    back = to_original_state_dict(convert(tmp_path / "weights.safetensors"))
    assert all(torch.equal(back[name], tensor.float()) for name, tensor in state.items())


def test_a_probe_with_leading_axes(save):
    state = released()
    probe = state["encoder.head.probe"]
    assert torch.equal(convert(save({**state, "encoder.head.probe": probe[None, None]})).vision_model.head.probe, probe)


# Files that do not fit.


@pytest.mark.parametrize("key", ["encoder.blocks.1.attn.extra", "lpips_loss.net.0", "vision_model.input_layer.weight"])
def test_an_unknown_key_is_named(save, key):
    with pytest.raises(ValueError, match=rf"atoken-soc\.pt has keys without a place: \['{key}'\]"):
        convert(save({**released(), key: torch.zeros(3)}))


@pytest.mark.parametrize("key", sorted(KEYS))
def test_a_missing_key_is_named(save, key):
    state = released()
    del state[key]
    if key == "encoder.head.probe":
        # Without the probe there is no pooling head, so its other tensors have no place.
        key = "encoder.head.layernorm.bias"
    with pytest.raises(ValueError, match=key):
        convert(save(state))


@pytest.mark.parametrize("key", sorted(KEYS))
def test_a_wrong_shape_is_named(save, key):
    check_shape(save, key, released()[key][:-1])


@pytest.mark.parametrize("key", ["encoder.input_layer.weight", "decoder.out_norm.weight", "proj.weight"])
@pytest.mark.parametrize("shape", [(), (1, 48, 48), (0, 48), (48, 0), (0,)], ids=str)
def test_a_wrong_rank_is_named(save, key, shape):
    check_shape(save, key, torch.zeros(shape))


def check_shape(save, key, tensor):
    state = {**released(), key: tensor}
    # A size that is read from the changed tensor shows as a tensor that does not fit with it.
    with pytest.raises(
        ValueError, match=r"path: .*(must have shape|must be a matrix)|encoder_num_heads|hidden_size|3072"
    ):
        convert(save(state))


class Exploit:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


def test_a_pickle_with_code_is_refused(save, tmp_path):
    path = save({**released(), "x": Exploit(tmp_path / "ran")})
    with pytest.raises(ValueError, match=r"path: .*atoken-soc\.pt cannot be read"):
        convert(path)
    assert not (tmp_path / "ran").exists()
    # The file would have run it.
    pickle.loads(pickle.dumps(Exploit(tmp_path / "ran"))).close()
    assert (tmp_path / "ran").exists()


def test_files_that_are_no_checkpoint(save, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        convert(tmp_path / "nowhere.pt")
    with pytest.raises(FileNotFoundError, match=tmp_path.name):
        convert(tmp_path)
    for name in ("text.pt", "text.safetensors"):
        (tmp_path / name).write_text("not a checkpoint")
        with pytest.raises(ValueError, match=rf"path: .*{name} cannot be read"):
            convert(tmp_path / name)
    whole = save(released()).read_bytes()
    (tmp_path / "half.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"path: .*half\.pt cannot be read"):
        convert(tmp_path / "half.pt")
    for content in ([1, 2], {}, {"epoch": 3}, torch.zeros(3)):
        with pytest.raises(ValueError, match=r"path: .* does not hold a state dict of tensors"):
            convert(save(content))
    with pytest.raises(ValueError, match=r"not an AToken checkpoint, it lacks decoder\.blocks\.0"):
        convert(save({"layer.weight": torch.zeros(2, 2)}))


@pytest.mark.parametrize("heads", [5, 0, -2, 4, 48])
def test_head_counts_that_do_not_fit(save, heads):
    """4 would divide the width of 48 into heads of 12 channels, which the rotary embedding cannot quarter."""
    with pytest.raises(ValueError, match=rf"encoder_num_heads must divide the encoder's width, 48, .*got {heads}"):
        convert(save(released()), encoder_num_heads=heads)


def test_the_head_count_of_other_widths_must_be_given(save):
    with pytest.raises(ValueError, match="encoder_num_heads must be given.*48"):
        convert(save(released()), encoder_num_heads=None)


def test_quantizers_that_do_not_fit(save):
    path = save(released(latent_channels=32))
    with pytest.raises(ValueError, match="quantizer must be None or \"fsq\", got 'vq'"):
        convert(path, quantizer="vq")
    with pytest.raises(ValueError, match="latent_channels must be .* 8 x 6, got 32"):
        convert(path, quantizer="fsq")


# Text towers.

TOWER = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


def siglip(kind: str, width: int = WIDTH):
    text, tower = {**TEXT, "projection_size": width}, {**TOWER, "hidden_size": width}
    if kind == "siglip2":
        return randomize(Siglip2Model(Siglip2Config(text_config=text, vision_config=tower)), seed=2)
    tower |= {"image_size": 32, "patch_size": 16}
    return randomize(SiglipModel(SiglipConfig(text_config=text, vision_config=tower)), seed=2)


@pytest.mark.parametrize("kind", ["siglip2", "siglip"])
def test_a_text_tower_with_its_logits(save, tmp_path, kind):
    source = siglip(kind)
    with torch.no_grad():
        source.logit_scale.fill_(3.25)
        source.logit_bias.fill_(-7.5)
    source.save_pretrained(tmp_path / "tower")
    state = released()
    model = convert(save(state), text_tower=tmp_path / "tower")
    assert model.logit_scale.item() == 3.25 and model.logit_bias.item() == -7.5
    assert model.logit_scale.shape == (1,)
    expected = source.text_model.state_dict()
    ours = model.text_model.state_dict()
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in expected.items())
    ids = torch.tensor([[2, 5, 7, 1], [2, 9, 1, 1]])
    padded = torch.nn.functional.pad(ids, (0, TEXT["max_position_embeddings"] - 4), value=TEXT["pad_token_id"])
    with torch.no_grad():
        expected = source.text_model(padded).pooler_output
        for texts in (padded, ids):  # shorter texts are padded as in training
            assert_close(model.get_text_features(texts).pooler_output, expected, 1e-6)
    # The text tower is no part of the released files.
    assert to_original_state_dict(model).keys() == state.keys()


def test_a_text_tower_of_its_own(save, tmp_path):
    source = siglip("siglip2").text_model
    source.save_pretrained(tmp_path / "tower")
    model = convert(save(released()), text_tower=str(tmp_path / "tower"))
    weight = model.text_model.embeddings.token_embedding.weight
    assert torch.equal(weight, source.embeddings.token_embedding.weight)
    # The released checkpoints go with these.
    assert model.logit_scale.item() == pytest.approx(4.8438) and model.logit_bias.item() == -15.5625


def test_text_towers_that_do_not_fit(save, tmp_path):
    path = save(released())
    siglip("siglip2", width=32).save_pretrained(tmp_path / "narrow")
    with pytest.raises(ValueError, match=r"text_config\.projection_size .* got 32 and 48"):
        convert(path, text_tower=tmp_path / "narrow")
    siglip("siglip2").vision_model.save_pretrained(tmp_path / "vision")
    with pytest.raises(
        ValueError, match="text_tower must be a SigLIP2 model or its text tower, .*siglip2_vision_model"
    ):
        convert(path, text_tower=tmp_path / "vision")
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(ValueError, match=f"text_tower: .*{name} cannot be read"):
            convert(path, text_tower=tmp_path / name)
