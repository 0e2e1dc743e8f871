"""Names of files that are commands to a terminal, or markup of the library that draws tables."""

import io
import json
import os
import sys

import pytest
from rich.console import Console

from atoken_app import console
from atoken_app.jobs import Failure, Record, list_failures, list_warnings
from atoken_app.rows import StoredRow
from atoken_app.tables import as_text, readable, similarity_table, stored_table

NAMES = {
    "title of the window": "\x1b]0;owned\x07a.png",
    "clear the screen": "\x1b[2J\x1b[1;1Ha.png",
    "one byte of control": "\x9b2Ja.png",
    "carriage return": "a.png\rall went well",
    "direction": "a\u202egnp.exe",
    "no text": os.fsdecode(b"a\xff.png"),
    "markup": "[bold red]a.png[/]",
    "markup behind a backslash": "\\[bold red]a.png",
    "link": "[link=https://example.org]a.png[/link]",
    "end of markup": "a.png[/]",
}


@pytest.fixture
def terminal(monkeypatch) -> io.TextIOWrapper:
    """What is written to standard error; it takes UTF-8 alone, as terminals do."""
    raw = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    monkeypatch.setattr(console, "STDERR", Console(file=raw, width=300, force_terminal=True))
    return raw


def written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()


def check(text: str, name: str) -> None:
    """The name is there in full, with nothing in it that a terminal obeys."""
    visible = console.printable(name)
    assert visible in text
    assert not any(letter in text for letter in "\x07\r\x9b\u202e") and "\x1b]" not in text
    assert "\x1b[2J" not in text and "\x1b]8" not in text


@pytest.mark.parametrize("case", NAMES)
def test_messages(case, terminal):
    name = NAMES[case]
    record = Record(2, [Failure(name, "is broken")], [name])
    list_failures(record)
    list_warnings({name: [f"{name} has a warning"]}, 2)
    console.say(f"skipped {name}")
    check(written(terminal), name)


@pytest.mark.parametrize("case", NAMES)
def test_tables(case):
    name = NAMES[case]
    numbers = {"media_size": [1, 8, 8], "fps": None, "tokens": 1, "bytes": 1, "bits_per_pixel": 1.0, "seconds": 1.0}
    row = StoredRow(file=name, kind="image", output=name, content=name, dtype=name, **numbers)
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    drawn = Console(file=stream, width=900, force_terminal=True)
    drawn.print(stored_table([row]))
    drawn.print(as_text(readable(name)))
    check(written(stream), name)


def test_the_heads_of_tables():
    class Row:
        file, similarities = "a", {"[link=x]text\x1b[2J": 0.5}

    stream = io.StringIO()
    Console(file=stream, width=300).print(similarity_table([Row]))
    assert "[link=x]text\\x1b[2J" in stream.getvalue()


@pytest.mark.parametrize("case", NAMES)
def test_json(case, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    console.print_json({"file": NAMES[case]})
    text = written(stream)
    assert json.loads(text) == {"file": NAMES[case]}
    assert not any(letter in text for letter in "\x1b\x07\r\x9b\u202e")
