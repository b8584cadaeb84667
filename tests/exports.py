"""What the units of single instruction sets export, compiled for CPUs that not every machine has: one symbol each.
`python tests/exports.py BUILD [PREFIX]` looks at the objects of a CMake build, by PREFIX's nm (aarch64-linux-gnu-)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# What a unit may take from elsewhere: functions compiled for any CPU, and the compiler's own.
FUNCTIONS = {
    "softmax_f32": "Softmax",
    "softmax_u8": "Softmax",
    "lookup_reference": "Lookup",
    "convert_reference": "Convert",
}
SHARED = {f"_ZN7mbinfer{len(name)}{name}EPKNS_{len(args) + 4}{args}ArgsE" for name, args in FUNCTIONS.items()}
SHARED |= {"_ZN7mbinfer12kReferenceU8E", "memcpy", "memset", "_GLOBAL_OFFSET_TABLE_"}
SHARED |= {"__aeabi_idiv", "__aeabi_idivmod", "__aeabi_uidivmod"}
SHARED |= {"__aeabi_unwind_cpp_pr0", "__aeabi_unwind_cpp_pr1"}  # of the ABI for 32-bit ARM


def check(build: Path, prefix: str = "") -> list[str]:
    """The instruction sets whose units are in a build. Raises AssertionError where one exports more than its table:
    the linker could give an inline function of it to code for every CPU."""
    found = []
    for folder in sorted(build.glob("CMakeFiles/mbinfer_*.dir")):
        isa = folder.stem.removeprefix("mbinfer_")
        for unit in folder.glob("**/*.o"):
            lines = subprocess.run(
                [f"{prefix}nm", "-g", str(unit)], check=True, capture_output=True, text=True
            ).stdout.splitlines()
            symbols = [line.split() for line in lines]
            defined = [words[-1] for words in symbols if words[-2] not in "Uw"]
            assert defined == [f"_ZN7mbinfer{len(isa) + 8}k{isa.capitalize()}KernelsE"], (unit, defined)
            undefined = {words[-1] for words in symbols if words[-2] in "Uw"}
            assert undefined <= SHARED, (unit, undefined - SHARED)
            found.append(isa)
    assert found, f"no units in {build}"
    return found


if __name__ == "__main__":
    print("one symbol each:", *check(Path(sys.argv[1]), *sys.argv[2:]))
