import pytest
import torch

from atoken.processing import canonicalize_text
from atoken.processing.text_processing_atoken import tokenize_text

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
