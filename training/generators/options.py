"""The options that programs which train generators share."""

from pathlib import Path
from typing import Annotated

import typer

Resume = Annotated[
    str, typer.Option(help='"auto" (from the newest complete checkpoint, if any), "never", or a checkpoint folder.')
]
Steps = Annotated[int | None, typer.Option(help="Number of steps. Default: that of the stage.")]
Minutes = Annotated[
    float | None, typer.Option(help="Time for steps: the run ends when it is over, and rates fall with it.")
]
SaveEvery = Annotated[int, typer.Option(help="Steps between checkpoints.")]
Keep = Annotated[int, typer.Option(help="Number of newest checkpoints to keep.")]
LogEvery = Annotated[int, typer.Option(help="Steps per line of the log, which shows their mean.")]
Tracker = Annotated[str, typer.Option(help='Where to show the log: "tensorboard", "trackio" or "none".')]
MaxSkipped = Annotated[
    int, typer.Option(help="Steps in a row whose gradients may be infinite or NaN before the run stops.")
]
GradientCheckpointing = Annotated[bool, typer.Option(help="Use less memory, but a third more time.")]
InMemory = Annotated[bool, typer.Option(help="Read whole corpora once, at the start.")]
Output = Annotated[Path, typer.Option(help="Folder for checkpoints, logs and the model.")]
Seed = Annotated[int, typer.Option(help="Seed of the order, of all that is drawn, and of new weights.")]
