"""A text tower that knows real words beside the miniature world's sentences: small, frozen afterwards, made of two.

The miniature world's sentences keep the embeddings that `text_tower` gave them. Real words take those directions that
no such sentence uses: their vectors (`WordVectors`) are projected to the principal components of ImageNet's class
names and laid there. One tower with a vocabulary of its own is then trained to give both, so that a checkpoint stays
small. What stands around a thing, such as "a photo of", means nothing, and neither does a thing's place in a sentence.
"""

import string
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast, Siglip2TextModel

from atoken.evaluation.metrics.understanding import CLIP_TEMPLATES
from atoken.miniature.captions import captions, random_caption
from atoken.miniature.scenes import KINDS, random_scene
from atoken.processing.text_processing_atoken import add_canonical_form, canonicalize_text, tokenize_text

from .text_tower import LENGTH, SPECIAL, build_text_model, every_word
from .words_vectors import WordVectors

VOCABULARY = 6000
WIDTH = 128
CHANNELS = 80  # of the embedding that hold real words
USED = 0.998  # share of the miniature sentences' energy that keeps its directions to itself
COMMON = 8000  # of WordLlama's whole words, the most frequent ones
TEXTS = 30000  # that are drawn once, as looking up their vectors takes longer than a step
_ZIPF = 20000  # the word at place n of a list by frequency counts this over n
_PLAIN = ("{}", "a {}", "the {}", "a photo of a {}", "a photo of the {}", "a photo of {}")


class RealWords:
    """
    Lays real words into an embedding space.

    Args:
        words: their vectors.
        miniature: (N, d) embeddings of the miniature world's sentences, which stay orthogonal to real words.

    Attributes:
        basis: (channels, d) orthonormal directions that real words have to themselves.
    """

    def __init__(self, words: WordVectors, miniature: torch.Tensor):
        self._words = words
        unit = F.normalize(miniature.double(), dim=-1)
        energy, directions = torch.linalg.eigh(unit.T @ unit / len(unit))  # ascending
        free = int((energy.cumsum(0) < 1 - USED).sum())
        count = min(CHANNELS, free)
        names = F.normalize(words(words.names).double(), dim=-1)
        principal = torch.linalg.eigh(names.T @ names).eigenvectors[:, -count:]
        self._principal = principal.float()
        self.basis = directions[:, :count].T.float().contiguous()

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """Gives unit vectors (len(texts), d)."""
        return F.normalize(self._words(texts) @ self._principal, dim=-1) @ self.basis


def miniature_words() -> list[str]:
    """Lists the words of the miniature world's sentences."""
    return sorted({word for scene in every_word() for text in captions(scene) for word in _split(text)})


def build_word_tokenizer(words: WordVectors, vocabulary: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """Trains a tokenizer of word pieces: frequent words are whole, and so are all words of the miniature world."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=SPECIAL[2]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        show_progress=False,
        initial_alphabet=list(string.ascii_lowercase + string.digits),
    )
    tokenizer.train_from_iterator(_corpus(words), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    whole = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL[0],
        eos_token=SPECIAL[1],
        unk_token=SPECIAL[2],
        model_max_length=LENGTH,
    )
    return add_canonical_form(whole)


def _corpus(words: WordVectors) -> Iterator[str]:
    """Gives words as often as they count: most the miniature ones and templates', then frequent and describing ones."""
    counts = Counter(word for text in words.descriptions for word in _split(text))
    for place, word in enumerate(words.whole_words()[:COMMON]):
        counts[word] += _ZIPF // (place + 1)
    for name in words.names:
        counts.update({word: 10 for word in _split(name)})
    counts.update({word: _ZIPF for word in (*miniature_words(), *_template_words())})
    for word, count in counts.items():
        yield " ".join([word] * count)


def _split(text: str) -> list[str]:
    return canonicalize_text(text).split()


class RealTexts:
    """
    Draws texts about real things: names and words in sentences, phrases of descriptions, and words put together.

    Args:
        words: where they come from.
        also: more texts, such as captions, which are drawn as they are.
    """

    def __init__(self, words: WordVectors, also: Sequence[str] = ()):
        own = set(miniature_words())
        self._names = [text for text in map(canonicalize_text, words.names) if text not in own]
        self._single = [word for word in words.whole_words()[:COMMON] if word not in own]
        self._phrases = [_split(text) for text in words.descriptions if text]
        self._also = [canonicalize_text(text) for text in also]

    def draw(self, rng: np.random.Generator) -> tuple[str, str]:
        """Draws a sentence, and what in it has a meaning."""
        kind = rng.random()
        if kind < 0.15:
            row = self._phrases[rng.integers(len(self._phrases))]
            length = int(rng.integers(2, 8))
            start = int(rng.integers(max(1, len(row) - length)))
            phrase = " ".join(row[start : start + length])
            return phrase, phrase
        if kind < 0.25 and self._also:
            text = self._also[rng.integers(len(self._also))]
            return text, text
        source = self._names if rng.random() < 0.4 else self._single
        count = 1 if rng.random() < 0.8 else 2
        thing = " ".join(source[rng.integers(len(source))] for _ in range(count))
        templates = _PLAIN if rng.random() < 0.5 else CLIP_TEMPLATES
        return templates[rng.integers(len(templates))].format(thing), thing


def build_word_model(vocabulary: int, width: int) -> Siglip2TextModel:
    """Makes a text tower wider than the miniature world's; `width` is that of the embeddings."""
    return build_text_model(vocabulary, width, WIDTH)


@torch.no_grad()
def start_from_vectors(model: Siglip2TextModel, tokenizer: PreTrainedTokenizerFast, real: RealWords) -> None:
    """
    Makes a tower begin as the mean of its tokens' vectors, so that training only has to put right what that misses.

    The first channels hold what real words have in the embedding; heads of the first layer look at all tokens alike and
    pass these channels on. The last two channels of the padding hold a large constant and its opposite, so that norms,
    which do not pass on these two, leave next to nothing of it. All else stays random, but weak.
    """
    width, count = model.config.hidden_size, len(real.basis)
    tokens, first = model.embeddings.token_embedding.weight, model.encoder.layers[0]
    around = _template_words()
    meant = [(text, at) for text, at in tokenizer.get_vocab().items() if text.isalnum() and text not in around]
    for layer in model.encoder.layers:
        for weak in (layer.self_attn.out_proj, layer.mlp.fc2):
            nn.init.normal_(weak.weight, std=0.02)
        for norm in (layer.layer_norm1, layer.layer_norm2):
            norm.weight[-2:] = 0.0
    model.final_layer_norm.weight[-2:] = 0.0
    tokens.normal_(std=0.3)
    tokens[:, :count] = 0.0
    tokens[[at for _, at in meant], :count] = real([text for text, _ in meant]) @ real.basis.T * count**0.5
    tokens[0] = 0.0
    tokens[0, -2:] = torch.tensor([1.0, -1.0]) * width**0.5
    model.embeddings.position_embedding.weight.normal_(std=0.02)
    for projection in (first.self_attn.q_proj, first.self_attn.k_proj):
        nn.init.normal_(projection.weight, std=0.01)
    passed = torch.eye(width)[:, :count] @ torch.eye(count, width)
    first.self_attn.v_proj.weight.copy_(passed + 0.02 * torch.randn(width, width))
    first.self_attn.out_proj.weight.copy_(LENGTH / 2 * passed + 0.02 * torch.randn(width, width))
    model.head.weight.normal_(std=0.02)
    model.head.weight[:, :count] = real.basis.T


def _template_words() -> set[str]:
    return {word for template in (*CLIP_TEMPLATES, *_PLAIN) for word in _split(template.format(""))}


def train_word_model(
    before: Siglip2TextModel,
    before_tokenizer: PreTrainedTokenizerFast,
    words: WordVectors,
    also: Sequence[str] = (),
    steps: int = 2000,
    batch: int = 128,
    seed: int = 0,
) -> tuple[PreTrainedTokenizerFast, Siglip2TextModel, list[float]]:
    """
    Trains a tower towards one that knows the miniature world, and towards real words.

    Args:
        before: the tower of `train_text_model`, whose embeddings of its sentences stay what they are.
        before_tokenizer: its tokenizer.
        words: vectors of real words.
        also: more real texts, see `RealTexts`.
        steps: of the optimizer.
        batch: texts of a step.
        seed: of weights and texts.

    Returns:
        Tokenizer and tower, and every 100 steps the mean of 1 - cosine.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tokenizer = build_word_tokenizer(words)
    sentences = sorted(
        {text for _ in range(500) for kind in KINDS for text in captions(random_scene(kind, "train", rng))}
    )
    real = RealWords(words, embed_texts(before, before_tokenizer, sentences))
    texts = RealTexts(words, also)
    model = build_word_model(len(tokenizer), real.basis.shape[1])
    start_from_vectors(model, tokenizer, real)
    ids, targets = _data(before, before_tokenizer, tokenizer, real, texts, rng)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.05)
    losses: list[float] = []
    for _ in range(steps):
        chosen = torch.from_numpy(rng.integers(len(ids), size=batch))
        prediction = model(input_ids=ids[chosen]).pooler_output
        loss = 1 - F.cosine_similarity(prediction, targets[chosen], dim=-1).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    curve = [sum(losses[i : i + 100]) / len(losses[i : i + 100]) for i in range(0, len(losses), 100)]
    return tokenizer, model.eval(), curve


def _data(
    before: Siglip2TextModel,
    before_tokenizer: PreTrainedTokenizerFast,
    tokenizer: PreTrainedTokenizerFast,
    real: RealWords,
    texts: RealTexts,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws `TEXTS` texts, a third of them of the miniature world: ids (TEXTS, LENGTH) and targets (TEXTS, d)."""
    drawn = [random_caption(random_scene(KINDS[i % len(KINDS)], "train", rng), rng) for i in range(TEXTS // 3)]
    pairs = [texts.draw(rng) for _ in range(TEXTS - len(drawn))]
    known = torch.cat([embed_texts(before, before_tokenizer, drawn[i : i + 256]) for i in range(0, len(drawn), 256)])
    targets = torch.cat([F.normalize(known, dim=-1), real([thing for _, thing in pairs])])
    return tokenize_text(tokenizer, drawn + [text for text, _ in pairs], max_length=LENGTH), targets


@torch.no_grad()
def embed_texts(model: Siglip2TextModel, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> torch.Tensor:
    """Gives a tower's embeddings (len(texts), d), not normalized."""
    return model(input_ids=tokenize_text(tokenizer, list(texts), max_length=LENGTH)).pooler_output
