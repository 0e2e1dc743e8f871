"""The checkpoint from which a run goes on that was stopped at any moment."""

import json
import re
from pathlib import Path

from transformers.trainer_callback import TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

STATE = "trainer_state.json"  # what the trainer writes last


def last_whole_checkpoint(output: Path) -> str | None:
    """
    Finds the last checkpoint that was written to its end.

    A process that is killed while it writes one leaves a folder that cannot be loaded; it is passed over, and written
    again when the run comes to its step.

    Args:
        output: folder of checkpoints; need not exist.

    Returns:
        The folder of the checkpoint, None if there is none.
    """
    if not output.is_dir():
        return None
    steps = {}
    for path in output.iterdir():
        match = re.fullmatch(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)", path.name)
        if match and _is_whole(path):
            steps[int(match[1])] = path
    return str(steps[max(steps)]) if steps else None


def _is_whole(checkpoint: Path) -> bool:
    try:
        TrainerState.load_from_json(str(checkpoint / STATE))
    except (OSError, json.JSONDecodeError, TypeError):
        return False
    return True
