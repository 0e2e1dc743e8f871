"""Linear probes on the encoder's tokens: how far their mean alone tells what a scene is like."""

import numpy as np
import torch

from atoken.mllm import AtokenLlavaForConditionalGeneration, AtokenLlavaProcessor

from .conversations import ATTRIBUTES
from .features import DrawnFeatures
from .held_out import Measure
from .subjects import KINDS, subject_of

TRAINED_ON = {"image": ("pictures", 4000), "video": ("clips", 4000)}


def probe_shares(
    features: DrawnFeatures,
    model: AtokenLlavaForConditionalGeneration,
    processor: AtokenLlavaProcessor,
    count: int,
    trained_on: int | None = None,
) -> dict[str, dict[str, float]]:
    """
    Trains logistic regressions on scenes of training and gives their shares of right answers on held-out ones.

    The features are the mean of a picture's tokens. Of a clip they are the means of its frames, one beside the other,
    as the mean of all has no motion.

    Args:
        features: of all subjects of training; those of held-out scenes are added.
        model, processor: with the encoder.
        count: held-out scenes of each medium.
        trained_on: scenes of training, in place of those of `TRAINED_ON`.

    Returns:
        Medium -> attribute -> share.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    shares: dict[str, dict[str, float]] = {}
    for medium, (kind, number) in TRAINED_ON.items():
        assert KINDS[kind][0] == medium
        learned = [subject_of(kind, index) for index in range(trained_on or number)]
        questions = Measure("", medium, "caption").questions(count)
        tested = [questions.describe(index).scenes[0] for index in range(count)]
        names = [f"probed {medium}-{index}" for index in range(count)]
        features.fill(
            ((name, medium, questions[index]["media"][0]) for index, name in enumerate(names) if name not in features),
            model,
            processor,
        )
        inputs = _means(features, medium, [subject.names[0] for subject in learned])
        held_out = _means(features, medium, names)
        shares[medium] = {}
        for attribute in ATTRIBUTES[medium]:
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
            probe.fit(inputs, [getattr(subject.scenes[0], attribute) for subject in learned])
            words = [getattr(scene, attribute) for scene in tested]
            shares[medium][attribute] = float(probe.score(held_out, words))
    return shares


def _means(features: DrawnFeatures, medium: str, names: list[str]) -> np.ndarray:
    """Gives (N, d) of pictures and (N, frames * d) of clips."""
    if medium == "image":
        rows = [features.image(name).mean((0, 1)) for name in names]
    else:
        rows = [features.video(name)[1].mean((1, 2)).flatten() for name in names]
    return torch.stack(rows).float().numpy()
