"""Numbers written as text, many at a time."""

import warnings

import numpy as np


def parse_numbers(text: bytes, kind: type = np.float64) -> np.ndarray:
    """Reads numbers between white space, also "nan" and "inf"; `ValueError` if anything else is between them."""
    with warnings.catch_warnings():
        # Older versions of numpy only warn of what is no number.
        warnings.simplefilter("error", DeprecationWarning)
        try:
            return np.fromstring(text, dtype=kind, sep=" ")
        except DeprecationWarning as error:
            raise ValueError("there is something else than numbers among its numbers") from error


def count_per_line(text: np.ndarray) -> np.ndarray:
    """Counts what white space separates, (lines,), in bytes (N,) uint8 of lines that all end in a newline."""
    solid = text > ord(" ")
    begins = np.flatnonzero(solid & ~np.concatenate([[False], solid[:-1]]))
    before = np.searchsorted(begins, np.flatnonzero(text == ord("\n")))
    return np.diff(before, prepend=0)
