"""TokenBridge against numbers of its authors' code: inputs, features, logits, loss, gradients and sampled codes."""

import copy

import pytest
import torch

from atoken.generation import TokenBridgeModel, convert_token_bridge, to_official_token_bridge
from atoken.generation.code_values_atoken import fsq_code_values, nearest_codes, normal_code_values
from atoken.generation.drawing_atoken import masked_counts

from .conftest import Golden, assert_close, relative_error

SAMPLINGS = {"atoken": ("unguided", "guided", "constant"), "tokenbridge": ("unguided", "guided")}


@pytest.fixture(scope="module", params=SAMPLINGS)
def case(request) -> tuple[Golden, TokenBridgeModel]:
    golden = Golden("tokenbridge", request.param)
    config = golden.config
    model = convert_token_bridge(
        {"model_ema": golden.weights},
        encoder_num_heads=config["encoder_num_heads"],
        decoder_num_heads=config["decoder_num_heads"],
        code_levels=config["levels"] if config["channels_per_code"] > 1 else None,
        code_order=config["code_order"],
    )
    return golden, model


def labels_in_training(golden: Golden) -> torch.Tensor:
    return torch.where(golden["train.drop_uniform"] < 0.1, golden.config["num_classes"], golden["train.labels"])


def test_sizes_are_read_from_tensors(case):
    golden, model = case
    names = {
        "encoder_hidden_size": "encoder_embed_dim",
        "encoder_num_layers": "encoder_depth",
        "decoder_hidden_size": "decoder_embed_dim",
        "decoder_num_layers": "decoder_depth",
        "head_hidden_size": "channel_embed_dim",
        "head_num_layers": "channel_depth",
        "head_num_attention_heads": "channel_num_heads",
        "buffer_size": "buffer_size",
        "num_codes": "num_codes",
        "codebook_size": "codebook_size",
        "code_channels": "channels_per_code",
        "num_classes": "num_classes",
    }
    assert {ours: model.config[ours] for ours in names} == {ours: golden.config[of] for ours, of in names.items()}
    assert model.config.sample_size == golden.config["img_size"] // 16


def test_names_go_back(case):
    golden, model = case
    official = to_official_token_bridge(model)
    assert official.keys() == golden.weights.keys()
    assert all(torch.equal(value, golden.weights[name]) for name, value in official.items())


def test_values_of_codes(case):
    golden, model = case
    assert_close(model.code_values, golden["code_values"])
    assert_close(model.code_values[golden["codes"]].flatten(2), golden["values"])


def test_latents_become_nearest_codes():
    golden = Golden("tokenbridge", "tokenbridge")
    latents = golden["latents"].flatten(2).transpose(1, 2)  # (B, G, h, w) -> (B, N, G)
    assert torch.equal(nearest_codes(latents, normal_code_values(golden.config["levels"])), golden["codes"])


def test_values_of_the_tokenizer_are_its_quantizers():
    from atoken.configuration_atoken import AtokenQuantizerConfig
    from atoken.quantization_atoken import AtokenQuantizer

    quantizer = AtokenQuantizer(AtokenQuantizerConfig())
    codes = torch.arange(4096)[:, None].expand(-1, quantizer.num_codebooks)
    expected = quantizer.from_codes(codes)[:, : quantizer.codebook_dim]
    assert torch.equal(fsq_code_values(quantizer.levels, quantizer.codebook_dim), expected)


def test_loss_and_gradients(case):
    golden, model = case
    labels, mask = labels_in_training(golden), golden["train.mask"]
    taps = {}
    hook = model.encoder_norm.register_forward_hook(lambda _, __, output: taps.update(encoded=output))
    order = mask.to(torch.uint8).argsort(dim=1, stable=True)
    features = model.features(golden["codes"], labels, order, int(mask[0].sum()))
    hook.remove()
    assert_close(taps["encoded"].detach(), golden["train.encoded"])
    assert_close(features.detach(), golden["train.features"])
    model.zero_grad()
    output = model(golden["codes"], labels, mask)
    assert_close(output.logits.detach(), golden["train.logits"])
    assert_close(output.loss.detach()[None], golden["train.loss"])
    output.loss.backward()
    gradients = {name: value.grad for name, value in to_official_token_bridge_parameters(model).items()}
    for name, expected in golden.gradients().items():
        assert_close(gradients[name], expected, relative=True)
    norm = torch.stack([value.norm() for value in gradients.values() if value is not None]).norm()
    assert_close(norm[None], golden["train.grad_norm"], relative=True)


@torch.no_grad()
@pytest.mark.parametrize("precision", ["autocast", "weights"])
def test_features_and_logits_in_half_precision(case, precision):
    golden, model = case
    model = copy.deepcopy(model).bfloat16() if precision == "weights" else model
    labels, mask = labels_in_training(golden), golden["train.mask"]
    order = mask.to(torch.uint8).argsort(dim=1, stable=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast"):
        features = model.features(golden["codes"], labels, order, int(mask[0].sum()))
        logits = model(golden["codes"], labels, mask).logits
    assert relative_error(features, golden["train.features"]) < 0.02
    assert relative_error(logits, golden["train.logits"]) < 0.02


def to_official_token_bridge_parameters(model: TokenBridgeModel) -> dict[str, torch.nn.Parameter]:
    return dict(zip(to_official_token_bridge(model), model.parameters(), strict=True))


def test_loss_without_logits_is_the_same(case):
    golden, model = case
    inputs = golden["codes"], labels_in_training(golden), golden["train.mask"]
    with torch.no_grad():
        sparing = model(*inputs, return_logits=False, num_masked=int(golden["train.mask"][0].sum()))
    assert sparing.logits is None
    assert_close(sparing.loss[None], golden["train.loss"])


@pytest.mark.parametrize("first_element", ["official", "training"])
@pytest.mark.parametrize("variant", SAMPLINGS)
def test_sampled_codes_are_exact(variant, first_element, request):
    golden = Golden("tokenbridge", variant)
    config = golden.config
    model = convert_token_bridge(
        golden.weights,
        encoder_num_heads=config["encoder_num_heads"],
        decoder_num_heads=config["decoder_num_heads"],
        code_levels=config["levels"] if config["channels_per_code"] > 1 else None,
        code_order=config["code_order"],
    )
    kind = {"official": "official", "training": "consistent"}[first_element]
    for sampling in config["samplings"]:
        name = sampling["name"]
        if f"sample.{name}.{kind}.codes" not in golden._tensors:
            continue
        codes = model.generate(
            golden["sample.labels"],
            num_inference_steps=sampling["num_iter"],
            guidance_scale=sampling["cfg"],
            guidance_schedule=sampling["cfg_schedule"],
            temperature=sampling["temperature"],
            order=golden["sample.orders"],
            first_element=first_element,
        )
        assert torch.equal(codes, golden[f"sample.{name}.{kind}.codes"]), name


@pytest.mark.parametrize("first_element", ["official", "training"])
@torch.no_grad()
def test_codes_of_one_step(case, first_element):
    golden, model = case
    kind = {"official": "official", "training": "consistent"}[first_element]
    seen = []

    def greedy(logits: torch.Tensor, index: int) -> torch.Tensor:
        seen.append(logits)
        return logits.argmax(-1)

    features = golden[f"sample.guided.{kind}.step_features"]
    for use_cache in (True, False):
        seen.clear()
        codes = model.head.draw(features, greedy, first_element=first_element, use_cache=use_cache)
        assert_close(torch.stack(seen, dim=1), golden[f"sample.guided.{kind}.step_logits"])
        assert torch.equal(codes, golden[f"sample.guided.{kind}.step_codes"])


def test_how_many_stay_masked(case):
    golden, model = case
    for sampling in golden.config["samplings"]:
        *expected, _ = golden[f"sample.{sampling['name']}.masked_after"].tolist()
        # The last step draws all that are left, whatever its number says.
        assert masked_counts(model.num_positions, sampling["num_iter"]) == [*expected, 0]


@pytest.mark.parametrize(
    ("preset", "sixteen_of_64", "eight_of_4096"),
    [("B", 218.02, 263.73), ("L", 486.89, 547.82), ("H", 910.04, 970.98)],
)
def test_parameters_of_presets(preset, sixteen_of_64, eight_of_4096):
    own = {"num_codes": 16, "codebook_size": 64, "code_channels": 1, "code_levels": None}
    for options, millions in ((own, sixteen_of_64), ({}, eight_of_4096)):
        with torch.device("meta"):
            model = TokenBridgeModel.from_preset(preset, **options)
        assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2) == millions
