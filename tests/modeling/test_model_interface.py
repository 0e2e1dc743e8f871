"""What a transformers model promises: files, presets, losses, gradients, types, compilation, attention backends."""

import copy

import pytest
import torch
from torch.nn.functional import logsigmoid, normalize
from transformers import AttentionInterface

from atoken import AtokenConfig, AtokenModel, AtokenVisionModel, layers_atoken, varlen_attention_atoken
from atoken.outputs_atoken import LatentDistribution
from atoken.token_layouts_atoken import PackedSequences

from .helpers import LATENTS, WIDTH, as_tokens, assert_close, make_model, media, pack, tiny_config, voxel_tokens

IDS = torch.tensor([[2, 5, 7, 1], [2, 9, 1, 1]])
KINDS = {"continuous": {}, "discrete": {"discrete": True}, "text": {"text": True}}


def ragged_batch():
    clips = [(1, 48, 32), (20, 32, 48), (7, 16, 16)]
    samples = [as_tokens(media(count, 3, height, width, seed=i)) for i, (count, height, width) in enumerate(clips)]
    return pack([*samples, voxel_tokens(9)])


# Files and sizes.


def settings(config):
    """What a configuration says about the model; its folder and type are the loader's."""
    config = config.to_dict()
    parts = {name: value for name, value in config.items() if name not in ("_name_or_path", "architectures", "dtype")}
    for part in parts.values():
        if isinstance(part, dict):
            part.pop("dtype", None)
    return parts


@pytest.mark.parametrize("kind", KINDS)
def test_saving_and_loading(tmp_path, kind):
    model = make_model(seed=3, **KINDS[kind])
    model.save_pretrained(tmp_path)
    again = AtokenModel.from_pretrained(tmp_path)
    assert settings(again.config) == settings(model.config)
    assert not again.training
    state = again.state_dict()
    assert state.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(state[name], tensor), name
    image = media(1, 3, 32, 48)
    with torch.no_grad():
        for before, after in zip(model(image).to_tuple(), again(image).to_tuple(), strict=True):
            if isinstance(before, torch.Tensor):
                # Not bit for bit: weights mapped from a file lie differently in memory, so sums run in another order.
                assert_close(before, after, 1e-5)


def test_the_vision_tower_alone(tmp_path):
    """It loads from a file of its own and out of a whole model's."""
    model = make_model(seed=3, text=True)
    model.save_pretrained(tmp_path / "whole")
    model.vision_model.save_pretrained(tmp_path / "tower")
    image = media(2, 3, 32, 48)
    with torch.no_grad():
        expected = model.vision_model(image).pooler_output
        for folder in ("whole", "tower"):
            tower, report = AtokenVisionModel.from_pretrained(tmp_path / folder, output_loading_info=True)
            assert not report["missing_keys"]
            assert torch.equal(tower(image).pooler_output, expected)


def test_loading_in_another_type(tmp_path):
    make_model().save_pretrained(tmp_path)
    model = AtokenModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.encode(media(1, 3, 32, 48)).latents.dtype == torch.bfloat16


@pytest.mark.parametrize("size,millions,within", [("so400m", 845.7, 0.1), ("tiny", 5, 0.5)])
def test_the_number_of_parameters(size, millions, within):
    with torch.device("meta"):
        model = AtokenModel(AtokenConfig.from_preset(size))
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=within)


def test_presets_take_changes():
    config = AtokenConfig.from_preset("base", quantizer_config={})
    assert config.vision_config.hidden_size == config.decoder_config.hidden_size == 768
    assert config.quantizer_config.codebook_size == 4096 and config.text_config is None


def test_fresh_weights():
    """A new model starts with unit gains, zero biases and the configured spread."""
    model = AtokenModel(tiny_config(text=True, initializer_range=0.02))
    for name, parameter in model.named_parameters():
        if name.startswith("text_model") or parameter.numel() == 1:
            continue
        if "norm" in name and name.endswith("weight"):
            assert (parameter == 1).all(), name
        elif name.endswith("bias"):
            assert (parameter == 0).all(), name
        else:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.4), name
    assert model.logit_scale.item() == pytest.approx(4.8438) and model.logit_bias.item() == -15.5625


# Outputs.


def test_the_forward_is_encode_and_decode(model):
    batch = ragged_batch()
    with torch.no_grad():
        output, encoded = model(*batch), model.encode(*batch)
        decoded = model.decode(encoded.latent_dist.mode(), *batch[1:])
    assert torch.equal(output.reconstruction, decoded.pixel_values)
    assert torch.equal(output.pooler_output, encoded.pooler_output)
    assert_close(output.image_embeds, normalize(encoded.pooler_output, dim=-1), 1e-6)
    assert output.loss is None and output.logits_per_image is None and output.codes is None


def test_outputs_as_tuples(model):
    image = media(1, 3, 32, 48)
    with torch.no_grad():
        named, plain = model.vision_model(image), model.vision_model(image, return_dict=False)
    assert isinstance(plain, tuple)
    assert torch.equal(plain[0], named.last_hidden_state) and torch.equal(plain[1], named.pooler_output)


@pytest.mark.parametrize("dense", [True, False])
def test_hidden_states(model, dense):
    batch = (media(2, 3, 32, 48),) if dense else ragged_batch()
    with torch.no_grad():
        output = model.vision_model(*batch, output_hidden_states=True)
        assert len(output.hidden_states) == 3
        assert {state.shape for state in output.hidden_states} == {output.last_hidden_state.shape}
        assert_close(model.vision_model.post_layernorm(output.hidden_states[-1]), output.last_hidden_state, 1e-6)
    assert model.vision_model(*batch).hidden_states is None


def test_hidden_states_of_the_whole_model(discrete_model):
    """Of both towers; indices choose some of them, from either end."""
    image = media(2, 3, 32, 48)
    with torch.no_grad():
        output = discrete_model(image, output_hidden_states=True)
        encoder = discrete_model.encode(image, output_hidden_states=True).hidden_states
        some = discrete_model(image, output_hidden_states=[0, -1, 9])
        tower = discrete_model.vision_model(image, output_hidden_states=0).hidden_states
        assert discrete_model(image).hidden_states is None
    for states in (output.hidden_states, output.decoder_hidden_states):
        assert len(states) == 3 and {state.shape for state in states} == {(12, WIDTH)}
    assert all(torch.equal(state, other) for state, other in zip(output.hidden_states, encoder, strict=True))
    for states, chosen in (
        (output.hidden_states, some.hidden_states),
        (output.decoder_hidden_states, some.decoder_hidden_states),
    ):
        assert [state is None for state in chosen] == [False, True, False]
        assert torch.equal(chosen[0], states[0]) and torch.equal(chosen[2], states[2])
    assert torch.equal(tower[0].flatten(0, 1), output.hidden_states[0]) and tower[1:] == (None, None)


def test_input_embeddings():
    """Of a model with a text tower they are the vocabulary's, otherwise the projections of patches and latents."""
    whole = make_model(text=True)
    assert whole.get_input_embeddings() is whole.text_model.embeddings.token_embedding
    for model, tower in ((make_model(), "vision_model"), (whole.vision_model, None), (whole.decoder, None)):
        other = torch.nn.Linear(5, WIDTH)
        model.set_input_embeddings(other)
        assert model.get_input_embeddings() is other
        assert (getattr(model, tower) if tower else model).input_layer is other


def test_fresh_text_towers_are_the_same_however_made():
    """Made at once, or on the meta device and filled in where a checkpoint has no weights."""
    config = tiny_config(text=True)
    made, loaded = AtokenModel(config), AtokenModel.from_pretrained(None, config=config, state_dict={})
    for model in (made, loaded):
        # SigLIP2 draws the biases of its MLP, unlike those of other linear layers.
        assert model.text_model.encoder.layers[0].mlp.fc1.bias.abs().min() > 0


def test_image_features(text_image_model):
    image = media(2, 3, 32, 48)
    with torch.no_grad():
        features = text_image_model.get_image_features(image)
        assert torch.equal(features.pooler_output, text_image_model.encode(image).pooler_output)
        assert text_image_model.get_text_features(IDS).pooler_output.shape == (2, WIDTH)


def test_logits(text_image_model):
    model, images = text_image_model, media(3, 3, 32, 48)
    with torch.no_grad():
        output = model(images, input_ids=IDS)
        image = normalize(model.get_image_features(images).pooler_output, dim=-1)
        text = normalize(model.get_text_features(IDS).pooler_output, dim=-1)
    expected = image @ text.T * torch.tensor(4.8438).exp() - 15.5625
    assert output.logits_per_image.shape == (3, 2)
    assert_close(output.logits_per_image, expected, 1e-4)
    assert torch.equal(output.logits_per_text, output.logits_per_image.T)
    assert_close(output.image_embeds, image, 1e-6)
    assert_close(output.text_embeds, text, 1e-6)


# The posterior.


def test_the_posterior():
    moments = torch.randn(50, 2 * LATENTS, generator=torch.Generator().manual_seed(0))
    posterior = LatentDistribution(moments)
    mean, logvar = moments.double().chunk(2, dim=-1)
    assert torch.equal(posterior.mode(), moments[:, :LATENTS])
    assert_close(posterior.kl().double(), 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(-1), 1e-5)
    seeded = [posterior.sample(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(seeded[0], seeded[1]) and not torch.equal(seeded[0], seeded[2])
    noise = torch.randn(50, LATENTS, generator=torch.Generator().manual_seed(1))
    assert_close(seeded[0].double(), mean + (logvar / 2).exp() * noise, 1e-5)
    # The KL of the standard normal is 0, and half precision is summed in fp32.
    assert (LatentDistribution(torch.zeros(3, 8)).kl() == 0).all()
    assert LatentDistribution(moments.half()).kl().dtype == torch.float32
    other = LatentDistribution(moments.flip(0))
    normals = [torch.distributions.Normal(d.mean.double(), (d.logvar.double() / 2).exp()) for d in (posterior, other)]
    between = torch.distributions.kl_divergence(*normals).sum(-1)
    assert_close(posterior.kl(other).double(), between, 1e-3)


def test_the_posterior_of_dense_latents_is_that_of_diffusers():
    """Channels are the second dimension, and there is one divergence per sample."""
    theirs = pytest.importorskip("diffusers.models.autoencoders.vae").DiagonalGaussianDistribution
    moments = torch.randn(2, 3, 2 * LATENTS, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    images, others = moments[:, 0], moments[:, 1]
    kl, between = theirs(images).kl(), theirs(images).kl(theirs(others))
    assert_close(LatentDistribution(images, dim=1).kl().double(), kl, 1e-3)
    assert_close(LatentDistribution(images, dim=1).kl(LatentDistribution(others, dim=1)).double(), between, 1e-2)
    videos = LatentDistribution(moments.transpose(1, 2), dim=1).kl()
    assert_close(videos.double(), sum(theirs(moments[:, frame]).kl() for frame in range(3)), 1e-2)


def test_decoding_a_sample(model, discrete_model):
    image = media(1, 3, 32, 48)

    def run(net, seed=None):
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        with torch.no_grad():
            return net(image, sample_posterior=seed is not None, generator=generator).reconstruction

    assert torch.equal(run(model, 1), run(model, 1))
    assert (run(model, 1) - run(model, 2)).abs().max() > 1e-2
    assert (run(model, 1) - run(model)).abs().max() > 1e-2
    # Discrete latents are not drawn.
    assert torch.equal(run(discrete_model, 1), run(discrete_model))


# Losses.


def test_the_loss(text_image_model):
    model, images = text_image_model, media(2, 3, 32, 48)
    with torch.no_grad():
        output = model(images, input_ids=IDS, return_loss=True)
    target = torch.cat([as_tokens(image[None])[0] for image in images])
    l1 = (output.reconstruction - target).abs().mean()
    pairs = torch.tensor([[1, -1], [-1, 1]]) * output.logits_per_image
    contrast = -logsigmoid(pairs).sum() / 2
    assert_close(output.loss, 0.2 * l1 + 1e-8 * output.latent_dist.kl().mean() + contrast, 1e-5)
    with torch.no_grad():
        assert_close(model(images, return_loss=True).loss, 0.2 * l1 + 1e-8 * output.latent_dist.kl().mean(), 1e-6)


def test_the_loss_leaves_out_the_padding(model):
    """An image of 25 x 40 in 32 x 48, and 6 frames in 8: what the decoder gives outside of them has no effect."""
    sizes = torch.tensor([[1, 25, 40], [6, 32, 16]])
    image, video = media(1, 3, 32, 48), media(8, 3, 32, 16, seed=1)
    features, coords, cu_seqlens = pack([as_tokens(image), as_tokens(video)])
    inside = torch.zeros(4, 3, 32, 48), torch.zeros(8, 3, 32, 16)
    inside[0][:1, :, :25, :40] = 1
    inside[1][:6] = 1
    mask = torch.cat([as_tokens(one)[0] for one in inside]).bool()
    with torch.no_grad():
        output = model(features, coords, cu_seqlens, media_sizes=sizes, return_loss=True)
        error = (output.reconstruction - features).abs()
        kl = 1e-8 * output.latent_dist.kl().mean()
        assert_close(output.loss, 0.2 * error[mask].mean() + kl, 1e-6)
        assert abs(output.loss - 0.2 * error.mean()) > 1e-4
        pixel_mask = mask.unflatten(1, (-1, 3))[..., 0]
        assert torch.equal(
            model(features, coords, cu_seqlens, pixel_mask=pixel_mask, return_loss=True).loss, output.loss
        )
    output = model(features, coords, cu_seqlens, media_sizes=sizes, return_loss=True)
    (gradient,) = torch.autograd.grad(output.loss, output.reconstruction)
    assert (gradient[~mask] == 0).all() and (gradient[mask] != 0).all()


def test_the_loss_of_voxels_counts_their_colors(model):
    """A mixed batch: an image of 25 x 40 pixels and two objects, of whose patches only the first frame counts."""
    samples = [as_tokens(media(1, 3, 32, 48)), voxel_tokens(9), voxel_tokens(5, seed=1)]
    features, coords, cu_seqlens = pack([samples[1], samples[0], samples[2]])
    image = torch.zeros(1, 3, 32, 48)
    image[..., :25, :40] = 1
    voxels = torch.arange(1024) < 256
    masks = [voxels.repeat(9, 1), as_tokens(image)[0].unflatten(1, (-1, 3))[..., 0].bool(), voxels.repeat(5, 1)]
    sizes = torch.tensor([[0, 0, 0], [1, 25, 40], [0, 0, 0]])
    with torch.no_grad():
        output = model(features, coords, cu_seqlens, media_sizes=sizes, pixel_mask=torch.cat(masks), return_loss=True)
    errors = (output.reconstruction - features).abs().double().split([9, 6, 5])
    # (2, 3) patches of (4, 16, 16, 3) values -> 32 rows of 48 pixels of the first frame
    image = errors[1].reshape(2, 3, 4, 16, 16, 3)[:, :, 0].transpose(1, 2).reshape(32, 48, 3)[:25, :40]
    counted = torch.cat([errors[0][:, :768].flatten(), image.flatten(), errors[2][:, :768].flatten()])
    expected = 0.2 * counted.mean() + 1e-8 * output.latent_dist.kl().mean()
    assert_close(output.loss.double(), expected.double(), 1e-6)
    assert abs(output.loss - 0.2 * (output.reconstruction - features).abs().mean()) > 1e-4


# Gradients.


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind):
    model = make_model(**KINDS[kind]).train()
    text = {"input_ids": torch.cat([IDS, IDS])} if kind == "text" else {}
    generator = torch.Generator().manual_seed(0)
    output = model(*ragged_batch(), sample_posterior=True, generator=generator, return_loss=True, **text)
    # Without text nothing in the loss depends on the pooled embedding.
    (output.loss + output.pooler_output.square().mean()).backward()
    idle = {"logit_scale", "logit_bias"} if kind != "text" else set()
    for name, parameter in model.named_parameters():
        if name not in idle:
            assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize("cache_frames,reentrant", [(0, False), (0, True), (4, False)])
def test_gradient_checkpointing(cache_frames, reentrant):
    """The same gradients, also through the keys and values that windows hand on."""
    gradients = []
    for checkpointing in (False, True):
        model = make_model().train()
        if checkpointing:
            enable_checkpointing(model, reentrant)
            assert model.vision_model.blocks[0].gradient_checkpointing
        options = {"tile_frames": 8, "cache_frames": cache_frames}
        encoded = model.encode(media(1, 20, 3, 32, 16), **options)
        decoded = model.decode(encoded.latents, encoded.coords, encoded.cu_seqlens, **options).pixel_values
        # The last window's tokens alone: what reaches the earlier ones went through the cache.
        decoded[-2:].square().mean().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert (gradient is None) == (gradients[1][name] is None), name
        if gradient is not None:
            assert_close(gradients[1][name], gradient, 1e-6)


def enable_checkpointing(model, reentrant):
    # Renamed in newer versions of transformers.
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable({"use_reentrant": reentrant})


def test_checkpointing_that_would_cut_the_cache_off():
    """Reentrant checkpointing runs blocks without gradients; what windows hand on would silently have none."""
    model = make_model().train()
    enable_checkpointing(model, reentrant=True)
    with pytest.raises(ValueError, match="use_reentrant must be False"):
        model.encode(media(1, 20, 3, 32, 16), tile_frames=8, cache_frames=4)
    # Where nothing is recomputed, nothing can go wrong.
    model.eval().encode(media(1, 20, 3, 32, 16), tile_frames=8, cache_frames=4)


def test_gradients_reach_the_past_through_the_cache():
    model = make_model()
    video = media(1, 16, 3, 16, 16).requires_grad_()
    model.encode(video, tile_frames=8, cache_frames=4).latents[-1].sum().backward()
    by_frame = video.grad.abs().amax((0, 2, 3, 4))
    # Frames 4 to 7 are in the second window's past, frames 0 to 3 only in the first window, which those attend to.
    assert (by_frame > 0).all()
    alone = media(1, 16, 3, 16, 16).requires_grad_()
    model.encode(alone, tile_frames=8).latents[-1].sum().backward()
    assert (alone.grad[:, :8] == 0).all()


# Types and compilation.


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cache_frames", [0, 4])
def test_half_precision(dtype, kind, cache_frames):
    model = make_model(**KINDS[kind]).to(dtype)
    batch = ragged_batch()
    options = {"tile_frames": 8, "cache_frames": cache_frames}
    with torch.no_grad():
        # Inputs in fp32 are brought to the type of the weights.
        encoded = model.encode(*batch, **options)
        decoded = model.decode(encoded.latents, *batch[1:], **options).pixel_values
        expected = make_model(**KINDS[kind]).encode(*batch, **options).last_hidden_state
    assert encoded.latents.dtype == decoded.dtype == dtype
    assert encoded.latents.isfinite().all() and decoded.isfinite().all()
    error = (encoded.last_hidden_state.float() - expected).norm() / expected.norm()
    assert error < (3e-2 if dtype == torch.bfloat16 else 1e-2)


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
@pytest.mark.parametrize("frames", [1, 20])
def test_the_dense_path_compiles_without_breaks(kind, frames):
    model = make_model(**KINDS[kind])
    torch.compiler.reset()
    video = media(2, frames, 3, 32, 48)
    encode = torch.compile(model.encode, fullgraph=True, backend="eager")
    decode = torch.compile(model.decode, fullgraph=True, backend="eager")
    with torch.no_grad():
        expected, compiled = model.encode(video), encode(video)
        assert_close(compiled.latents, expected.latents, 1e-5)
        assert_close(compiled.pooler_output, expected.pooler_output, 1e-5)
        grid = expected.latents.unflatten(0, (2, -1, 2, 3))
        assert_close(decode(grid).pixel_values, model.decode(grid).pixel_values, 1e-5)
        if kind == "discrete":
            assert torch.equal(compiled.codes, expected.codes)
            codes = expected.codes.unflatten(0, (2, -1, 2, 3))
            assert_close(decode(codes=codes).pixel_values, model.decode(codes=codes).pixel_values, 1e-5)


# Attention backends that need a GPU, through stand-ins that check what they are given.


def attend_by_segment(query, key, value, starts_q, starts_k, scale):
    """(N, heads, head_dim), (M, heads, head_dim) twice -> (N, heads, head_dim)."""
    out = torch.full_like(query, torch.nan)
    for index in range(len(starts_q) - 1):
        q, k = slice(starts_q[index], starts_q[index + 1]), slice(starts_k[index], starts_k[index + 1])
        weights = torch.einsum("qhd,khd->hqk", query[q].float(), key[k].float()) * scale
        out[q] = torch.einsum("hqk,khd->qhd", weights.softmax(-1), value[k].float()).to(query.dtype)
    return out


def check_lengths(starts_q, starts_k, longest_q, longest_k, query, key):
    for starts, longest, tokens in ((starts_q, longest_q, query), (starts_k, longest_k, key)):
        assert starts.dtype == torch.int32 and starts.ndim == 1
        assert starts[0] == 0 and starts[-1] == len(tokens)
        assert isinstance(longest, int) and longest == starts.diff().max() and starts.diff().min() > 0
    assert len(starts_q) == len(starts_k)


@pytest.mark.parametrize("options", [{}, {"tile_frames": 8}, {"tile_frames": 8, "cache_frames": 4}], ids=str)
def test_flash_attention_gets_cumulative_lengths(options):
    calls = []

    def fake(module, query, key, value, attention_mask, scaling, is_causal, **lengths):
        assert attention_mask is None and is_causal is False
        assert set(lengths) == {"cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"}
        assert query.shape[:2] == (1, 2) and query.shape[-1] == 24
        query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
        check_lengths(*lengths.values(), query, key)
        calls.append(lengths["cu_seq_lens_k"].tolist())
        starts = lengths["cu_seq_lens_q"], lengths["cu_seq_lens_k"]
        return attend_by_segment(query, key, value, *starts, scaling)[None], None

    AttentionInterface.register("flash_attention_fake", fake)
    model, batch = make_model(), ragged_batch()
    with torch.no_grad():
        expected = model.encode(*batch, **options)
        patches = model.decode(expected.latents, *batch[1:], **options).pixel_values
        for tower in (model.vision_model, model.decoder):
            tower.config._attn_implementation = "flash_attention_fake"
        encoded = model.encode(*batch, **options)
        assert calls
        assert_close(encoded.latents, expected.latents, 1e-5)
        assert_close(encoded.pooler_output, expected.pooler_output, 1e-5)
        assert_close(model.decode(expected.latents, *batch[1:], **options).pixel_values, patches, 1e-5)


class OnGPU(torch.Tensor):
    """A tensor that says it is on a GPU."""

    is_cuda = True


@pytest.mark.parametrize("lengths,key_lengths", [([3, 5, 5, 1], [3, 5, 5, 1]), ([2, 2, 4], [6, 2, 5])])
def test_ragged_batches_on_a_gpu_take_the_variable_length_kernel(monkeypatch, model, lengths, key_lengths):
    calls = []

    def fake(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k):
        check_lengths(cu_seq_q, cu_seq_k, max_q, max_k, query, key)
        calls.append(cu_seq_q.tolist())
        return attend_by_segment(query, key, value, cu_seq_q, cu_seq_k, 24**-0.5)

    for file in (layers_atoken, varlen_attention_atoken):
        monkeypatch.setattr(file, "varlen_attn", fake)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    module = copy.deepcopy(model.vision_model.blocks[0].attn)
    module.config._attn_implementation = "sdpa"
    sequences = PackedSequences.from_lengths(lengths, torch.device("cpu"), key_lengths)
    query = media(sum(lengths), 2, 24).to(torch.bfloat16)
    key, value = (media(sum(key_lengths), 2, 24, seed=seed).to(torch.bfloat16) for seed in (1, 2))
    expected = layers_atoken.packed_attention(module, query, key, value, sequences)
    assert not calls
    gpu = [x.as_subclass(OnGPU) for x in (query, key, value)]
    output = layers_atoken.packed_attention(module, *gpu, sequences)
    assert calls == [[0, *torch.tensor(lengths).cumsum(0).tolist()]]
    assert_close(torch.Tensor(output.float()), expected.float(), 1e-2)
    # fp32 and uniform batches do not need it.
    layers_atoken.packed_attention(module, *(x.float().as_subclass(OnGPU) for x in gpu), sequences)
    uniform = PackedSequences.from_lengths([sum(lengths)], torch.device("cpu"), [sum(key_lengths)])
    layers_atoken.packed_attention(module, *gpu, uniform)
    assert len(calls) == 1


def test_where_there_is_a_variable_length_kernel(monkeypatch):
    query = media(3, 2, 24).to(torch.bfloat16).as_subclass(OnGPU)
    monkeypatch.setattr(varlen_attention_atoken, "varlen_attn", object())
    for capability, expected in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert varlen_attention_atoken.has_kernel(query) is expected
        assert not varlen_attention_atoken.has_kernel(query.float())
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert not varlen_attention_atoken.has_kernel(query)


def test_an_unknown_attention_kernel_changes_nothing():
    model = make_model(discrete=True)
    configs = [model.config, *(getattr(model.config, name) for name in ("vision_config", "quantizer_config"))]
    before = [config._attn_implementation for config in configs]
    with pytest.raises(ValueError, match="foo"):
        model.set_attn_implementation("foo")
    assert [config._attn_implementation for config in configs] == before


@pytest.mark.parametrize("options", [{}, {"tile_frames": 8, "cache_frames": 4}], ids=str)
def test_eager_is_sdpa(options):
    model, batch = make_model(), ragged_batch()
    outputs = []
    for implementation in ("eager", "sdpa"):
        model.set_attn_implementation(implementation)
        assert model.vision_model.blocks[0].attn.config._attn_implementation == implementation
        with torch.no_grad():
            outputs.append(model.encode(*batch, **options))
    assert_close(outputs[0].latents, outputs[1].latents, 1e-5)
    assert_close(outputs[0].pooler_output, outputs[1].pooler_output, 1e-5)
