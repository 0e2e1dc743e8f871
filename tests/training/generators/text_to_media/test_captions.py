"""Encoded captions: each once, found again, refused of another encoder."""

import pytest
import torch

from atoken.training.generators.text_to_media.captions import EMPTY, CaptionConditions, write_captions

from .samples import captions, encode

TEXTS = ["a red star", "a star", "something blue that is striped"]


def test_each_text_is_encoded_once(tmp_path):
    seen = []

    def counting(texts):
        seen.extend(texts)
        return encode(texts)

    write_captions(tmp_path / "captions.safetensors", TEXTS * 3, counting, "encoder")
    assert sorted(seen) == sorted([EMPTY, *TEXTS])


def test_what_is_found_is_what_was_encoded(tmp_path):
    found, expected = captions(tmp_path, TEXTS).find([TEXTS[2], TEXTS[1], EMPTY]), encode([TEXTS[2], TEXTS[1], EMPTY])
    assert torch.equal(found.mask, expected.mask)
    torch.testing.assert_close(found.embeds, expected.embeds)
    torch.testing.assert_close(found.pooled, expected.pooled)
    assert captions(tmp_path, TEXTS).widths == (3, 2)


def test_bad_files(tmp_path):
    path = tmp_path / "captions.safetensors"
    with pytest.raises(FileNotFoundError, match="there is no file"):
        CaptionConditions(path, "encoder")
    found = captions(tmp_path, TEXTS)
    with pytest.raises(ValueError, match="must have captions of the text encoder that is trained with"):
        CaptionConditions(path, "another")
    with pytest.raises(ValueError, match="captions must all be encoded, got 1 that are not, the first is 'a heart'"):
        found.find(["a star", "a heart"])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="must be a file of encoded captions"):
        CaptionConditions(path, "encoder")
