"""Vectors of words: means of a table's rows, centered on names of classes, which descriptions make richer."""

import numpy as np
import pytest
import torch

from .word_samples import DESCRIPTIONS, NAMES, word_vectors


def _by_hand() -> tuple[dict[str, np.ndarray], np.ndarray]:
    words = word_vectors()
    vocabulary = words._tokenizer.get_vocab()
    table = {token: words._table[index].double().numpy() for token, index in vocabulary.items()}
    names = [np.mean([table[f"\u2581{word}"] for word in name.split()], axis=0) for name in NAMES]
    return table, np.mean(names, axis=0)


def test_texts_are_means_of_their_tokens_less_the_mean_of_names():
    table, center = _by_hand()
    expected = (table["\u2581oak"] + table["\u2581bridge"]) / 2 - center
    np.testing.assert_allclose(word_vectors()(["oak bridge"])[0].numpy(), expected, atol=1e-5)
    assert word_vectors()(NAMES).mean(0).abs().max() < 1e-6


def test_classes_are_names_and_descriptions_in_equal_parts():
    table, center = _by_hand()

    def unit(rows: np.ndarray) -> np.ndarray:
        return rows / np.linalg.norm(rows, axis=-1, keepdims=True)

    def mean_of(text: str) -> np.ndarray:
        return np.mean(
            [table[f"\u2581{word}"] if f"\u2581{word}" in table else table["<unk>"] for word in text.split()], 0
        )

    named = unit(np.stack([mean_of(name) for name in NAMES]) - center)
    described = np.stack([mean_of(about or name) for name, about in zip(NAMES, DESCRIPTIONS, strict=True)])
    expected = unit(named + unit(described - described.mean(0)))
    np.testing.assert_allclose(word_vectors().classes().numpy(), expected, atol=1e-5)


def test_whole_words_come_in_the_order_of_tokens():
    found = word_vectors().whole_words()
    assert found == sorted(found) and "fox" in found and "of" not in found and "<unk>" not in found


def test_a_text_without_tokens_is_an_error():
    with pytest.raises(ValueError, match="texts must have at least one token each, got ''"):
        word_vectors()(["fox", ""])
    assert torch.isfinite(word_vectors()(["fox"])).all()
