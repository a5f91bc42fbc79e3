#!/usr/bin/env python3
"""No object of src/exact has a floating-point instruction in it: neither arithmetic, nor a comparison, nor a conversion.

usage: test_exact_objects.py [FOLDER [PREFIX]]   objects in FOLDER (default: the build's src/exact), made by PREFIXgcc

Moving and shuffling bits in a register that could hold floats is fine. What is looked for is found in code that does
have floats, which is compiled here first.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

# What ends like a scalar or packed float is one, but for integers (p.., vp..) and for what only moves bits.
X86_FLOAT = re.compile(r"(?:v?cvt\w+|f\w+|v?\w*(?:ps|pd|ss|sd|ph|sh)[xyz]?)$")
X86_BITS = re.compile(r"(?:v?p\w+|v?(?:mov|insert|extract)\w+|v?(?:and|andn|or|xor|shuf|unpck[lh]|blend|blendv)p[sd]|vbroadcasts[sd])$")
ARM_FLOAT = re.compile(r"(?:f(?!mov$)\w+|[su]cvtf|bf(?:dot|mm|ml|cvt)\w*)$")

SAMPLES = {  # each must be seen
    "x86_64": [
        ("add", "", "float f(float a, float b) { return a + b; }"),
        ("mul", "", "double f(double a, double b) { return a * b; }"),
        ("div", "", "float f(float a, float b) { return a / b; }"),
        ("cvt", "", "double f(long a) { return a; }"),
        ("cvt", "", "int f(float a) { return a; }"),
        ("comi", "", "int f(double a, double b) { return a < b; }"),
        ("^f", "", "long double f(long double a, long double b) { return a * b; }"),
        ("sqrt", "-fno-math-errno", "double f(double a) { return __builtin_sqrt(a); }"),
        ("fmadd", "-mfma", "double f(double a, double b, double c) { return __builtin_fma(a, b, c); }"),
        ("mulps", "-mavx2", "typedef float v __attribute__((vector_size(32))); v f(v a, v b) { return a * b; }"),
        ("subpd", "-mavx512f", "typedef double v __attribute__((vector_size(64))); v f(v a, v b) { return a - b; }"),
        ("cvt", "-mavx512f", "#include <immintrin.h>\n__m512 f(__m512i a) { return _mm512_cvtepi32_ps(a); }"),
        ("max", "-mavx512f", "#include <immintrin.h>\n__m512 f(__m512 a) { return _mm512_max_ps(a, a); }"),
    ],
    "aarch64": [
        ("fadd", "", "float f(float a, float b) { return a + b; }"),
        ("fmul", "", "double f(double a, double b) { return a * b; }"),
        ("scvtf", "", "double f(long a) { return a; }"),
        ("fcvtzs", "", "int f(float a) { return a; }"),
        ("fcmp", "", "int f(double a, double b) { return a < b; }"),
        ("fmadd", "", "double f(double a, double b, double c) { return __builtin_fma(a, b, c); }"),
        ("fmla", "-O3 -ffast-math", "void f(float *a, float *b) { for (int i = 0; i < 64; i++) a[i] += b[i] * 3; }"),
    ],
}


def floats(objdump, path):
    """The floating-point instructions of an object, and how many instructions it has."""
    out = subprocess.run([objdump, "-d", "--no-show-raw-insn", path], check=True, capture_output=True, text=True).stdout
    arm = "aarch64" in out.split("\n")[1]
    found, count = [], 0
    for line in out.splitlines():
        parts = line.split("\t")
        if len(parts) < 2 or not parts[0].rstrip().endswith(":"):
            continue
        words = [w for w in parts[1].split() if w not in ("rep", "repz", "repnz", "lock", "notrack", "bnd", "data16", "{vex}")]
        if not words:
            continue
        count += 1
        name = words[0]
        if arm and ARM_FLOAT.match(name) or not arm and X86_FLOAT.match(name) and not X86_BITS.match(name):
            found.append(name)
    return found, count


def main():
    build = os.environ.get("ASSAY_BUILD", "build/gcc")
    folder = sys.argv[1] if len(sys.argv) > 1 else build + "/src/exact"
    prefix = sys.argv[2] if len(sys.argv) > 2 else ""
    objdump, gcc = prefix + "objdump", prefix + "gcc"
    if shutil.which(objdump) is None or shutil.which(gcc) is None:
        print(f"SKIP: no {objdump} or no {gcc}")
        return 77
    machine = subprocess.run([gcc, "-dumpmachine"], capture_output=True, text=True, check=True).stdout.split("-")[0]
    failed = 0
    if machine not in SAMPLES:
        print(f"SKIP: not known how floats look on {machine}")
        return 77
    with tempfile.TemporaryDirectory() as tmp:
        for word, flags, text in SAMPLES[machine]:
            with open(tmp + "/a.c", "w", encoding="utf-8") as f:
                f.write(text + "\n")
            subprocess.run([gcc, "-O2", *flags.split(), "-c", "a.c", "-o", "a.o"], cwd=tmp, check=True)
            found, _ = floats(objdump, tmp + "/a.o")
            if not any(re.search(word, name) for name in found):
                print(f"FAILED: not seen: {word} of: {text}: {found}")
                failed += 1
    objects = sorted(glob.glob(folder + "/*.o"))
    instructions = 0
    for path in objects:
        found, count = floats(objdump, path)
        instructions += count
        if found:
            print(f"FAILED: {path}: {sorted(set(found))}")
            failed += 1
    if not instructions:
        print(f"FAILED: no instructions in {folder}")
        failed += 1
    print(f"{len(objects)} objects, {instructions} instructions, {failed} with floats")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
