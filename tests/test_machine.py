"""What is known of the machine's caches, by files like those of Linux."""

from __future__ import annotations

import hooks
import pytest

NEAREST = (32 << 10, 512 << 10)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("48K\n", "2048K\n", (48 << 10, 2 << 20)),
        ("32768", "1M", (32 << 10, 1 << 20)),
        (None, None, NEAREST),
        ("", "many", NEAREST),
        ("0K", "-512K", NEAREST),
        ("99999999999999999999K", "1K", NEAREST),  # no such caches
        ("64K", None, (64 << 10, NEAREST[1])),
    ],
)
def test_caches_by_the_kernels_files(tmp_path, first, second, expected):
    for name, text in (("index0", first), ("index2", second)):
        (tmp_path / name).mkdir()
        if text is not None:
            (tmp_path / name / "size").write_text(text)
    assert hooks.machine(str(tmp_path)) == expected


def test_caches_of_this_machine():
    first, second = hooks.machine()
    assert 4 << 10 <= first <= 1 << 20 and 32 << 10 <= second <= 64 << 20 and first <= second
