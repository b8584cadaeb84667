"""The layer table: who may include or import whom, what an ISA unit exports, and that the library is quiet."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import capi
import exports
import pytest

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"

# Each file or folder of csrc/ and what it may include of the others. Longer prefixes hold before shorter ones.
LAYERS = {
    "dtype.h": (),
    "common.h": ("dtype.h",),
    "pages.": ("pages.h",),
    "kernels/": ("kernels/", "dtype.h"),
    "kernels/dispatch.cpp": ("kernels/", "common.h"),
    "model/": ("model/", "common.h", "pages.h"),
    "plan/": ("plan/", "model/graph.h", "common.h", "pages.h"),
    "exec/": (
        "exec/",
        "plan/plan.h",
        "plan/replay.h",
        "plan/rows.h",
        "plan/scratch.h",
        "plan/sharing.h",
        "plan/stages.h",
        "plan/states.h",
        "plan/views.h",
        "model/",
        "kernels/",
        "common.h",
        "pages.h",
    ),
    "capi": ("capi_message.h", "capi_options.h", "capi_plan.h", "mbinfer.h", "exec/", "plan/", "model/", "common.h"),
    "pybind.cpp": ("exec/", "plan/", "model/", "kernels/dispatch.h", "kernels/peak.h", "common.h"),
    "mbinfer.h": (),
}
# And no C++ library: weak AVX symbols would reach every CPU.
ISA_UNIT = {"stddef.h", "stdint.h", "immintrin.h", "arm_neon.h", "simde/x86/avx512.h"}
THREADS_AND_FILES = {
    "thread",
    "mutex",
    "atomic",
    "condition_variable",
    "fstream",
    "iostream",
    "cstdio",
    "unistd.h",
    "sys/mman.h",
}


def sources():
    return [path.relative_to(CSRC).as_posix() for path in sorted(CSRC.rglob("*")) if path.suffix in (".h", ".cpp")]


def includes(source, quotes='""'):
    return set(re.findall(rf"^\s*#\s*include\s+{quotes[0]}(.+?){quotes[1]}", (CSRC / source).read_text(), re.M))


@pytest.mark.parametrize("source", sources())
def test_sources_include_what_their_layer_may(source):
    layer = max((name for name in LAYERS if source.startswith(name)), key=len, default=None)
    assert layer is not None, "a file that no layer owns"
    for name in includes(source):
        assert (CSRC / name).is_file() and name.startswith(LAYERS[layer]), f"{source} includes {name}"
    if layer == "plan/":
        assert not includes(source, "<>") & THREADS_AND_FILES


def test_isa_units_stay_clear_of_the_cpp_library():
    unit = ["kernels/isa.cpp"]
    for source in unit:
        assert includes(source, "<>") <= ISA_UNIT, source
        unit += sorted(includes(source) - set(unit))
    assert "kernels/vec_neon.h" in unit and "kernels/kernels.h" in unit


def code_of(source):
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", (CSRC / source).read_text(), flags=re.S)


@pytest.mark.parametrize("source", sources())
def test_planner_and_executor_name_no_element_type(source):
    """Types travel with values: a type to come is no change here."""
    if source.startswith(("exec/", "plan/")):
        assert not re.findall(r"\bfloat\b|\b_Float16\b|\bint8_t\b|DType::k(?:Float|Int)\w+", code_of(source))


@pytest.mark.parametrize("source", sources())
def test_operators_are_told_apart_in_three_places(source):
    """The table of operators, the fuser and the generator of steps; elsewhere a node is asked for its row of the table,
    and a function is found by its number."""
    if source not in ("model/ops.h", "plan/stages.cpp", "plan/rows.h"):
        assert not re.findall(r"(?:[=!]= *|case +)Op::k|Op::k\w+ *[=!]=", code_of(source))


@pytest.mark.parametrize("source", sources())
def test_the_library_is_quiet(source):
    code = code_of(source)
    assert not re.findall(r"\b(printf|fprintf|puts|perror|cout|cerr|abort|_?exit|assert)\b", code)


def imports(path):
    """Names that a module of mbinfer imports: absolute, and whether at import time."""
    tree, package = ast.parse(path.read_text()), path.relative_to(ROOT).parent.parts
    lazy = {id(n) for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.Lambda)) for n in ast.walk(f)}
    lazy |= {
        id(n)
        for f in ast.walk(tree)
        if isinstance(f, ast.If) and "TYPE_CHECKING" in ast.dump(f.test)
        for n in ast.walk(f)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                [*package[: len(package) - node.level + 1], *filter(None, [node.module])]
                if node.level
                else [node.module]
            )
            yield from ((".".join([*base, alias.name]), id(node) not in lazy) for alias in node.names)


@pytest.mark.parametrize("path", sorted((ROOT / "mbinfer").rglob("*.py")), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_modules_import_what_their_layer_may(path):
    name = path.relative_to(ROOT / "mbinfer").as_posix()
    for imported, at_import_time in imports(path):
        top = imported.split(".")[0]
        if at_import_time and name != "__main__.py":
            assert top in ("numpy", "mbinfer") or top in sys.stdlib_module_names, (
                f"{name} imports {imported} at import time"
            )
        if name not in ("__main__.py", "cli.py"):
            assert not imported.startswith("mbinfer.cli"), f"{name} imports the command line"
        if name in ("session.py", "plan.py", "errors.py", "graph.py"):
            assert not re.match(r"mbinfer\.(importers|zoo|convert|model|image|measure|show)", imported), (
                f"{name} imports {imported}"
            )


def test_modules_import_one_another_in_one_direction():
    """Late imports and those of types alone included: no two modules can be read only together."""
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in (ROOT / "mbinfer").rglob("*.py")}
    before = {
        name: {m for imported, _ in imports(path) for m in (imported, imported.rpartition(".")[0]) if m in modules}
        for name, path in modules.items()
    }
    assert before["mbinfer.importers.onnx.integers"] >= {"mbinfer.importers.onnx.walk", "mbinfer.ops"}
    graphlib.TopologicalSorter(before).prepare()  # CycleError names them


def test_importing_mbinfer_loads_numpy_and_nothing_else():
    code = (
        "import sys; import mbinfer; loaded = {m.split('.')[0] for m in sys.modules};"
        "print(*sorted(loaded & {'onnx', 'torch', 'PIL', 'matplotlib', 'onnxruntime', 'scipy', 'sklearn'}))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-P", "-c", code] if sys.version_info >= (3, 11) else [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
        ).stdout.strip()
        == ""
    )


def test_every_switch_of_a_kernel_is_turned_on_somewhere():
    """A macro of ours that is asked for and never defined is code that no build has, as VNNI's wide sums once were."""
    text = "\n".join((CSRC / source).read_text() for source in sources())
    directives = re.findall(r"^[ \t]*#[ \t]*(.*)$", text, flags=re.M)
    asked = {word for line in directives if line.startswith(("if", "elif")) for word in re.findall(r"\bMBI\w+", line)}
    by_sources = {word for line in directives for word in re.findall(r"^define\s+(\w+)", line)}
    build = (ROOT / "CMakeLists.txt").read_text()
    units = re.findall(r"^\s*mbinfer_isa\((\w+)", build, flags=re.M)
    by_build = {f"MBINFER_{unit.upper()}" for unit in units} | set(re.findall(r"-D(MBINFER_\w+)", build))
    assert {"MBI_SUMS_512", "MBINFER_BYTES", "MBINFER_AVX512VNNI"} <= asked
    assert asked - by_sources - by_build == set()


def test_an_isa_unit_exports_one_symbol():
    exports.check(capi.install().parent / "build")
