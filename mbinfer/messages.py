"""Text that a file brought: made harmless for a terminal, and short enough for a message."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 600  # characters of an error message
HEAD = 380  # of them from its beginning; the rest is its end, which says what would help


def printable(text: str) -> str:
    """`text` with everything that does not print (controls, escapes, marks of direction) written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def brief(text: str) -> str:
    """`text` on one line of at most `LONGEST` printable characters, its middle left out."""
    text = text if len(text) <= 100 * LONGEST else text[: 50 * LONGEST] + text[-50 * LONGEST :]
    text = printable(" ".join(text.split()))
    return text if len(text) <= LONGEST else f"{text[:HEAD]} ... {text[HEAD + 5 - LONGEST :]}"


def label_of(labels: Sequence[str], number: int) -> str:
    """What a model calls a class, which need not have a label."""
    return labels[number] if number < len(labels) else f"class {number}"
