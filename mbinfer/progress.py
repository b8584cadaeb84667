"""A progress bar on stderr for what takes a while: the command line's and the benchmarks'."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Callable

PATIENCE = 2.0  # seconds without a word, after which the bar appears


def progress(items: Sequence[Any], label: Callable[[Any], str]) -> Iterator[Any]:
    """Yields the items, with a bar on stderr: only on a terminal, and only once they have taken two seconds."""
    start, shown = time.monotonic(), False
    try:
        for done, item in enumerate(items):
            if sys.stderr.isatty() and time.monotonic() - start > PATIENCE:
                bar = "#" * (24 * done // len(items))
                line = f"[{bar:.<24}] {done}/{len(items)}  {label(item)[:50]}"
                print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
                shown = True
            yield item
    finally:
        if shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
