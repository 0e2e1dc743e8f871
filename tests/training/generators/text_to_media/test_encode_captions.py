"""The program that encodes captions, and trainings of one and of several processes that read what it has written."""

from types import SimpleNamespace

import pytest
import torch
import typer

from atoken.generation.text_conditions_atoken import encode_texts
from atoken.tokenizing.corpus.reading import AtokenTokens
from atoken.tokenizing.loading import load_model
from atoken.training.generators.text_to_media.captions import EMPTY, CaptionConditions, captions_of, check_encoder
from atoken.training.generators.text_to_media.encode_captions import main
from atoken.training.generators.text_to_media.text_encoders import TextEncoders, open_text_encoders
from atoken.training.generators.text_to_media.train import open_captions
from atoken.training.trainer import StoppedElsewhere

from .conftest import TOKENIZER

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def loaded():
    return load_model(str(TOKENIZER), "cpu")


@pytest.fixture(scope="module")
def texts(files):
    return [text for path in (files.images, files.videos) for text in captions_of(AtokenTokens(path))]


@pytest.fixture(scope="module")
def folder(files, tmp_path_factory):
    """All captions, of two corpora and in two shares."""
    folder = tmp_path_factory.mktemp("encoded") / "captions"
    for shard in ("0/2", "1/2"):
        main(folder, files.images, files.videos, str(TOKENIZER), shard=shard)
    return folder


def agreement(rank: int = 0, processes: int = 1, failed: bool = False):
    """What one of several processes is told: whether it, or another one, has failed."""
    return SimpleNamespace(rank=rank, processes=processes, any=lambda value: value or failed)


def no_encoders():
    raise AssertionError("the encoders are not needed")


@torch.no_grad()
def test_captions_of_all_corpora_are_what_the_tower_says(folder, texts, loaded):
    wanted = [EMPTY, *texts]
    found = CaptionConditions(folder).find(wanted)
    expected = encode_texts(wanted, loaded.processor.tokenizer, loaded.model.text_model.float())
    assert torch.equal(found.mask, expected.mask)
    # In bfloat16, and in other batches.
    torch.testing.assert_close(found.embeds, expected.embeds, rtol=2**-8, atol=1e-4)
    torch.testing.assert_close(found.pooled, expected.pooled, rtol=2**-8, atol=1e-4)


def test_several_processes_read_what_is_there(folder, texts, loaded, monkeypatch):
    monkeypatch.setattr(TextEncoders, "encode", no_encoders)
    first = open_captions(folder, texts, lambda: open_text_encoders(loaded), CPU, agreement(0, 2))
    # The others do not even open the encoders.
    second = open_captions(folder, texts, no_encoders, CPU, agreement(1, 2))
    for conditions in (first, second):
        conditions.check([EMPTY, *texts])


def test_several_processes_do_not_wait_for_captions_to_be_encoded(texts, loaded, tmp_path):
    with pytest.raises(
        FileNotFoundError, match="folder must have encoded captions, but there is no .*; run encode_cap"
    ):
        open_captions(tmp_path / "none", texts, lambda: open_text_encoders(loaded), CPU, agreement(0, 2))
    with pytest.raises(StoppedElsewhere, match="the first process cannot read the captions"):
        open_captions(tmp_path / "none", texts, no_encoders, CPU, agreement(1, 2, failed=True))
    assert not (tmp_path / "none").exists()


def test_one_process_encodes_what_is_missing(texts, loaded, tmp_path):
    found = open_captions(tmp_path / "captions", texts, lambda: open_text_encoders(loaded), CPU, agreement())
    found.check([EMPTY, *texts])
    check_encoder(tmp_path / "captions", open_text_encoders(loaded).fingerprint())


def test_captions_of_another_encoder_are_refused(folder, texts):
    other = SimpleNamespace(
        fingerprint=lambda: "another encoder", to=lambda device: SimpleNamespace(encode=no_encoders)
    )
    for processes in (1, 2):
        with pytest.raises(ValueError, match="must have captions of the text encoder that is trained with, another"):
            open_captions(folder, texts, lambda: other, CPU, agreement(0, processes))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer": str(TOKENIZER)}, "--images or --videos must be given"),
        ({"images": "images"}, "--tokenizer or --text-encoder must be given, and not both"),
        ({"images": "images", "tokenizer": str(TOKENIZER), "shard": "2/2"}, 'share must be "I/N" with I from 0'),
    ],
)
def test_what_is_refused(options, message, files, tmp_path):
    if "images" in options:
        options = {**options, "images": files.images}
    with pytest.raises(typer.BadParameter, match=message):
        main(tmp_path / "captions", **options)
    assert not (tmp_path / "captions").exists()
