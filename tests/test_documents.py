"""The documents for who changes something: what they point at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "docs/format.md",
    "docs/memory.md",
    "docs/peers.md",
    "docs/performance.md",
    "docs/quantization.md",
    "tests/fuzz/README.md",
)
FOLDERS = (
    "",
    "csrc/",
    "csrc/kernels/",
    "csrc/model/",
    "csrc/plan/",
    "csrc/exec/",
    "mbinfer/",
    "mbinfer/importers/",
    "tests/",
)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    path = ROOT / document
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        assert "://" in link or (path.parent / link).exists(), link


@pytest.mark.parametrize("document", ("CONTRIBUTING.md", "docs/architecture.md"))
def test_files_that_are_named_exist(document):
    text = re.sub(r"```.*?```", "", (ROOT / document).read_text(), flags=re.S)
    named = re.findall(r"`([\w./-]+\.(?:py|cpp|h|json|toml|txt|md))`", text)
    assert len(named) > 10
    for name in named:
        if name.startswith("benchmarks/") and not (ROOT / "benchmarks").exists():
            continue  # an sdist has none
        assert any((ROOT / folder / name).exists() for folder in FOLDERS), name


def test_the_layer_table_is_the_one_that_is_tested():
    text = (ROOT / "docs" / "architecture.md").read_text()
    for folder in sorted(p.name for p in (ROOT / "csrc").iterdir() if p.is_dir()):
        assert f"| `{folder}/` |" in text, folder
