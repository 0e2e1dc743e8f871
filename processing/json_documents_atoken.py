"""JSON out of files that anybody may have written."""

import json
from typing import Any

from .size_limits_atoken import JSON_BYTES


def parse_json(data: bytes) -> Any:
    """
    Reads a JSON document.

    Args:
        data: UTF-8, with or without a byte order mark.

    Raises:
        ValueError: it is no JSON, nested more deeply than Python recurses, or longer than `JSON_BYTES` allows.
    """
    JSON_BYTES.check(len(data), "its JSON")
    try:
        return json.loads(data.decode("utf-8-sig"))
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error
