"""Texts to token ids, written the way the text tower was trained on them."""

import html
import re
import string
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Regex, normalizers

_STRIP_PUNCTUATION = str.maketrans("", "", string.punctuation)


def canonicalize_text(text: str) -> str:
    """Write a text the one way that the text tower knows.

    Mojibake is repaired, HTML entities are resolved twice, `_` becomes a space, ASCII punctuation is removed, letters
    are lowered and runs of white space become one space.

    Args:
        text: any string.

    Returns:
        The canonical string, possibly empty.

    Raises:
        ValueError: `text` is not a string.
        ImportError: ftfy is not installed.
    """
    if not isinstance(text, str):
        raise ValueError(f"text must be a string, got {type(text).__name__}.")
    try:
        import ftfy
    except ImportError as error:
        raise ImportError("Texts are repaired with ftfy before they are tokenized: pip install ftfy.") from error
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    text = text.replace("_", " ").translate(_STRIP_PUNCTUATION).lower()
    return re.sub(r"\s+", " ", text).strip()


def add_canonical_form(tokenizer: Any) -> Any:
    """
    Makes a tokenizer write texts in the canonical form by itself, as far as its normalizer can.

    It then replaces `_`, removes ASCII punctuation, lowers letters and joins white space, also without a processor. It
    does not repair mojibake or resolve HTML entities: only `canonicalize_text` does. Canonical texts keep their ids.

    Args:
        tokenizer: a transformers tokenizer, changed in place. One without a normalizer to extend, such as a slow one,
            stays as it is.

    Returns:
        `tokenizer`.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        own = [] if backend.normalizer is None else [backend.normalizer]
        backend.normalizer = normalizers.Sequence(
            [
                normalizers.Replace("_", " "),
                # The characters of string.punctuation, and the quotation marks that ftfy turns into such.
                normalizers.Replace(Regex("[!-/:-@\\[-`{-~\u02bc\u2018-\u201f]"), ""),
                normalizers.Lowercase(),
                normalizers.Replace(Regex(r"\s+"), " "),
                normalizers.Strip(),
                *own,
            ]
        )
    return tokenizer


def check_texts(text: Any) -> list[str]:
    """Gives a string or a list of strings as a list; `ValueError` for anything else or an empty list."""
    if isinstance(text, str):
        return [text]
    if not isinstance(text, (list, tuple)) or not text:
        given = "an empty list" if isinstance(text, (list, tuple)) else type(text).__name__
        raise ValueError(f"text must be a string or a list of strings, got {given}.")
    for index, entry in enumerate(text):
        if not isinstance(entry, str):
            raise ValueError(f"text[{index}] must be a string, got {type(entry).__name__}.")
    return list(text)


def tokenize_text(
    tokenizer: Any,
    texts: str | Sequence[str],
    max_length: int = 64,
    padding: bool | str = "max_length",
    truncation: bool | str = True,
    padding_side: str = "right",
) -> torch.Tensor | list[list[int]]:
    """Canonicalize texts and turn them into ids.

    There is no beginning-of-sequence token, whatever the tokenizer would do by itself, and no attention mask: the text
    tower was trained to see the padding.

    Args:
        tokenizer: a transformers tokenizer with a padding token.
        texts: a string or a list of strings.
        max_length: length of a row; longer texts are truncated, shorter ones padded.
        padding: "max_length"; "longest" or True to pad to the longest text; "do_not_pad" or False for neither.
        truncation: as for the tokenizer.
        padding_side: "right", as the text tower was trained, or "left".

    Returns:
        `input_ids` (len(texts), max_length) int64; a list of lists if without padding the rows differ in length.

    Raises:
        ValueError: `tokenizer` is None or cannot pad, `texts` are not strings, or an option has no such value.
    """
    if tokenizer is None:
        raise ValueError("tokenizer must be a tokenizer, since text is given, got None.")
    texts = check_texts(texts)
    if isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < 1:
        raise ValueError(f"max_length must be a positive integer such as 64, got {max_length!r}.")
    if isinstance(padding, bool):
        padding = "longest" if padding else "do_not_pad"
    if padding not in ("max_length", "longest", "do_not_pad"):
        raise ValueError(f'padding must be "max_length", "longest" or "do_not_pad", got {padding!r}.')
    if padding_side not in ("left", "right"):
        raise ValueError(f'padding_side must be "right" or "left", got {padding_side!r}.')
    if padding != "do_not_pad" and tokenizer.pad_token_id is None:
        raise ValueError("tokenizer: it has no padding token; set tokenizer.pad_token before tokenizing.")

    bos = tokenizer.bos_token_id
    # Room for the token that is dropped again, so that truncation keeps `max_length` others.
    leading = int(bos is not None and tokenizer("a")["input_ids"][:1] == [bos])
    texts = [canonicalize_text(text) for text in texts]
    limit = max_length + leading if truncation not in (False, "do_not_truncate") else None
    encoded = tokenizer(texts, max_length=limit, truncation=truncation, return_attention_mask=False)
    rows = [row[leading:] for row in encoded["input_ids"]]
    if padding != "do_not_pad":
        width = max(len(row) for row in rows)
        width = max(width, max_length) if padding == "max_length" else width
        fill = [[tokenizer.pad_token_id] * (width - len(row)) for row in rows]
        rows = [row + pad if padding_side == "right" else pad + row for row, pad in zip(rows, fill, strict=True)]
    return torch.tensor(rows, dtype=torch.int64) if len({len(row) for row in rows}) == 1 else rows
