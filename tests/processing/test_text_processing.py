import string
from pathlib import Path

import pytest
import torch
from tokenizers import normalizers
from transformers import AutoTokenizer

from atoken.processing import canonicalize_text
from atoken.processing.text_processing_atoken import add_canonical_form, tokenize_text

from .samples import tiny_tokenizer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A Photo of a Dog.", "a photo of a dog"),
        ("golden_retriever", "golden retriever"),
        ("  many \t spaces\n here ", "many spaces here"),
        ("don't stop-now!", "dont stopnow"),
        ("R&amp;amp;D", "rd"),
        ("5 &lt; 6 &amp;lt; 7", "5 6 7"),
        ("caf&eacute;", "café"),
        ("cafÃ©", "café"),
        ("ÉCOLE", "école"),
        ("“quoted”", "quoted"),
        ("a,b;c:d", "abcd"),
        ("50% (half)", "50 half"),
        ("犬の写真", "犬の写真"),
        ("non\u00a0breaking", "non breaking"),
        ("___", ""),
        ("", ""),
    ],
)
def test_canonical_form(text, expected):
    assert canonicalize_text(text) == expected


def test_canonical_form_is_stable():
    once = canonicalize_text("The &quot;Quick&quot;_Brown\tFox…")
    assert canonicalize_text(once) == once


@pytest.mark.parametrize(
    "text",
    ["A Photo of a_Dog!", "  a \t dog\n", "a-dog...", "“A” ‘dog’", "ÉCOLE, a cat", "___", string.punctuation, ""],
)
def test_a_tokenizer_alone_writes_the_canonical_form(text, tmp_path):
    tokenizer = add_canonical_form(tiny_tokenizer())
    tokenizer.save_pretrained(tmp_path)
    for one in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        assert one.backend_tokenizer.normalizer.normalize_str(text) == canonicalize_text(text)
        assert one(text)["input_ids"] == tiny_tokenizer()(canonicalize_text(text))["input_ids"]


def test_the_normalizer_of_a_tokenizer_is_kept():
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace(" ", "▁")
    assert add_canonical_form(tokenizer).backend_tokenizer.normalizer.normalize_str("A  Dog!") == "a▁dog"
    assert add_canonical_form(None) is None


@pytest.mark.parametrize("name", ["atoken-tiny", "atoken-tiny-d"])
def test_tokenizers_of_the_checkpoints_alone(name):
    tokenizer = AutoTokenizer.from_pretrained(Path(__file__).parents[2] / "checkpoints" / name)
    first, second = tokenizer(["a yellow heart", "A Yellow, HEART!"])["input_ids"]
    assert first == second and tokenizer.unk_token_id not in first


def test_ids_are_padded_and_truncated_without_mask():
    ids = tokenize_text(tiny_tokenizer(), ["A photo of a_dog!", "cat " * 100])
    assert ids.shape == (2, 64) and ids.dtype == torch.int64
    assert ids[0].tolist() == [4, 5, 6, 4, 7, 1] + [0] * 58
    assert ids[1].tolist() == [8] * 63 + [1]


def test_a_beginning_of_sequence_token_is_dropped():
    texts = ["a dog", "cat " * 100, ""]
    assert torch.equal(tokenize_text(tiny_tokenizer(with_bos=True), texts), tokenize_text(tiny_tokenizer(), texts))


def test_options():
    tokenizer = tiny_tokenizer()
    assert tokenize_text(tokenizer, "a dog", max_length=4).tolist() == [[4, 7, 1, 0]]
    assert tokenize_text(tokenizer, "a dog", max_length=4, padding_side="left").tolist() == [[0, 4, 7, 1]]
    assert tokenize_text(tokenizer, ["a dog", "a"], padding="longest").tolist() == [[4, 7, 1], [4, 1, 0]]
    assert tokenize_text(tokenizer, ["a dog", "a"], padding=False) == [[4, 7, 1], [4, 1]]
    tokenizer.padding_side = "left"
    assert tokenize_text(tokenizer, "a dog", max_length=4).tolist() == [[4, 7, 1, 0]]
    assert tokenize_text(tokenizer, "a dog of a cat", max_length=2, truncation=False).tolist() == [[4, 7, 6, 4, 8, 1]]


def test_ftfy_is_named_when_missing(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ftfy", None)
    with pytest.raises(ImportError, match="pip install ftfy"):
        canonicalize_text("a")
