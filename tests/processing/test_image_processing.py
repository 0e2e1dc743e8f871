import io
import urllib.error
import urllib.request
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from atoken.processing import AtokenImageProcessor
from atoken.processing.media_reading_atoken import open_image
from atoken.processing.pil_decoding_atoken import apply_orientation, pil_to_rgb

from .samples import exif_bytes, photo, png16


@pytest.fixture(scope="module")
def processor() -> AtokenImageProcessor:
    return AtokenImageProcessor()


def restored(processor, images, **options) -> list[np.ndarray]:
    return processor.post_process(**processor(images, **options), output_type="np")


@pytest.mark.parametrize("size", [(70, 90), (1, 1), (16, 16), (17, 3), (1, 40)])
def test_photo_comes_back_exactly(processor, size):
    array = photo(*size)
    batch = processor(Image.fromarray(array))
    assert batch.media_sizes.tolist() == [[1, *size]]
    assert batch.pixel_values.shape == (-(-size[0] // 16) * -(-size[1] // 16), 3072)
    assert np.array_equal(processor.post_process(**batch, output_type="np")[0], array)


def test_output_types_and_dtypes(processor):
    array = photo()
    batch = processor(array)
    assert {name: value.dtype for name, value in batch.items()} == {
        "pixel_values": torch.float32,
        "coords": torch.int64,
        "cu_seqlens": torch.int32,
        "media_sizes": torch.int64,
        "pixel_mask": torch.bool,
        "is_video": torch.bool,
    }
    assert batch.pixel_values.min() >= -1 and batch.pixel_values.max() <= 1
    tensor = processor.post_process(**batch)[0]
    assert tensor.shape == (3, 70, 90) and tensor.dtype == torch.float32
    torch.testing.assert_close(tensor, torch.from_numpy(array).permute(2, 0, 1) / 255)
    picture = processor.post_process(**batch, output_type="pil")[0]
    assert picture.size == (90, 70) and np.array_equal(np.asarray(picture), array)
    arrays = processor(array, return_tensors="np")
    assert all(isinstance(value, np.ndarray) for value in arrays.values())
    assert np.array_equal(processor.post_process(**arrays, output_type="np")[0], array)


def test_decoded_values_are_clamped_and_rounded(processor):
    batch = processor(photo(16, 16))
    decoded = torch.full_like(batch.pixel_values, 1.7, dtype=torch.bfloat16)
    image = processor.post_process(decoded, batch.coords, batch.cu_seqlens, batch.media_sizes)[0]
    assert image.dtype == torch.float32 and image.unique().tolist() == [1.0]
    level = torch.full_like(batch.pixel_values, 2 * 100.6 / 255 - 1)
    image = processor.post_process(level, batch.coords, batch.cu_seqlens, batch.media_sizes, "np")[0]
    assert np.unique(image).tolist() == [101]


def test_layouts_and_kinds_agree(processor, tmp_path):
    array = photo(20, 30)
    Image.fromarray(array).save(tmp_path / "photo.png")
    tensor = torch.from_numpy(array)
    same = [
        Image.fromarray(array),
        array,
        array.transpose(2, 0, 1),
        tensor,
        tensor.permute(2, 0, 1),
        array / 255.0,
        tensor.permute(2, 0, 1).float() / 255,
        array.astype(np.uint16) * 257,
        array[:, ::-1][:, ::-1],
        np.frombuffer(array.tobytes(), np.uint8).reshape(array.shape),
        tmp_path / "photo.png",
        str(tmp_path / "photo.png"),
    ]
    batch = processor(same)
    first, *others = batch.pixel_values.split(batch.cu_seqlens.diff().tolist())
    for other in others:
        torch.testing.assert_close(other, first, atol=1e-6, rtol=0)
    assert torch.equal(processor(np.stack([array] * len(same))).coords, batch.coords)


def test_input_is_not_changed(processor):
    values = torch.rand(3, 20, 20)
    before = values.clone()
    processor(values)
    processor(values, do_rescale=False)
    processor(values * 2 - 1, do_rescale=False, do_normalize=False)
    assert torch.equal(values, before)


def test_ambiguous_layout_is_settled_by_the_caller(processor):
    array = photo(3, 70)
    with pytest.raises(ValueError, match="input_data_format"):
        processor(array)
    assert np.array_equal(restored(processor, array, input_data_format="channels_last")[0], array)
    first = restored(processor, array, input_data_format="channels_first")[0]
    assert np.array_equal(first, array.transpose(1, 2, 0))


def test_value_rules(processor):
    values = torch.rand(3, 16, 16)
    reference = processor(values).pixel_values
    torch.testing.assert_close(processor(values, do_rescale=False).pixel_values, reference)
    signed = processor(values * 2 - 1, do_rescale=False, do_normalize=False).pixel_values
    torch.testing.assert_close(signed, reference)
    mask = processor(values > 0.5).pixel_values[:, :768]
    assert set(mask.unique().tolist()) == {-1.0, 1.0}
    # Replacing the factor redefines the numbers, so no range is imposed on them.
    tens = (values[:1] * 10).to(torch.uint8)
    scaled = processor(tens.expand(3, -1, -1), rescale_factor=0.1).pixel_values[:, :768]
    torch.testing.assert_close(scaled.max(), tens.max() * 0.2 - 1.0)


@pytest.mark.parametrize("options", [{}, {"do_normalize": False}, {"do_rescale": False, "do_normalize": False}])
def test_post_process_undoes_what_the_processor_is_set_to_do(options):
    processor = AtokenImageProcessor(**options)
    values = torch.rand(3, 20, 20)
    given = values * 2 - 1 if options.get("do_rescale") is False else values
    torch.testing.assert_close(processor.post_process(**processor(given))[0], values)


# Every Pillow mode, against colors worked out by hand.


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("P", 5, (10, 20, 30)),
        ("RGB", (1, 2, 3), (1, 2, 3)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (0, 100, 200, 51), (204, 224, 244)),
        ("RGBa", (0, 20, 40, 51), (204, 224, 244)),
        ("LA", (100, 51), (224, 224, 224)),
        ("La", (20, 51), (224, 224, 224)),
        ("PA", (5, 0), (255, 255, 255)),
        ("CMYK", (255, 0, 0, 0), (0, 255, 255)),
        ("YCbCr", (120, 128, 128), (120, 120, 120)),
        ("HSV", (0, 255, 200), (200, 0, 0)),
        ("F", 0.2, (51, 51, 51)),
        ("I;16", 25700, (100, 100, 100)),
    ],
)
def test_pillow_modes(processor, mode, color, expected):
    image = Image.new(mode, (9, 7), color)
    if mode in ("P", "PA"):
        image.putpalette(bytes(value % 256 for index in range(256) for value in (2 * index, 4 * index, 6 * index)))
    array = restored(processor, image)[0]
    assert array.shape == (7, 9, 3) and (array == expected).all()


@pytest.mark.parametrize("transparent", [5, bytes([255] * 5 + [0])])
def test_palette_transparency_becomes_white(processor, tmp_path, transparent):
    image = Image.frombytes("P", (2, 1), bytes([5, 6]))
    image.putpalette(bytes(value for index in range(256) for value in (index, index, index)))
    image.save(tmp_path / "p.png", transparency=transparent)
    assert restored(processor, tmp_path / "p.png")[0].tolist() == [[[255] * 3, [6] * 3]]


def test_rgb_and_grey_transparent_color_becomes_white(processor, tmp_path):
    Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8)).save(tmp_path / "c.png", transparency=(1, 2, 3))
    assert restored(processor, tmp_path / "c.png")[0].tolist() == [[[255] * 3, [4, 5, 6]]]
    Image.fromarray(np.array([[7, 8]], dtype=np.uint8)).save(tmp_path / "g.png", transparency=7)
    assert restored(processor, tmp_path / "g.png")[0].tolist() == [[[255] * 3, [8] * 3]]


def test_arrays_with_one_and_four_channels(processor):
    gray = photo(8, 9)[..., 0]
    for array in (gray, gray[..., None], gray[None]):
        assert np.array_equal(restored(processor, array)[0], gray[..., None].repeat(3, 2))
    rgba = np.concatenate([photo(8, 9), np.full((8, 9, 1), 51, np.uint8)], axis=2)
    expected = np.round(rgba[..., :3] * 0.2 + 255 * 0.8)
    assert np.abs(restored(processor, rgba)[0] - expected).max() <= 1
    assert np.array_equal(restored(processor, Image.fromarray(rgba))[0], expected)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bit_png_keeps_its_precision(processor, tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 65536, (6, 7, channels), dtype=np.uint16)
    if channels in (2, 4):
        pixels[..., -1] = 65535
    data = png16(pixels)
    (tmp_path / "deep.png").write_bytes(data)
    color = pixels[..., :1].repeat(3, 2) if channels < 3 else pixels[..., :3]
    expected = torch.from_numpy(color / 65535).permute(2, 0, 1).float()
    for image in (tmp_path / "deep.png", Image.open(io.BytesIO(data)), Image.open(tmp_path / "deep.png")):
        batch = processor(image)
        torch.testing.assert_close(processor.post_process(**batch)[0], expected, atol=1e-6, rtol=0)
    assert open_image(tmp_path / "deep.png").dtype == torch.uint16
    assert np.array_equal(open_image(tmp_path / "deep.png").permute(1, 2, 0).numpy(), color)


@pytest.mark.parametrize("pixel_format", ["rgb48le", "rgba64le"])
@pytest.mark.parametrize("compression", ["raw", "deflate"])
def test_sixteen_bit_tiff_keeps_its_precision(tmp_path, pixel_format, compression):
    av = pytest.importorskip("av")
    channels = 4 if "a" in pixel_format else 3
    pixels = np.random.default_rng(0).integers(0, 65536, (6, 8, channels), dtype=np.uint16)
    pixels[..., 3:] = 65535
    codec = av.CodecContext.create("tiff", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = 8, 6, pixel_format, Fraction(1)
    codec.options = {"compression_algo": compression}
    packets = codec.encode(av.VideoFrame.from_ndarray(pixels, format=pixel_format)) + codec.encode(None)
    (tmp_path / "deep.tif").write_bytes(b"".join(bytes(packet) for packet in packets))
    assert np.array_equal(open_image(tmp_path / "deep.tif").permute(1, 2, 0).numpy(), pixels[..., :3])


def test_sixteen_bit_transparent_color_becomes_white(tmp_path):
    pixels = np.array([[[1, 2, 300], [1, 2, 301]]], dtype=np.uint16)
    (tmp_path / "key.png").write_bytes(png16(pixels, transparent=(1, 2, 300)))
    assert open_image(tmp_path / "key.png").permute(1, 2, 0).tolist() == [[[65535] * 3, [1, 2, 301]]]
    (tmp_path / "gray.png").write_bytes(png16(pixels[..., 2:], transparent=(300,)))
    assert open_image(tmp_path / "gray.png").permute(1, 2, 0).tolist() == [[[65535] * 3, [301] * 3]]


def test_sixteen_bit_alpha_is_composited_in_sixteen_bits(tmp_path):
    (tmp_path / "a.png").write_bytes(png16(np.array([[[1000, 2000, 3000, 13107]]], dtype=np.uint16)))
    assert open_image(tmp_path / "a.png").flatten().tolist() == [52628, 52828, 53028]


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L"])
def test_sixteen_bit_grey_tiff_and_byte_orders(mode):
    values = np.array([[1, 256, 65535]], dtype=np.uint16)
    image = Image.frombytes(mode, (3, 1), values.astype(">u2" if mode == "I;16B" else "<u2").tobytes())
    assert pil_to_rgb(image, "images")[0].tolist() == values.tolist()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(processor, tmp_path, orientation):
    from PIL import ImageOps

    image = Image.fromarray(photo(5, 8))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "turned.png", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "turned.png")))
    assert np.array_equal(restored(processor, tmp_path / "turned.png")[0], upright)
    deep = np.random.default_rng(0).integers(0, 65536, (5, 8, 3), dtype=np.uint16)
    (tmp_path / "deep.png").write_bytes(png16(deep, orientation))
    expected = apply_orientation(torch.from_numpy(deep).permute(2, 0, 1), orientation)
    assert torch.equal(open_image(tmp_path / "deep.png"), expected)
    assert open_image(tmp_path / "deep.png").shape[1:] == upright.shape[:2]
    image.save(tmp_path / "turned.tif", exif=exif)
    assert np.array_equal(restored(processor, tmp_path / "turned.tif")[0], upright)


def test_exif_block_of_the_samples_is_valid():
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + exif_bytes(6))
    assert exif[0x0112] == 6


def test_jpeg_path_matches_pillow(processor, tmp_path):
    Image.fromarray(photo(40, 41)).save(tmp_path / "photo.jpg")
    assert np.array_equal(
        restored(processor, tmp_path / "photo.jpg")[0], np.asarray(Image.open(tmp_path / "photo.jpg"))
    )


def test_multi_picture_jpeg_is_its_photograph(processor, tmp_path):
    Image.fromarray(photo(20, 20)).save(
        tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[Image.fromarray(photo(10, 10))]
    )
    assert restored(processor, tmp_path / "phone.jpg")[0].shape == (20, 20, 3)


def test_one_frame_gif_is_an_image(processor, tmp_path):
    Image.new("P", (5, 4), 3).save(tmp_path / "still.gif")
    assert restored(processor, tmp_path / "still.gif")[0].shape == (4, 5, 3)


def test_fetch_images_reads_paths_and_keeps_the_rest(processor, tmp_path):
    array = photo(5, 6)
    Image.fromarray(array).save(tmp_path / "a.png")
    path, kept = processor.fetch_images([str(tmp_path / "a.png"), array])
    assert kept is array and torch.equal(path, torch.from_numpy(array).permute(2, 0, 1))


def test_http_address(processor, monkeypatch):
    data = io.BytesIO()
    Image.fromarray(photo(5, 6)).save(data, format="PNG")

    def answer(url, timeout):
        if not url.endswith("a.png"):
            raise urllib.error.HTTPError(url, 404, "Not Found", None, None)
        return io.BytesIO(data.getvalue())

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    assert np.array_equal(restored(processor, "https://example.org/a.png")[0], photo(5, 6))
    with pytest.raises(ValueError, match=r"images\[1\].*https://example.org/b.png.*404"):
        processor(["https://example.org/a.png", "https://example.org/b.png"])


# Resizing, which happens on request only.


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"size": {"height": 48, "width": 31}}, (48, 31)),
        ({"size": {"shortest_edge": 35}}, (35, 45)),
        ({"size": {"shortest_edge": 140, "longest_edge": 90}}, None),
        ({"size": {"shortest_edge": 60, "longest_edge": 72}}, (56, 72)),
        ({"size": {"longest_edge": 45}}, (35, 45)),
        ({"max_pixels": 3000}, (48, 48)),
        ({"max_pixels": 70 * 90}, (70, 90)),
        ({"min_pixels": 100, "max_pixels": 10_000}, (70, 90)),
        ({"min_pixels": 10_000}, (96, 128)),
        ({"size": {"min_pixels": 256, "max_pixels": 3000}}, (48, 48)),
        ({"size": {"shortest_edge": 35}, "do_resize": False}, (70, 90)),
    ],
)
def test_requested_size(processor, options, expected):
    array = photo(70, 90)
    if expected is None:
        with pytest.raises(ValueError, match="shortest_edge <= longest_edge"):
            processor(array, **options)
        return
    batch = processor(array, **options)
    assert batch.media_sizes.tolist() == [[1, *expected]]
    image = processor.post_process(**batch)[0]
    assert image.shape[1:] == expected and image.min() >= 0 and image.max() <= 1


@pytest.mark.parametrize("size", [(4, 4000), (1000, 17), (333, 1000), (64, 64), (1, 1)])
@pytest.mark.parametrize("bounds", [(None, 256), (None, 1000), (1024, 4096), (2000, 8192)])
def test_pixel_bounds_hold_for_any_shape(processor, size, bounds):
    low, high = bounds
    batch = processor(
        np.zeros((*size, 3), np.uint8), min_pixels=low, max_pixels=high, input_data_format="channels_last"
    )
    _, height, width = batch.media_sizes[0].tolist()
    assert (low or 0) <= height * width <= high
    assert (height, width) == size or (height % 16 == 0 and width % 16 == 0)


def test_resize_agrees_with_pillow(processor):
    ramp = np.linspace(0, 255, 90)[None, :, None] * np.linspace(0, 1, 70)[:, None, None]
    array = ramp.repeat(3, 2).astype(np.uint8)
    image = restored(processor, array, size={"height": 35, "width": 40})[0]
    expected = np.asarray(Image.fromarray(array).resize((40, 35), Image.Resampling.BICUBIC))
    assert np.abs(image.astype(int) - expected).max() <= 1


def test_resize_of_signed_values_stays_in_range(processor):
    values = (torch.rand(3, 40, 40) > 0.5).float() * 2 - 1
    batch = processor(values, do_rescale=False, do_normalize=False, size={"height": 50, "width": 50})
    assert batch.pixel_values.min() == -1 and batch.pixel_values.max() == 1


def test_options_of_the_processor_are_defaults_of_the_call():
    processor = AtokenImageProcessor(max_pixels=1024)
    assert processor(photo(64, 64)).media_sizes.tolist() == [[1, 32, 32]]
    assert processor(photo(64, 64), max_pixels=None).media_sizes.tolist() == [[1, 64, 64]]
    assert processor(photo(64, 64), max_pixels=256).media_sizes.tolist() == [[1, 16, 16]]


def test_save_and_load(tmp_path):
    processor = AtokenImageProcessor(max_pixels=4096, size=None)
    processor.save_pretrained(tmp_path)
    loaded = AtokenImageProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict() and loaded.max_pixels == 4096
    batch, again = processor(photo(99, 99)), loaded(photo(99, 99))
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    assert loaded.model_input_names == list(batch.keys())


@pytest.mark.parametrize("size", [(40, 1), (40, 3), (40, 4), (1, 1), (3, 40), (1, 4), (4, 3)])
@pytest.mark.parametrize("layout", [None, "channels_first", "channels_last"])
def test_narrow_files_are_no_arrays_of_unknown_layout(processor, tmp_path, size, layout):
    """The layout of arrays says nothing of files, whose width may be taken for a number of channels."""
    array = photo(*size)
    Image.fromarray(array).save(tmp_path / "a.png")
    for image in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(array)):
        assert np.array_equal(restored(processor, image, input_data_format=layout)[0], array)


def test_layout_is_that_of_the_arrays_of_a_call(processor, tmp_path):
    array = photo(20, 30)
    Image.fromarray(array).save(tmp_path / "a.png")
    both = restored(processor, [tmp_path / "a.png", array], input_data_format="channels_last")
    assert all(np.array_equal(image, array) for image in both)
    both = restored(processor, [array.transpose(2, 0, 1), tmp_path / "a.png"], input_data_format="channels_first")
    assert all(np.array_equal(image, array) for image in both)
