"""How pictures of objects are cut out and encoded, against TRELLIS's numbers and boxes computed by hand."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from atoken.generation.object_conditions_atoken import grouped, picture_condition
from atoken.generation.object_pictures_atoken import object_picture, training_picture, with_alpha

from .conftest import GOLDEN
from .object_helpers import dinov2, picture, tokenizer


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    tensors = load_file(GOLDEN / "sparse_structure.tensors.safetensors")
    return {name.removeprefix("picture."): value.numpy() for name, value in tensors.items() if "picture." in name}


def test_the_authors_pictures(golden):
    rgba = with_alpha(golden["rgba"])
    assert np.array_equal(object_picture(rgba, 518)[::7, ::7], golden["inference"])
    assert np.array_equal(training_picture(rgba, 518)[:, ::7, ::7], golden["training"])


def rectangle(left: int, top: int, right: int, bottom: int, alpha: int = 255) -> Image.Image:
    """Gray noise whose alpha is that of a rectangle, its last column and row included, and 204 around it."""
    values = np.random.default_rng(0).integers(0, 256, (40, 40, 4), dtype=np.uint8)
    values[..., 3] = 0
    values[top - 1 : bottom + 2, left - 1 : right + 2, 3] = 204
    values[top : bottom + 1, left : right + 1, 3] = alpha
    return Image.fromarray(values)


@pytest.mark.parametrize(
    ("box", "cut"),
    [
        # center (15.5, 14), s = int(1.2 * 9) = 10: 10.5 to 20.5 across, half to even and not up
        ((11, 10, 20, 18), (10, 9, 20, 19)),
        # center (15.5, 14), s = int(1.2 * 11) = 13, half 6 and not 6.5: 9.5 to 21.5
        ((10, 10, 21, 18), (10, 8, 22, 20)),
        # the same of a tall one, center (13.5, 13.5)
        ((12, 8, 15, 19), (8, 8, 20, 20)),
    ],
)
def test_the_box_of_an_object(box, cut):
    given = rectangle(*box, alpha=205)
    resized = np.asarray(given.crop(cut).resize((32, 32), Image.Resampling.LANCZOS), np.float32) / np.float32(255)
    expected = (resized[..., :3] * resized[..., 3:] * np.float32(255)).astype(np.uint8)
    assert np.array_equal(object_picture(given, 32), expected)


def test_the_box_in_training_holds_all_that_is_seen():
    # left..right of alpha > 0 are 9..20 and 9..19: center (14.5, 14), half 6.6; ends toward zero
    given = rectangle(10, 10, 19, 18)
    cut = (7, 7, 21, 20)
    resized = np.asarray(given.crop(cut).resize((32, 32), Image.Resampling.LANCZOS), np.float32) / np.float32(255)
    assert np.array_equal(training_picture(given, 32), (resized[..., :3] * resized[..., 3:]).transpose(2, 0, 1))


def test_masks_take_the_place_of_alpha():
    given = picture()
    opaque, alpha = given.convert("RGB"), given.getchannel("A")
    for mask in (alpha, alpha.convert("1"), np.asarray(alpha), np.asarray(alpha) > 0):
        assert with_alpha(opaque, mask).tobytes() == given.tobytes()
    assert with_alpha(np.asarray(opaque), alpha).tobytes() == given.tobytes()


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (picture().convert("RGB"), None, "shot must have an alpha channel .* got mode RGB; remove the background"),
        (Image.new("RGBA", (9, 9), (1, 2, 3, 255)), None, "got one that is 255 everywhere"),
        (Image.new("RGBA", (9, 9), (1, 2, 3, 204)), None, "shot must show an object, got alpha of at most 204"),
        ("shot.png", None, "shot must be pictures of Pillow, or uint8 .* got str"),
        (np.zeros((9, 9, 3)), None, r"got float64 \(9, 9, 3\)"),
        (np.zeros((9, 9), np.uint8), None, r"got uint8 \(9, 9\)"),
        (picture(), np.zeros((9, 9), bool), r"masks must have the size of shot, \(40, 30\), got \(9, 9\)"),
        (picture(), np.zeros((30, 40)), r"masks of shot must be .* got float64 \(30, 40\)"),
        (picture(), picture(), "masks of shot must be .* got RGBA"),
        (picture(), np.zeros((30, 40), bool), "shot must show an object"),
    ],
)
def test_pictures_that_show_no_object(image, mask, message):
    with pytest.raises(ValueError, match=message):
        object_picture(with_alpha(image, mask, "shot"), 32, "shot")


def test_objects_of_a_pixel():
    values = np.zeros((9, 9, 4), np.uint8)
    values[4, 4] = 255
    small = Image.fromarray(values)
    with pytest.raises(ValueError, match="images must show an object of more than two pixels"):
        object_picture(small, 32)
    with pytest.raises(ValueError, match="images must show an object of more than one pixel"):
        training_picture(small, 32)


def test_pictures_of_objects_in_lists():
    one, two = picture(0), picture(1)
    assert grouped(one, None) == [[(one, None)]]
    assert grouped([one, two], [None, two]) == [[(one, None)], [(two, two)]]
    assert grouped([[one, two]], None) == [[(one, None), (two, None)]]
    for images, masks, message in (
        ([], None, "images must be at least one picture of each object, got none"),
        ([[one], []], None, "images must be at least one picture"),
        ([[one, two], [one]], None, r"images must be as many of each object, got \[2, 1\]"),
        ([one, two], [one], r"masks must be one for each of images"),
    ):
        with pytest.raises(ValueError, match=message):
            grouped(images, masks)


@torch.no_grad()
def test_conditions():
    """Tokens before the last norm, whose mean is 0 and deviation 1, of each encoder."""
    pixels = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    encoder = dinov2()
    taps = []
    hook = encoder.layernorm.register_forward_pre_hook(lambda _, inputs: taps.append(inputs[0]))
    found = picture_condition(pixels, encoder, None)
    hook.remove()
    assert found.shape == (2, 1 + 4 + 4, 32)
    tokens = taps[0].double()
    expected = (tokens - tokens.mean(-1, keepdim=True)) / (tokens.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)
    model, pixels = tokenizer(), torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    tokens = model.encode(2 * pixels - 1).last_hidden_state
    expected = torch.nn.functional.layer_norm(tokens, (32,))
    torch.testing.assert_close(picture_condition(pixels, None, model)[0], expected)
