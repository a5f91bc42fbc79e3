#!/usr/bin/env python3
"""The operators of exact/1: plain C against an independent model in unlimited integers, on the committed cases and on fresh random ones.

SEED=n repeats a run; COUNT=n changes how many fresh cases each operator gets.
"""
import os
import random
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "schema", "vectors", "exact"))
import gen  # noqa: E402

COUNT = int(os.environ.get("COUNT", "3000"))
FEWER = {"attend": 10}  # one of these holds some hundred keys


def main():
    seed = int(os.environ["SEED"], 0) if os.environ.get("SEED") else time.time_ns() % (1 << 48)
    print(f"SEED={seed}", flush=True)
    cases, bad = gen.check()
    print(f"committed: {cases} cases, {bad} differ", flush=True)
    failures = bad
    program = os.path.join(os.environ["ASSAY_BUILD"], "test", "test_exact_vectors")
    with gen.Program(program) as c:
        for op, make in gen.RANDOM.items():
            r = random.Random(f"{seed} {op}")
            count = COUNT // FEWER.get(op, 1)
            differ = 0
            for i in range(count):
                case = make(r)
                case["op"] = op
                got, wanted = c.answer(case), gen.expect(case)
                if got != wanted:
                    differ += 1
                    if differ == 1:
                        print(f"{op} case {i}: {gen.line_of(case)}\n  C     {got}\n  model {wanted}")
            failures += differ
            print(f"{op}: {count} fresh cases, {differ} differ", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
