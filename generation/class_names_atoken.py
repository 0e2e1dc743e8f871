"""Classes by number or by name."""

from collections.abc import Sequence
from difflib import get_close_matches

import torch

ClassLabels = int | str | Sequence[int | str] | torch.Tensor


def class_numbers(class_labels: ClassLabels, num_classes: int, id2label: dict | None) -> list[int]:
    """
    Gives the numbers of classes.

    Args:
        class_labels: numbers in [0, K), names, or a list of them.
        num_classes: K.
        id2label: names by number; a comma separates several names of one class.

    Raises:
        ValueError: a number is out of range, or there is no class, or not one alone, of a name.
    """
    if isinstance(class_labels, torch.Tensor):
        class_labels = class_labels.tolist()
    labels = [class_labels] if isinstance(class_labels, (int, str)) else list(class_labels)
    if not labels:
        raise ValueError("class_labels must have at least one class, got none")
    names: dict[str, list[int]] = {}
    for number, text in (id2label or {}).items():
        for name in dict.fromkeys(part.strip().lower() for part in str(text).split(",")):
            names.setdefault(name, []).append(int(number))
    return [_number(label, num_classes, names) for label in labels]


def _number(label: int | str, num_classes: int, names: dict[str, list[int]]) -> int:
    if isinstance(label, str):
        found = names.get(label.strip().lower(), [])
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(f"class_labels: {label!r} is the name of classes {found}; give the number")
        if not names:
            raise ValueError(f"class_labels must be numbers, as this model's config has no id2label, got {label!r}")
        near = get_close_matches(label.strip().lower(), names, n=3)
        hint = f"; near are {', '.join(near)}" if near else ""
        raise ValueError(f"class_labels must be among the {len(names)} names of id2label, got {label!r}{hint}")
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < num_classes:
        raise ValueError(f"class_labels must be from 0 to {num_classes - 1}, or names, got {label!r}")
    return label
