"""Random numbers of a sample by its number: every process can say what any sample draws, in any order.

They are blocks of the counter-based generator Philox (Salmon et al., 2011), whose counter is the sample's number.
"""

import numpy as np

PER_NUMBER = 4  # a block of Philox
# What random numbers are for; each purpose has a key of its own.
SIZES, CONTENTS, REPLACEMENTS, CLIPS = range(1, 5)


def uniforms(seed: int, purpose: int, first: int, count: int) -> np.ndarray:
    """
    Draws what neighboring numbers draw.

    Args:
        seed: of the run and the task.
        purpose: see `SIZES` and those after it.
        first, count: the numbers from `first` on.

    Returns:
        (count, 4) float64 in [0, 1).
    """
    bits = np.random.Philox(key=_key(seed, purpose), counter=[first, 0, 0, 0])
    return np.random.Generator(bits).random((count, PER_NUMBER))


def generator(seed: int, purpose: int, number: int) -> np.random.Generator:
    """Makes a generator that one number has for itself."""
    # The number is in the second word, so that generators of neighbors never meet.
    return np.random.Generator(np.random.Philox(key=_key(seed, purpose), counter=[0, number, 0, 0]))


def _key(seed: int, purpose: int) -> list[int]:
    return [seed % 2**64, purpose]
