"""Encoded captions: each once, in parts, found again, refused of another encoder."""

import pytest
import torch

from atoken.training.generators.text_to_media import captions as module
from atoken.training.generators.text_to_media.captions import (
    EMPTY,
    CaptionConditions,
    check_encoder,
    write_captions,
)

from .samples import captions, encode

TEXTS = ["a red star", "a star", "something blue that is striped"]


class Counting:
    """Encodes texts and keeps them; stops after some calls if asked."""

    def __init__(self, calls: int = 99):
        self.seen, self.left = [], calls

    def __call__(self, texts):
        if not self.left:
            raise RuntimeError("stopped")
        self.left -= 1
        self.seen.extend(texts)
        return encode(texts)


def test_each_text_is_encoded_once(tmp_path):
    counting = Counting()
    assert list(write_captions(tmp_path / "captions", TEXTS * 3, counting, "encoder")) == [(4, 4)]
    assert sorted(counting.seen) == sorted([EMPTY, *TEXTS])


def test_what_is_found_is_what_was_encoded(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PART", 2)
    wanted = [TEXTS[2], TEXTS[1], EMPTY, TEXTS[2]]
    found, expected = captions(tmp_path, TEXTS).find(wanted), encode(wanted)
    assert len(list((tmp_path / "captions").glob("part-*"))) == 2
    assert torch.equal(found.mask, expected.mask)
    torch.testing.assert_close(found.embeds, expected.embeds)
    torch.testing.assert_close(found.pooled, expected.pooled)
    assert captions(tmp_path, TEXTS).widths == (3, 2)


def test_a_stopped_work_goes_on_with_the_next_part(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PART", 3)
    monkeypatch.setattr(module, "_BATCH", 1)
    texts, first, second = [str(number) for number in range(7)], Counting(5), Counting()
    with pytest.raises(RuntimeError, match="stopped"):
        list(write_captions(tmp_path, texts, first, "encoder"))
    assert len(list(tmp_path.iterdir())) == 2  # one whole part, and what says the encoder
    assert list(write_captions(tmp_path, texts, second, "encoder")) == [(6, 8), (8, 8)]
    assert {*first.seen[:3]} | {*second.seen} == {EMPTY, *texts} and not {*first.seen[:3]} & {*second.seen}
    # With more captions, only those are encoded.
    third = Counting()
    list(write_captions(tmp_path, [*texts, "another"], third, "encoder"))
    assert third.seen == ["another"]
    CaptionConditions(tmp_path).check([EMPTY, *texts, "another"])


def test_shares_have_every_text_once(tmp_path):
    texts, seen = [str(number) for number in range(30)], []
    for share in range(3):
        counting = Counting()
        list(write_captions(tmp_path, texts, counting, "encoder", share, 3))
        assert counting.seen
        seen += counting.seen
    assert sorted(seen) == sorted([EMPTY, *texts])
    CaptionConditions(tmp_path).check([EMPTY, *texts])


def test_bad_folders(tmp_path):
    folder = tmp_path / "captions"
    with pytest.raises(FileNotFoundError, match="folder must have encoded captions, but there is no .*captions; run"):
        check_encoder(folder, "encoder")
    folder.mkdir()
    with pytest.raises(ValueError, match="folder must be one that encode_captions has written, got"):
        check_encoder(folder, "encoder")
    with pytest.raises(ValueError, match="folder must have encoded captions, got .* without"):
        CaptionConditions(folder)
    found = captions(tmp_path, TEXTS)
    check_encoder(folder, "encoder")
    with pytest.raises(ValueError, match="must have captions of the text encoder that is trained with"):
        check_encoder(folder, "another")
    with pytest.raises(ValueError, match="must have captions of the text encoder that is trained with"):
        list(write_captions(folder, TEXTS, encode, "another"))
    with pytest.raises(ValueError, match="captions must all be encoded, got 1 that are not, the first is 'a heart'"):
        found.find(["a star", "a heart"])
    (part,) = folder.glob("part-*")
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(ValueError, match="folder must have parts that are whole, got .*part-.*; remove it and run"):
        CaptionConditions(folder)
    with pytest.raises(ValueError, match="folder must be a folder of encoded captions, got the file"):
        list(write_captions(part, TEXTS, encode, "encoder"))
