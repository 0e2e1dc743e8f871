"""The text tokenizer of the tiny model: one token for each word of the miniature world's questions and answers."""

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from atoken.miniature.questions import QUESTION_KINDS, MiniatureQuestions
from atoken.processing.text_processing_atoken import add_canonical_form, canonicalize_text

CONTEXT = 1024  # tokens
SPECIAL = ("<pad>", "<unk>")
# Of the chat template.
TEMPLATE_WORDS = "system user assistant You are a helpful assistant."
_QUESTIONS = 2000  # of each kind, in which every word comes up


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Makes the tokenizer; text becomes lower case and loses its punctuation, and unknown words are one token."""
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *sorted(every_word())])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    whole = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", model_max_length=CONTEXT
    )
    return add_canonical_form(whole)


def every_word() -> set[str]:
    """Collects the words of questions, answers and the chat template."""
    words = set(canonicalize_text(TEMPLATE_WORDS).split())
    for medium, kinds in QUESTION_KINDS.items():
        questions = MiniatureQuestions(medium, length=_QUESTIONS * len(kinds))
        for index in np.arange(len(questions)).tolist():
            question = questions.describe(index)
            words |= set(canonicalize_text(f"{question.text} {question.answer}").split())
    return words
