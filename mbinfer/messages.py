"""Text that a file brought: made harmless for a terminal, and short enough for a message."""

from __future__ import annotations

import re
from collections.abc import Sequence

LONGEST = 400  # characters of an error message
HEAD = 250  # of them from its beginning; the rest is its end, which says what would help
LONGEST_WORD = 120  # a name or a path, of which both ends tell something


def printable(text: str) -> str:
    """`text` with everything that does not print (controls, escapes, marks of direction) written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shorten(text: str, most: int, head: int, gap: str) -> str:
    """At most `most` characters: the first `head` of `text` and its end."""
    return text if len(text) <= most else f"{text[:head]}{gap}{text[head + len(gap) - most :]}"


def brief(text: str) -> str:
    """`text` on one line of at most `LONGEST` printable characters, without the middle of long words, then its own."""
    line = printable(" ".join(shorten(text, 100 * LONGEST, 50 * LONGEST, " ").split()))
    words = (shorten(word, LONGEST_WORD, LONGEST_WORD // 2, "...") for word in line.split(" "))
    return shorten(" ".join(words), LONGEST, HEAD, " ... ")


def told(error: BaseException) -> str:
    """What another library's error says, in brief, without the names of its classes."""
    text = brief(re.sub(r"\[?\b\w+(Error|Exception)\b\]?:? *", "", str(error)))
    if isinstance(error, KeyError) and text not in ("''", "None"):  # what inputs that are left out are called
        return f"{text} is not there"
    if isinstance(error, RecursionError):
        return "its parts lie too deep in one another"
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    if isinstance(error, OverflowError):
        return "one of its numbers is too large"
    if isinstance(error, (AttributeError, KeyError)) or "NoneType" in text or text.endswith("index out of range"):
        return "something that it needs is not there"
    if "values to unpack" in text:
        return "there is too much or too little of something that it needs"
    return text or "its numbers, names or shapes do not go together"


def label_of(labels: Sequence[str], number: int) -> str:
    """What a model calls a class, which need not have a label."""
    return labels[number] if number < len(labels) else f"class {number}"
