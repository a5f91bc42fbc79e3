#!/usr/bin/env python3
"""Makes the tables of exact/1 (docs/protocol/exact.md section 7) in fixed point, without a floating-point unit.

usage: tables.py            prints src/exact/tables.c
       tables.py --json     prints schema/vectors/exact/tables.json
"""
import hashlib
import json
import sys
from decimal import Decimal, getcontext

getcontext().prec = 80
ONE = Decimal(1)
# pi to 60 places
PI = Decimal("3.141592653589793238462643383279502884197169399375105820974944")


def nearest(x):
    """The nearest integer; no value of these tables comes nearer than 1e-6 to a tie (checked)."""
    down = int(x.to_integral_value(rounding="ROUND_FLOOR"))
    rest = x - down
    assert abs(rest - Decimal("0.5")) > Decimal("1e-6"), x
    return down + (rest > Decimal("0.5"))


def sigmoid(x):
    return ONE / (ONE + (-x).exp())


def silu():
    """Segments of 2^10 units of 2^-14: x = k / 16, up to 16."""
    return [nearest(2**20 * sigmoid(Decimal(k) / 16)) if k else 2**19 for k in range(257)]


def gelu():
    """gelu_tanh(x) = x * sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)); segments of 2^9 units: x = k / 32, up to 8."""
    c = 2 * (Decimal(2) / PI).sqrt()
    cube = Decimal("0.044715")
    out = [2**19]
    for k in range(1, 257):
        x = Decimal(k) / 32
        out.append(nearest(2**20 * sigmoid(c * (x + cube * x**3))))
    return out


def exp2():
    """2^24 * 2^(-k/32)."""
    return [nearest(2**24 * Decimal(2) ** (Decimal(-k) / 32)) if k % 32 else 2**24 >> k // 32 for k in range(33)]


TABLES = {"exp2": exp2(), "silu": silu(), "gelu": gelu()}


def rows(values, width=10):
    lines = [", ".join(str(v) for v in values[i:i + width]) for i in range(0, len(values), width)]
    return ",\n".join("            " + line for line in lines)


def c_text():
    out = ["/* tables.c: the tables of exact/1; made by schema/vectors/exact/tables.py. */", '#include "exact/ops_priv.h"', ""]
    e = TABLES["exp2"]
    out += ["const int32_t exact_exp2_diff[32] = {", rows([e[i] - e[i + 1] for i in range(32)]).replace("            ", "    ") + ",", "};", ""]
    out.append("const struct act_table exact_act_table[2] = {")
    for name, bits in (("silu", 10), ("gelu", 9)):
        t = TABLES[name]
        out += [f"    [ASY_EXACT_{name.upper()}] = {{", f"        .bits = {bits},", "        .at = {", rows(t[:256]) + ",", "        },",
                "        .diff = {", rows([t[i + 1] - t[i] for i in range(256)]) + ",", "        },", "    },"]
    out.append("};")
    return "\n".join(out) + "\n"


def json_text():
    doc = {}
    for name, values in TABLES.items():
        raw = b"".join(v.to_bytes(4, "big", signed=True) for v in values)
        doc[name] = {"values": values, "sha256": hashlib.sha256(raw).hexdigest()}
    return json.dumps(doc) + "\n"


if __name__ == "__main__":
    sys.stdout.write(json_text() if sys.argv[1:] == ["--json"] else c_text())
