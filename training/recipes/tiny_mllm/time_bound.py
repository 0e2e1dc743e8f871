"""A training that ends when its time is over, and whose learning rate falls with the time that is left."""

import json
import math
import time
from pathlib import Path

from transformers import TrainerCallback

from atoken.processing.atomic_files_atoken import atomic_file


class TimeBound(TrainerCallback):
    """
    Bounds the minutes of a training, those before an interruption included.

    The learning rate rises in the first `warmup` of the time and then falls to 0 by a cosine.

    Args:
        minutes: of all steps.
        learning_rate: the highest.
        path: JSON file that keeps the time between runs; written at each checkpoint.
        warmup: share of the time.
    """

    def __init__(self, minutes: float, learning_rate: float, path: Path, warmup: float = 0.03):
        self.minutes, self.learning_rate, self.path, self.warmup = minutes, learning_rate, path, warmup
        self._before = json.loads(path.read_text(encoding="utf-8"))["minutes"] if path.is_file() else 0.0
        self._begin = time.monotonic()

    @property
    def passed(self) -> float:
        """Gives the minutes of training until now."""
        return self._before + (time.monotonic() - self._begin) / 60

    def on_train_begin(self, args, state, control, **kwargs):
        """Starts the clock."""
        self._begin = time.monotonic()

    def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
        """Sets the learning rate of the step."""
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate * rate_at(self.passed / self.minutes, self.warmup)

    def on_step_end(self, args, state, control, **kwargs):
        """Ends the training, with a checkpoint, when the time is over."""
        if self.passed >= self.minutes:
            control.should_training_stop = control.should_save = True

    def on_save(self, args, state, control, **kwargs):
        """Keeps the time."""
        with atomic_file(self.path) as temporary:
            temporary.write_text(json.dumps({"minutes": self.passed, "step": state.global_step}), encoding="utf-8")


def rate_at(share: float, warmup: float) -> float:
    """Gives the learning rate, as a part of the highest, when a share of the time has passed."""
    if share < warmup:
        return max(share, 0.01 * warmup) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (share - warmup) / (1 - warmup))))
