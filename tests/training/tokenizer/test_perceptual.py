"""Losses by frozen networks against formulas in float64 numpy or the package that defines them; crops; gradients."""

import lpips
import numpy as np
import pytest
import torch
import transformers

from atoken.evaluation.metrics.feature_networks import gram_matrix
from atoken.evaluation.metrics.st_lpips import StLpipsNetwork
from atoken.training.tokenizer.losses import l1_loss
from atoken.training.tokenizer.perceptual import ClipLoss, Crops, StLpipsLosses, VggLosses, perceptual_size


@pytest.fixture(scope="module")
def vgg() -> VggLosses:
    torch.manual_seed(0)
    return VggLosses(random=True)


def _images(seed: int) -> torch.Tensor:
    return torch.rand(2, 3, 48, 80, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_lpips_is_that_of_the_package_with_the_same_weights(vgg):
    reference = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).eval()
    reference.load_state_dict(vgg.lpips.state_dict())
    with torch.no_grad():
        found, _ = vgg(_images(0), _images(1))
        expected = reference(perceptual_size(_images(0)), perceptual_size(_images(1))).mean()
    assert float(found) == pytest.approx(float(expected), rel=1e-5) and float(found) > 0


def test_gram_by_formula(vgg):
    with torch.no_grad():
        _, found = vgg(_images(0), _images(1))
        sides = [vgg.lpips.net(vgg.lpips.scaling_layer(perceptual_size(_images(seed)))) for seed in (0, 1)]
    expected = _gram_distance(*sides)
    assert float(found) == pytest.approx(expected, rel=1e-4) and expected > 0


def _gram_distance(first: list[torch.Tensor], second: list[torch.Tensor]) -> float:
    """Computes the Gram loss of taps in float64."""
    total = 0.0
    for one, other in zip(first, second, strict=True):
        count, channels, height, width = one.shape
        flat = (side.double().numpy().reshape(count, channels, -1) for side in (one, other))
        grams = [side @ side.transpose(0, 2, 1) / (channels * height * width) for side in flat]
        total += ((grams[0] - grams[1]) ** 2).sum() / count
    return total


def test_gram_matrix_by_hand():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # two channels of 1x2
    assert gram_matrix(features).tolist() == [[[5 / 4, 11 / 4], [11 / 4, 25 / 4]]]


def test_equal_images_cost_nothing_and_gradients_go_to_the_reconstruction_alone(vgg):
    images = _images(0).requires_grad_()
    found = vgg(images, images.detach())
    assert [float(one) for one in found] == [0.0, 0.0]
    target = _images(1).requires_grad_()
    sum(vgg.train()(images, target)).backward()
    assert images.grad.abs().sum() > 0 and target.grad is None
    assert all(parameter.grad is None for parameter in vgg.parameters()) and not vgg.lpips.training


def test_losses_are_safe_in_bf16(vgg):
    first, second = _images(0), _images(1)
    alex = StLpipsLosses(network=StLpipsNetwork("alex"), crops=Crops(64, 1.0))
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        halves = first.bfloat16(), second.bfloat16()
        low = [*vgg(*halves), *alex(*halves), l1_loss(*halves)]
    with torch.no_grad():
        rounded = [image.bfloat16().float() for image in (first, second)]
        high = [*vgg(*rounded), *alex(*rounded), l1_loss(*rounded)]
    # Networks compute in bfloat16, of 8 bits, and losses of their features in float32.
    for one, other in zip(low, high, strict=True):
        assert one.dtype == torch.float32 and float(one) == pytest.approx(float(other), rel=5e-2)


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    config = transformers.CLIPVisionConfig(
        hidden_size=32, intermediate_size=37, num_hidden_layers=1, num_attention_heads=4, image_size=32, patch_size=8
    )
    return transformers.CLIPVisionModelWithProjection(config)


def test_clip_loss_is_one_minus_the_cosine(tower):
    mean, std = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
    loss = ClipLoss(tower, mean, std)
    images, target = _images(0).requires_grad_(), _images(1)
    found = loss(images, target)
    embeddings = []
    for picture in (images.detach(), target):
        small = torch.nn.functional.interpolate(perceptual_size(picture), (32, 32), mode="bilinear", antialias=True)
        pixels = np.stack([((small[:, c].numpy() + 1) / 2 - mean[c]) / std[c] for c in range(3)], 1)
        with torch.no_grad():
            embeddings.append(tower(torch.from_numpy(pixels).float()).image_embeds.double().numpy())
    a, b = embeddings
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert float(found) == pytest.approx(1 - cosine.mean(), abs=1e-5)
    found.backward()
    assert images.grad.abs().sum() > 0 and all(parameter.grad is None for parameter in tower.parameters())


@pytest.mark.parametrize("trunk", ["vgg", "alex"])
def test_st_lpips_and_gram_share_the_trunk(trunk):
    torch.manual_seed(0)
    network = StLpipsNetwork(trunk)
    losses = StLpipsLosses(network=network)
    assert losses.part == {"vgg": "st_lpips", "alex": "st_lpips_alex"}[trunk]
    with torch.no_grad():
        found, gram = losses(_images(0), _images(1))
        taps = [network.taps(perceptual_size(_images(seed))) for seed in (0, 1)]
        expected = network.distance(*taps).mean()
    assert float(found) == pytest.approx(float(expected), rel=1e-6) and float(found) != 0
    scales = StLpipsLosses.TAP_SCALES[trunk]
    scaled = ([tap.double() / scale for tap, scale in zip(side, scales, strict=True)] for side in taps)
    assert float(gram) == pytest.approx(_gram_distance(*scaled), rel=1e-4) and float(gram) > 0


def test_gram_does_not_depend_on_the_scale_of_layers_as_photographs_have_it(monkeypatch):
    torch.manual_seed(0)
    losses = StLpipsLosses(network=StLpipsNetwork("alex"))
    with torch.no_grad():
        before = losses(_images(0), _images(1))
        # ReLU lets a factor through: the last tap alone is three times what it was.
        for parameter in losses.network.blocks[-1].parameters():
            parameter *= 3
        scales = losses.TAP_SCALES["alex"]
        monkeypatch.setitem(losses.TAP_SCALES, "alex", (*scales[:-1], 3 * scales[-1]))
        after = losses(_images(0), _images(1))
    assert [float(one) for one in after] == pytest.approx([float(one) for one in before], rel=1e-5)


def test_crops_are_as_many_as_asked_for_and_the_same_for_a_key():
    sizes = [(160, 200), (96, 300), (128, 128), (64, 48), (256, 144), (130, 131), (128, 160), (400, 90)]
    crops = Crops(side=128, share=0.25)
    chosen = crops.choose(sizes, "0 [7, 8]")
    assert chosen == crops.choose(sizes, "0 [7, 8]") and len({crop.index for crop in chosen}) == len(chosen) == 2
    assert len(crops.choose(sizes[:1], "0")) == 1 and len(Crops(128, 1.0).choose(sizes, "0")) == 8
    seen, counts = {index: set() for index in range(8)}, np.zeros(8)
    for step in range(400):
        for crop in crops.choose(sizes, f"0 {step}"):
            height, width = sizes[crop.index]
            assert crop.rows.stop - crop.rows.start == min(128, height) and crop.rows.stop <= height
            assert crop.columns.stop - crop.columns.start == min(128, width) and crop.columns.stop <= width
            counts[crop.index] += 1
            seen[crop.index].add((crop.rows.start, crop.columns.start))
    # 100 are expected of each, with a deviation of 9.
    assert counts.min() > 60 and counts.max() < 140
    assert len(seen[0]) > 60 and seen[2] == seen[3] == {(0, 0)}


@pytest.mark.parametrize(("side", "share"), [(0, 0.5), (128, 0.0), (128, 1.5)])
def test_crops_are_of_some_size_and_share(side, share):
    with pytest.raises(ValueError, match="side and share must be positive and at most 1"):
        Crops(side, share)


def test_pictures_of_all_sizes_count_alike():
    torch.manual_seed(0)
    losses = StLpipsLosses(network=StLpipsNetwork("alex"), crops=Crops(side=40, share=1.0))
    sizes = [(48, 64), (32, 64), (40, 40), (64, 48)]
    pictures = [[torch.rand(1, 3, *size) * 2 - 1 for size in sizes] for _ in range(2)]
    with torch.no_grad():
        found = losses.of_pictures(*pictures, "key")
        single = []
        for crop in losses.crops.choose(sizes, "key"):
            pair = (side[crop.index][..., crop.rows, crop.columns] for side in pictures)
            single.append(torch.stack(losses(*pair)))
    torch.testing.assert_close(torch.stack(found), torch.stack(single).mean(0), rtol=1e-5, atol=0)
    whole = StLpipsLosses(network=losses.network)
    with torch.no_grad():
        found = whole.of_pictures(*pictures, "key")
        expected = whole(*(torch.cat([perceptual_size(one) for one in side]) for side in pictures))
    assert [float(one) for one in found] == [float(one) for one in expected]


def test_only_what_was_cropped_gets_a_gradient():
    torch.manual_seed(0)
    losses = StLpipsLosses(network=StLpipsNetwork("alex"), crops=Crops(side=32, share=0.25))
    pictures = [torch.rand(1, 3, 48, 48, requires_grad=True) for _ in range(4)]
    targets = [torch.rand(1, 3, 48, 48) for _ in range(4)]
    sum(losses.of_pictures(pictures, targets, "0")).backward()
    (crop,) = losses.crops.choose([(48, 48)] * 4, "0")
    assert [one.grad is not None for one in pictures] == [index == crop.index for index in range(4)]
    gradient = pictures[crop.index].grad
    inside = gradient[..., crop.rows, crop.columns].abs().sum()
    assert inside > 0 and gradient.abs().sum() == inside
