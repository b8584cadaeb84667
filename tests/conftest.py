"""The tests run against the installed package, wherever they are started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# `python -m pytest` puts the source folder first on sys.path, where mbinfer has no compiled part unless one was built there.
if not list((ROOT / "mbinfer").glob("_core*.so")):
    sys.path[:] = [folder for folder in sys.path if os.path.realpath(folder or ".") != str(ROOT)]
