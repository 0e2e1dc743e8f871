"""Rows through the encoder: what the processor and the model give for each alone, however rows are batched."""

import numpy as np
import pytest
import torch
from PIL import Image

from atoken.processing.views_atoken import mesh_views
from atoken.tokenizing.corpus.atoken_encoding import AtokenRowEncoder
from atoken.tokenizing.corpus.decoding import DecodedRow, decode_row, resized
from atoken.tokenizing.corpus.encoding import NOT_FINITE
from atoken.tokenizing.corpus.options import TokenizeOptions
from atoken.tokenizing.corpus.sources import SourceRow

from ...cli_samples import save_clip
from .samples import COUNT, name_of, pixels_of

PATCH = (4, 16, 16)
# A bar, as the voxels of a cube would be many.
BAR = [f"v {x} {y} {z}" for x in (0, 1) for y in (0, 0.04) for z in (0, 0.04)]
BAR += ["f 1 3 2", "f 2 3 4", "f 5 6 7", "f 6 8 7", "f 1 5 3", "f 3 5 7", "f 2 4 6", "f 4 8 6"]
BAR += ["f 1 2 5", "f 2 6 5", "f 3 7 4", "f 4 7 8", ""]


def alone(loaded, flip=False, **media):
    """What the processor and the model say about one medium."""
    inputs = loaded.processor(**media)
    with torch.no_grad():
        return loaded.model.encode(inputs.pixel_values, inputs.coords, inputs.cu_seqlens, pool=False)


def encode(loaded, options, rows):
    decoded = [decode_row(row, options, PATCH, loaded.processor.voxel_processor) for row in rows]
    return list(AtokenRowEncoder(loaded, options).encode(decoded))


def assert_stored(stored, exact):
    """Latents are stored in bfloat16, which has eight bits: half a step of rounding, and as much for other batches."""
    assert stored.dtype == torch.bfloat16
    torch.testing.assert_close(stored.float(), exact, atol=1e-4, rtol=2**-8)


def rows_of(folder):
    return [SourceRow(index, str(index), folder / f"{name_of(index)}.png") for index in range(COUNT)]


@pytest.mark.parametrize("batch_tokens", [1, 30, 10_000])
def test_pictures_of_several_sizes_are_encoded_as_each_alone(batch_tokens, loaded, pictures):
    options = TokenizeOptions(batch_tokens=batch_tokens, moments=True)
    encoded = encode(loaded["continuous"], options, rows_of(pictures))
    assert [row.index for row in encoded] == list(range(COUNT))
    for row in encoded:
        image = pixels_of(row.index)
        expected = alone(loaded["continuous"], images=[image])
        assert row.media_size == (1, *image.shape[:2]) and row.grid == (
            1,
            *(-(-side // 16) for side in image.shape[:2]),
        )
        assert_stored(row.values, expected.latents)
        assert_stored(row.logvar, expected.latent_dist.logvar)


def test_codes_are_those_of_the_model(loaded, pictures):
    encoded = encode(loaded["discrete"], TokenizeOptions(content="codes"), rows_of(pictures))
    for row in encoded:
        expected = alone(loaded["discrete"], images=[pixels_of(row.index)]).codes
        assert row.values.dtype == torch.int16
        assert torch.equal(row.values.long(), expected)


def test_mirror_images_follow(loaded, pictures):
    encoded = encode(loaded["continuous"], TokenizeOptions(size=32, flip=True), rows_of(pictures)[:3])
    assert [(row.index, row.flipped) for row in encoded] == [(i, flip) for i in range(3) for flip in (False, True)]
    for row in encoded:
        decoded = decode_row(rows_of(pictures)[row.index], TokenizeOptions(size=32), PATCH).pixels[0]
        image = (decoded.flip(-1) if row.flipped else decoded).permute(1, 2, 0).numpy()
        expected = alone(loaded["continuous"], images=[image])
        assert_stored(row.values, expected.latents)


@pytest.mark.parametrize("batch_tokens", [1, 10_000])
def test_mirror_images_of_sizes_that_are_no_whole_patches(batch_tokens, loaded, pictures):
    """Are padded at the right, as any picture."""
    options = TokenizeOptions(flip=True, batch_tokens=batch_tokens)
    for row in encode(loaded["continuous"], options, rows_of(pictures)[:4]):
        image = pixels_of(row.index)
        expected = alone(loaded["continuous"], images=[image[:, ::-1].copy() if row.flipped else image])
        assert_stored(row.values, expected.latents)


@pytest.mark.parametrize("frames, grid", [(None, 5), (6, 2)])
def test_videos(frames, grid, loaded, tmp_path):
    pixels = save_clip(tmp_path / "a.mp4")
    options = TokenizeOptions(kind="video", frames=frames)
    (row,) = encode(loaded["continuous"], options, [SourceRow(0, "a", tmp_path / "a.mp4")])
    chosen = pixels if frames is None else pixels[6:12]
    assert row.grid == (grid, 2, 3) and row.media_size == (len(chosen), 32, 48) and row.fps == pytest.approx(12.5)
    expected = alone(loaded["continuous"], videos=[chosen], do_sample_frames=False)
    assert_stored(row.values, expected.latents)
    (row,) = encode(loaded["continuous"], options, [SourceRow(0, "a", (tmp_path / "a.mp4").read_bytes())])
    assert_stored(row.values, expected.latents)


def test_short_videos_are_failures(tmp_path, loaded):
    save_clip(tmp_path / "a.mp4")
    options = TokenizeOptions(kind="video", frames=19)
    (row,) = encode(loaded["continuous"], options, [SourceRow(0, "a", tmp_path / "a.mp4")])
    assert row.values is None and "at least 19 frames, got 18" in row.error


def test_objects(loaded, tmp_path):
    path = tmp_path / "bar.obj"
    path.write_text("\n".join(BAR))
    expected = alone(loaded["continuous"], voxels=[mesh_views(path)])
    rows = [SourceRow(0, "a", path), SourceRow(1, "b", path.read_bytes(), "bar.obj")]
    rows.append(SourceRow(2, "c", path.read_bytes(), "bar.txt"))
    encoded = encode(loaded["continuous"], TokenizeOptions(kind="object"), rows)
    for row in encoded[:2]:
        assert row.grid is None and row.coords.shape == (len(row.values), 3)
        torch.testing.assert_close(row.coords.long(), expected.coords[:, 1:])
        assert_stored(row.values, expected.latents)
    assert "must have a name that ends in" in encoded[2].error


def test_values_that_are_not_finite_are_a_failure(loaded, pictures, monkeypatch):
    encoder = AtokenRowEncoder(loaded["continuous"], TokenizeOptions(size=32, flip=True))
    decoded = decode_row(rows_of(pictures)[0], encoder.options, PATCH)
    encoder._shift = encoder._shift * torch.nan
    assert [(row.error, row.values) for row in encoder.encode([decoded])] == [(NOT_FINITE, None)]


def test_damaged_files_are_failures_and_others_go_on(tmp_path, loaded, pictures):
    (tmp_path / "text.png").write_text("hello " * 50)
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.png").write_bytes((pictures / f"{name_of(0)}.png").read_bytes()[:900])
    names = ["text.png", "empty.png", "cut.png", "nothing.png"]
    rows = [SourceRow(index, name, tmp_path / name) for index, name in enumerate(names)]
    encoded = encode(loaded["continuous"], TokenizeOptions(), [*rows, rows_of(pictures)[4]])
    for row, says in zip(encoded, ["not an image", "empty file", "truncated", "no file"], strict=False):
        assert says in row.error and row.values is None
    assert encoded[4].error is None


def test_a_machine_without_open_files_stops_the_work(monkeypatch, pictures):
    def fail(path):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("pathlib.Path.read_bytes", fail)
    with pytest.raises(OSError, match="Too many open files"):
        decode_row(rows_of(pictures)[0], TokenizeOptions(), PATCH)


def frames(height, width):
    return torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8)


def test_sizes():
    def size(height, width, **options):
        return tuple(resized(frames(height, width), TokenizeOptions(**options), PATCH).shape[2:])

    assert size(100, 37) == (100, 37)
    assert size(100, 37, size=32) == size(20, 500, size=32) == (32, 32)
    assert size(100, 37, max_tokens=21) == (100, 37)  # 7 x 3 patches
    rng = np.random.default_rng(0)
    for height, width, most in rng.integers(1, 500, (200, 3)).tolist():
        new = size(height, width, max_tokens=most)
        patches = -(-new[0] // 16) * -(-new[1] // 16)
        assert patches <= most
        if new != (height, width):
            assert new[0] % 16 == new[1] % 16 == 0


def test_the_middle_is_kept():
    picture = torch.zeros(1, 3, 32, 96, dtype=torch.uint8)
    picture[:, :, :, 32:64] = 200
    assert (resized(picture, TokenizeOptions(size=32), PATCH) == 200).all()


def test_tokens_are_counted():
    row = DecodedRow(0, "a", {}, pixels=torch.zeros(6, 3, 32, 48, dtype=torch.uint8))
    assert row.tokens(PATCH) == 2 * 2 * 3


def test_deep_pictures_are_rounded_to_8_bits(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (20, 30), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    pixels = decode_row(SourceRow(0, "a", tmp_path / "a.png"), TokenizeOptions(), PATCH).pixels[0, 0, :20, :30]
    expected = values.astype(np.float64) / 65535 * 255
    assert np.abs(pixels.numpy() - expected).max() <= 0.5001
