"""What was built: the ISA override, the libraries it needs, its stubs, its version, and what the package contains."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import mbinfer
from mbinfer import _core, model, zoo

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("build") / "small.bin"
    model.save(zoo.mobilenet_v2(width=0.35, resolution=32, classes=10, seed=0), path)
    return path


def test_the_isa_override_takes_effect(small_model, monkeypatch):
    assert _core.isas()[-1] == "reference"
    for isa in _core.isas():
        monkeypatch.setenv("MBINFER_ISA", isa)
        assert mbinfer.Session(small_model).isa == isa
    for default in ("", None):
        monkeypatch.setenv("MBINFER_ISA", "") if default == "" else monkeypatch.delenv("MBINFER_ISA")
        assert mbinfer.Session(small_model).isa == _core.isas()[0]


def test_an_unknown_isa_is_refused(small_model, monkeypatch):
    monkeypatch.setenv("MBINFER_ISA", "avx1024")
    with pytest.raises(mbinfer.ArgumentError, match="MBINFER_ISA.*avx1024.*reference"):
        mbinfer.Session(small_model)


def test_this_cpu_gets_its_own_kernels():
    try:
        flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        flags = None
    if not flags:
        pytest.skip("not an x86 Linux")
    has = set(flags[1].split())
    avx2 = {"avx2", "fma"} <= has
    avx512 = avx2 and {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= has
    vnni = {"avx512vnni": avx512 and "avx512_vnni" in has, "avxvnni": avx2 and "avx_vnni" in has}
    wanted = {"avx512vnni": vnni["avx512vnni"], "avx512": avx512, "avxvnni": vnni["avxvnni"], "avx2": avx2}
    assert _core.isas() == [isa for isa, there in wanted.items() if there] + ["reference"]


def readelf(*options):
    if not shutil.which("readelf"):
        pytest.skip("needs readelf")
    return subprocess.run(
        ["readelf", "-W", *options, _core.__file__], capture_output=True, text=True, check=True
    ).stdout


def test_the_extension_needs_the_c_and_cpp_libraries_only():
    needed = {re.sub(r"\.so.*", "", name) for name in re.findall(r"\(NEEDED\).*\[(.+)\]", readelf("-d"))}
    assert needed <= {
        "libc",
        "libm",
        "libpthread",
        "libstdc++",
        "libgcc_s",
        "ld-linux-x86-64",
        "ld-linux-aarch64",
        "ld-linux-armhf",
    }


def test_the_extension_is_hardened():
    segments = {line.split()[0]: line for line in readelf("-l").splitlines() if line.strip()}
    assert "GNU_RELRO" in segments and re.search(r"FLAGS.*\b(BIND_)?NOW\b", readelf("-d"))
    assert "RW " in segments["GNU_STACK"], "an executable stack"
    assert "__stack_chk_fail" in readelf("--dyn-syms"), "no stack protector"


def test_stubs_name_what_the_module_has():
    tree = ast.parse((Path(mbinfer.__file__).parent / "_core.pyi").read_text())
    nodes = [node for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    stubs = {node.name: node for node in nodes if not node.name.startswith("_")}
    constants = {node.target.id for node in tree.body if isinstance(node, ast.AnnAssign)}
    assert {*stubs, *constants} == {name for name in vars(_core) if not name.startswith("_")}
    for name, node in stubs.items():
        if isinstance(node, ast.ClassDef):
            public = {n for n in vars(getattr(_core, name)) if not n.startswith("_")} | {"__init__"}
            assert {f.name for f in node.body if isinstance(f, ast.FunctionDef)} == public
        for f in node.body if isinstance(node, ast.ClassDef) else [node]:
            owner = getattr(_core, name) if isinstance(node, ast.ClassDef) else _core
            documented = re.findall(r"(\w+): ", getattr(owner, f.name).__doc__.splitlines()[0])
            if "arg0" not in documented:
                assert [a.arg for a in f.args.args] == documented


def test_what_only_tests_need_is_not_there():
    names = {*dir(_core), *dir(_core.Session)}
    assert not names & {"testing", "check", "canaries_intact", "measure", "cost_terms", "place"}


def test_one_version_everywhere():
    version = mbinfer.__version__
    assert re.search(rf"^project\(mbinfer VERSION {re.escape(version)} ", (ROOT / "CMakeLists.txt").read_text(), re.M)
    assert f'\nversion = "{version}"\n' in (ROOT / "pyproject.toml").read_text()
    assert f"\n## {version} " in (ROOT / "CHANGELOG.md").read_text()


def test_the_installed_package_is_typed_licensed_and_whole():
    try:
        distribution = importlib.metadata.distribution("mbinfer")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("mbinfer is not installed")
    files = {str(file) for file in distribution.files}
    wanted = {f"mbinfer/{p.relative_to(ROOT / 'mbinfer').as_posix()}" for p in (ROOT / "mbinfer").rglob("*.py")}
    assert wanted | {"mbinfer/py.typed", "mbinfer/_core.pyi"} <= files
    (extension,) = (file for file in files if file.endswith(".so"))
    assert extension.startswith("mbinfer/_core.")
    assert any(file.endswith("licenses/LICENSE") for file in files)
    assert not any(file.endswith((".cpp", ".h", ".a", ".cmake")) for file in files)
    assert {r.split()[0] for r in distribution.requires if "extra" not in r} == {"numpy>=1.21"}
