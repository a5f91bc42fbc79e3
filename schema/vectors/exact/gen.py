#!/usr/bin/env python3
"""Cases for the operators of exact/1, and the maker of the vectors beside this file.

  gen.py write PROGRAM    writes ops.json: inputs by this program, outputs by PROGRAM, which is build/gcc/test/test_exact_vectors;
                          and what comes from model.py and graph.py alone: steps.bin and steps.json (one element each, for contracts),
                          trees.json (rows and openings), toys.json (whole models: roots, logits, traces)
  gen.py check            the models give every output in ops.json, and the other files are what this program makes

A case is an object: op, inputs, out. A vector in it is a list of integers and of pairs [x, n], which stand for n times the integer, or the
integers, x.
"""
import json
import os
import random
import subprocess
import sys

import graph as G
import model as M

HERE = os.path.dirname(os.path.abspath(__file__))
C = M.C


def expand(items):
    out = []
    for item in items:
        if isinstance(item, list):
            what, times = item
            out += (what if isinstance(what, list) else [what]) * times
        else:
            out.append(item)
    return out


# ---- what a case must give, by the model ----

def quantised(q, a, e):
    return {"q": q, "mant": a, "exp": e}


def expect(case):
    op = case["op"]
    get = lambda name: expand(case[name])
    wide = case.get("wide", False)
    if op == "embed":
        return {"x": M.embed(get("w"), case["em"], case["es"])}
    if op == "quant":
        return quantised(*M.quant(get("y"), wide)[:3])
    if op == "norm_quant":
        return quantised(*M.norm_quant(get("x"), get("gain"), case["eps"], wide)[:3])
    if op == "norm_out":
        y = M.norm_out(get("x"), get("gain"), case["eps"], case["shift"])
        return {"y": [M.cap(a + b) for a, b in zip(get("y"), y, strict=True)] if "y" in case else y}
    if op == "linear":
        rows = len(case["w"])
        bias = get("bias") if "bias" in case else [0] * rows
        y = M.linear([expand(row) for row in case["w"]], get("m"), get("s"), bias, get("q"), case["mant"], case["exp"], wide)
        return {"y": [M.cap(a + b) for a, b in zip(get("y"), y, strict=True)] if "y" in case else y}
    if op == "rotation":
        c, s = M.rotation_entry(case["coarse"], case["fine"])
        return {"cos": c, "sin": s}
    if op == "rotate":
        return {"x": M.rotate(get("x"), get("table"))}
    if op == "put":
        (k, ka, ke), (v, va) = M.put(get("k"), get("v"))
        return {"k": k, "ka": ka, "ke": ke, "v": v, "va": va}
    if op == "attend":
        kept = [M.put(expand(row["k"]), expand(row["v"])) for row in case["rows"]]
        order = get("order")
        keys, values = [kept[n][0] for n in order], [kept[n][1] for n in order]
        o, more = M.attend(get("q"), keys, values, case["first"], case["pos"])
        out = {"o": o}
        if case.get("details"):
            out["score"], out["share"] = list(more["score"].values()), list(more["share"].values())
        return out
    if op == "gate":
        return {"h": M.gate(case["activation"], get("gu"))}
    if op == "inverse_root":
        r, half = M.inverse_root(case["sum"])
        return {"r": r, "half": half}
    assert op == "division", op
    Z, s = M.division(case["sum"], case["keys"], case["bits"])
    return {"factor": Z, "shift": s}


# ---- random cases ----

def number(r, most=C):
    """Of every size, the ends and the powers of two often."""
    kind = r.randrange(8)
    if kind == 0:
        v = most - r.randrange(3)
    elif kind == 1:
        v = (1 << r.randrange(most.bit_length())) + r.randrange(-1, 2)
    elif kind == 2:
        v = r.randrange(3)
    else:
        v = r.randrange(1 << r.randrange(1, most.bit_length() + 1))
    return max(-most, min(most, v if r.randrange(2) else -v))


def vector(r, n, most=C):
    kind = r.randrange(6)
    if kind == 0:
        return [r.choice((-most, most)) for _ in range(n)]
    if kind == 1:
        return [number(r, most) for _ in range(n)]
    top = max(1, min(most, 1 << r.randrange(1, most.bit_length() + 1)))
    out = [r.randint(-top, top) for _ in range(n)]
    if kind == 2:  # one great element
        out[r.randrange(n)] = number(r, most)
    return out


def gains(r, n):
    return vector(r, n, (1 << 23) - 1) if r.randrange(2) else [r.randrange(1 << 21, 1 << 23) for _ in range(n)]


def eps_of(r):
    return r.choice((0, 1, 1717, (1 << 58) - 1, r.randrange(1 << 58), r.randrange(1 << r.randrange(1, 59))))


def scale(r):
    return r.choice((32768, 65535, r.randrange(32768, 65536))), r.randrange(-38, 23)


def random_quant(r):
    return {"op": "quant", "wide": bool(r.randrange(2)), "y": vector(r, r.randrange(1, 49))}


def random_norm_quant(r):
    n = r.randrange(1, 49)
    return {"op": "norm_quant", "wide": bool(r.randrange(2)), "x": vector(r, n), "gain": gains(r, n), "eps": eps_of(r)}


def random_norm_out(r):
    n = r.randrange(1, 49)
    c = {"op": "norm_out", "x": vector(r, n), "gain": gains(r, n), "eps": eps_of(r),
         "shift": r.choice((r.randrange(1, 63), r.randrange(20, 50), r.randrange(-64, 65)))}
    if r.randrange(2):
        c["y"] = vector(r, n)
    return c


def random_linear(r):
    K, rows, wide = 32 * r.randrange(1, 5), r.randrange(1, 5), bool(r.randrange(2))
    a, e = scale(r)
    fitting = r.randrange(2)  # a shift that makes results of common size
    c = {"op": "linear", "wide": wide, "w": [vector(r, K, 127) for _ in range(rows)],
         "m": [r.choice((0, 16384, 32767)) if r.randrange(4) == 0 else r.randrange(16384, 32768) for _ in range(rows)],
         "s": [e + r.randrange(20, 62) if fitting else r.choice((-32768, 32767, r.randrange(-100, 100))) for _ in range(rows)],
         "q": vector(r, K, 32512 if wide else 127), "mant": a, "exp": e}
    if r.randrange(2):
        c["bias"] = [r.choice((-C, C, number(r))) for _ in range(rows)]
    if r.randrange(2):
        c["y"] = vector(r, rows)
    return c


def random_embed(r):
    return {"op": "embed", "w": vector(r, 16, 127), "em": r.choice((0, 16384, 32767, r.randrange(16384, 32768))),
            "es": r.choice((r.randrange(1, 63), r.randrange(1, 20), r.randrange(-32768, 32768)))}


def random_rotation(r):
    full = 1 << 30
    if r.randrange(3) == 0:
        pick = lambda: [r.choice((-full, full, 0, number(r, full))) for _ in range(2)]
    else:  # near the unit circle
        def pick():
            x = r.randint(-full, full)
            y = M.isqrt(full * full - x * x)
            return [x, y if r.randrange(2) else -y]
    return {"op": "rotation", "coarse": pick(), "fine": pick()}


def random_rotate(r):
    n = 2 * r.randrange(1, 9)
    return {"op": "rotate", "x": vector(r, n), "table": vector(r, n, 32767)}


def random_put(r):
    n = 4 * r.randrange(1, 13)
    return {"op": "put", "k": vector(r, n), "v": vector(r, n)}


def like_a_model(r, n, size):
    return [max(-C, min(C, int(r.gauss(0, size)))) for _ in range(n)]


def random_attend(r):
    hd, distinct = r.choice((16, 32)), r.randrange(1, 9)
    pos = r.choice((r.randrange(40), r.randrange(200, 300), r.randrange(500, 530)))
    first = max(0, pos - r.choice((pos, pos, r.randrange(1, 60), 0)))
    if r.randrange(2):
        size = 2**r.uniform(8, 20)
        rows = [{"k": like_a_model(r, hd, size), "v": like_a_model(r, hd, 2**r.uniform(4, 26))} for _ in range(distinct)]
        q = like_a_model(r, hd, 2**r.uniform(8, 18))
    else:
        rows = [{"k": vector(r, hd), "v": vector(r, hd)} for _ in range(distinct)]
        q = vector(r, hd)
    return {"op": "attend", "q": q, "rows": rows, "order": [r.randrange(distinct) for _ in range(pos + 1)], "first": first, "pos": pos,
            "details": True}


def random_gate(r):
    gu = []
    for _ in range(16):
        g = r.choice((number(r), number(r, 1 << 18), r.randrange(-262200, 262200), 512 * r.randrange(-520, 520) + r.randrange(-1, 2)))
        gu += [g, number(r)]
    return {"op": "gate", "activation": r.randrange(2), "gu": gu}


def random_inverse_root(r):
    return {"op": "inverse_root", "sum": max(1, abs(number(r, (1 << 59) - 1)))}


def random_division(r):
    keys = r.choice((1, 2, 255, 256, 257, 65536, 65537, 131072, r.randrange(1, 131073)))
    l = min(keys << 30, (1 << 30) + r.randrange(1 << r.randrange(1, 48)))
    return {"op": "division", "sum": l, "keys": keys, "bits": r.randrange(16, 46)}


RANDOM = {name[7:]: f for name, f in sorted(globals().items()) if name.startswith("random_")}


# ---- chosen cases ----

def near_ties(r):
    """[(A, y, wide)] whose quantisation would round otherwise if the factor had one more bit"""
    out = []
    for wide in (0, 1):
        while len(out) < 6 + 6 * wide:
            A = r.randrange(1 << 20, C)
            v = r.randrange(A)
            R, s = M.quant_factor(A, wide)
            if M.rnd(v * R, s) != M.rnd(v * (((32512 if wide else 127) << s + 1) // A), s + 1):
                out.append((A, v, wide))
    return out


def edges():
    r = random.Random("exact/1 edges")
    out = []
    add = lambda op, **inputs: out.append({"op": op, **inputs})
    for wide in (False, True):
        for y in ([0], [1], [-1], [C], [-C], [[0, 33]], [[C, 32]], [[-C, 32]], [C, -C, 1, -1, 0]):
            add("quant", wide=wide, y=y)
        for k in range(30):  # both sides of every power of two, with halves
            top = 1 << k
            add("quant", wide=wide, y=[top, -top, top - 1, top // 2, -(top // 2), top // 3, 1, -1, 0])
            add("quant", wide=wide, y=[min(C, 2 * top - 1), top, -top, top + 1, -(top + top // 2)])
    for A, v, wide in near_ties(r):
        add("quant", wide=bool(wide), y=[A, v, -v])
    full = (1 << 23) - 1
    for wide in (False, True):
        for x, gain, eps in (
            ([[0, 32]], [[full, 32]], 0), ([[0, 32]], [[0, 32]], (1 << 58) - 1), ([[0, 32]], [[full, 32]], 1),
            ([[C, 16384]], [[full, 16384]], (1 << 58) - 1), ([[-C, 16384]], [[full, 16384]], 0), ([[C, 16384]], [[1, 16384]], 0),
            ([[[C, -C], 288]], [[[full, -full, 1], 192]], 1 << 40), ([[1, 64]], [[full, 64]], 0), ([1], [1], 0), ([1], [16384], 0), ([1], [16383], 0),
            ([-1], [16384], 0), ([[3, 640]], [[16384, 640]], 1717), ([(1 << 22) - 1, 1], [full, full], 0), ([1 << 22, 1, 2, 3, -1, -3], [[full, 6]], 7),
            ([(1 << 23) - 1, 1, 2, -1, -2, 3], [[full, 6]], 3), ([(1 << 30) - 1, 127, 128, 129, -127, -128, -129], [[full, 7]], 65536),
        ):
            add("norm_quant", wide=wide, x=x, gain=gain, eps=eps)
            if not wide:
                for s in (-64, 1, 30, 44, 62, 64):
                    add("norm_out", x=x, gain=gain, eps=eps, shift=s)
    add("norm_out", x=[[C, 64]], gain=[[full, 64]], eps=0, shift=16, y=[[[C, -C], 32]])
    for wide in (False, True):
        top = 32512 if wide else 127
        for K in (32, 576, 1024, 8192, 8224, 14336, 16384, 16416, 28672, 65536, 65568, 131072):
            add("linear", wide=wide, w=[[[127, K]], [[-127, K]], [[[127, -127], K // 2]]], m=[32767, 32767, 16384], s=[62, 62, 20],
                q=[[top, K]], mant=65535, exp=0, bias=[C, -C, 0])
            block = vector(r, 32, 127)
            add("linear", wide=wide, w=[[[block, K // 32]], [[block[::-1], K // 32]]], m=[20000, 16384], s=[33, 40], q=[[vector(r, 32, top), K // 32]], mant=40000, exp=3)
            add("linear", wide=wide, w=[[[127, K]], [[-127, K]], [[127, K]]], m=[32767, 32767, 16384], s=[62, 63, 61], q=[[top, K]], mant=65535, exp=0)
        for s, e in ((1, 0), (0, 0), (-32768, 0), (32767, 22), (63, 1), (62, 0), (-38, -38), (20, -38)):
            for m in (0, 16384, 32767):
                add("linear", wide=wide, w=[[[[1, -1, 5, 7], 8]], [[3, 32]]], m=[m, m], s=[s, s], q=[[[9, -top, 4, top], 8]], mant=32768, exp=e, y=[C, -C])
    for w, em, es in (([127, -127, 0, 1, -1], 32767, 1), ([127, -127, 0, 1, -1], 16384, 14), ([127, -127, 1], 0, 20), ([127, -127, 1, -1], 16384, 15), ([127, -1], 32767, -32768), ([127, -1], 32767, 32767)):
        add("embed", w=w, em=em, es=es)
    one = 1 << 30
    for a, b in (((one, 0), (one, 0)), ((0, one), (0, one)), ((one, one), (one, one)), ((-one, one), (one, -one)), ((0, 0), (one, one)), ((759250125, 759250125), (759250125, 759250125))):
        add("rotation", coarse=list(a), fine=list(b))
    for x in ([C, C], [C, -C], [-C, -C], [1, 0], [0, -1], [0, 0]):
        for t in ([32767, 0], [0, 32767], [-32767, 32767], [23170, 23170], [0, 0], [1, -1], [16384, 16384]):
            add("rotate", x=x, table=t)
    for k, v in (([[0, 64]], [[0, 64]]), ([[C, 64]], [[-C, 64]]), ([[[1, -1], 8]], [[2, 16]]), ([[7, 256]], [[[C, 0], 128]])):
        add("put", k=k, v=v)

    def attend(q, rows, order, first=0, pos=None, details=False):
        n = len(expand(order))
        c = {"q": q, "rows": rows, "order": order, "first": first, "pos": n - 1 if pos is None else pos}
        add("attend", **c, **({"details": True} if details else {}))

    zero = lambda hd: {"k": [[0, hd]], "v": [[0, hd]]}
    for hd in (16, 64, 256):
        full_row = {"k": [[C, hd]], "v": [[C, hd]]}
        other = {"k": [[-C, hd]], "v": [[-C, hd]]}
        attend([[0, hd]], [zero(hd)], [[0, 37]], details=True)
        attend([[C, hd]], [full_row, other], [[[0, 1], 20]], details=True)
        attend([[1, hd]], [full_row, zero(hd)], [0, [1, 300]])
        attend([[C, hd]], [full_row], [0], details=True)
        attend([[C, hd]], [zero(hd), full_row], [[0, 255], 1, 0, [1, 5]])  # the best key at a block's end
    for n in (255, 256, 257, 512, 513):  # blocks
        rows = [{"k": like_a_model(r, 16, 30000), "v": like_a_model(r, 16, 2**r.uniform(6, 28))} for _ in range(7)]
        attend(like_a_model(r, 16, 30000), rows, [r.randrange(7) for _ in range(n)])
    for first in (0, 1, 254, 255, 256, 257, 299):  # windows, down to one key
        rows = [{"k": like_a_model(r, 32, 20000), "v": like_a_model(r, 32, 20000)} for _ in range(5)]
        attend(like_a_model(r, 32, 20000), rows, [r.randrange(5) for _ in range(300)], first=first, details=first > 200)
    for size in (8, 20, 29):  # a window far from the start: keys, not positions, decide t
        rows = [{"k": like_a_model(r, 16, 20000), "v": [(1 << size) - r.randrange(1 << size - 4) for _ in range(16)]} for _ in range(5)]
        attend(like_a_model(r, 16, 20000), rows, [[[0, 1, 2, 3, 4, 4, 3, 0], 12500]], first=100000 - 700)
    for size in (20, 29):  # blocks whose shares differ in size: their sums are rounded
        rows = [{"k": [[k, 16]], "v": vector(r, 16, 1 << size)} for k in (40000, 30000, 20000, 10000, 35000)]
        attend([[9000, 16]], rows, [[4, 200], [0, 3], [1, 300], [2, 256], [3, 200], [1, 40]])
    for x, top in ((27291, 18260), (557, 217144), (3770, 95991), (4810, 85163)):  # distances 30 * 2^16, + 1, 31 * 2^16, 2^21 - 1
        attend([30000, [x, 15]], [{"k": [[top, 16]], "v": [[5, 16]]}, {"k": [[0, 16]], "v": [[C, 16]]}], [0, 1, 0, 1], details=True)
    # the format's limit: 131,072 keys; at the cap, all equal; a sink and a flat tail; random; a window at the end
    hd = 256
    attend([[1, hd]], [{"k": [[C, hd]], "v": [[C, hd]]}], [[0, 131072]])
    attend([[[C, -C], hd // 2]], [{"k": [[[C, -C], hd // 2]], "v": [[-C, hd]]}, {"k": [[C, hd]], "v": [[1, hd]]}], [[[0, 1], 65536]])
    sink = {"k": [[60000, hd]], "v": like_a_model(r, hd, 20000)}
    tail = [{"k": like_a_model(r, hd, 1000), "v": like_a_model(r, hd, 20000)} for _ in range(15)]
    attend([[7900, hd]], [sink] + tail, [0, [[1 + i % 15 for i in range(31)], 4228], 1, 2, 3])
    rows = [{"k": like_a_model(r, 64, 20000), "v": like_a_model(r, 64, 2**r.uniform(4, 29))} for _ in range(61)]
    attend(like_a_model(r, 64, 9000), rows, [[[r.randrange(61) for _ in range(512)], 256]])
    attend(like_a_model(r, 64, 9000), rows, [[[r.randrange(61) for _ in range(512)], 256]], first=131072 - 4096 - 77)
    attend(like_a_model(r, 64, 9000), rows[:8], [[[0, 1, 2, 3, 4, 5, 6, 7], 8192]])  # 65,536: the last count with t = 0
    attend(like_a_model(r, 64, 9000), rows[:8], [[[0, 1, 2, 3, 4, 5, 6, 7], 8192], 3])
    for activation in (0, 1):
        ash = M.ACTIVATIONS[activation][1]
        gu = []
        for t in list(range(0, 260)):
            for d in (-1, 0, 1):
                gu += [(t << ash) + d, 16384, -(t << ash) + d, -16384]
        add("gate", activation=activation, gu=gu)
        gu = []  # ties, and their neighbours, of the last rounding: the table is 1 here
        for g in (300001, -300001, 262145):
            for rest in (8191, 8192, 8193):
                gu += [g, rest * pow(g, -1, 16384) % 16384]
        add("gate", activation=activation, gu=gu)
        add("gate", activation=activation, gu=[C, C, -C, C, C, -C, -C, -C, 0, C, 1, C, -1, C, 1, 1, -1, -1, 0, 0, 5000, C, -5000, C])
    for k in range(59):
        for d in (-1, 0, 1):
            if 1 <= (1 << k) + d < 1 << 59:
                add("inverse_root", sum=(1 << k) + d)
    add("inverse_root", sum=(1 << 59) - 1)
    for l, keys in ((1 << 30, 1), (1 << 30, 131072), ((1 << 31) - 1, 2), (1 << 31, 2), ((1 << 32) - 1, 4), (1 << 32, 4), ((1 << 32) + 1, 5), ((1 << 46) - 1, 65536), (1 << 46, 65536),
                    (1 << 46, 65537), (1 << 47, 131072), ((1 << 47) - 1, 131072), (((1 << 31) + (1 << 24)) << 15, 131072)):
        for b in (16, 30, 45):
            add("division", sum=l, keys=keys, bits=b)
    found = 0
    while found < 8:  # where one bit less of l would give another Z
        l = r.randrange(1 << 31, 1 << 32)
        l1 = 127 * (l >> 1)
        if (1 << M.bits(l1) + 23) // l1 != M.division(l, 4, 30)[0]:
            add("division", sum=l, keys=4, bits=30)
            found += 1
    for op, f in RANDOM.items():
        for _ in range(4 if op == "attend" else 12):
            out.append(f(r))
    return out


# ---- the C program ----

class Program:
    """Answers cases; use as a context."""

    def __init__(self, path):
        self.p = subprocess.Popen([path, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.p.stdin.close()
        self.p.wait()

    def answer(self, case):
        json.dump({k: v for k, v in case.items() if k != "out"}, self.p.stdin)
        self.p.stdin.write("\n")
        self.p.stdin.flush()
        return json.loads(self.p.stdout.readline())


def packed(items):
    """A long list that repeats its first few integers over and over, as one pair."""
    for p in (1, 2, 3, 6):
        if len(items) >= 60 and len(items) % p == 0 and items == items[:p] * (len(items) // p):
            return [[items[:p], len(items) // p]]
    return items


def line_of(case):
    return json.dumps(case, separators=(",", ":"))


# ---- one element each: steps.bin ----

def steps():
    """{name: (names of the fields, records)}; a record is a list of signed 64-bit integers, inputs first"""
    r = random.Random("exact/1 steps")
    out = {}

    def add(name, fields, inputs, f):
        """inputs: lists; f: what they give, an integer or several"""
        records = []
        for i in inputs:
            got = f(*i)
            records.append([*i, *(got if isinstance(got, tuple) else (got,))])
        out[name] = fields, records

    n = 300
    tops = [1, 2, 3, C, C - 1, 1 << 22, (1 << 22) - 1, 1 << 29] + [1 << k for k in range(30)] + [abs(number(r)) or 1 for _ in range(n)]
    sums = [1, 2, 3, (1 << 59) - 1] + [(1 << k) - d for k in range(1, 59) for d in (0, 1)] + [random_inverse_root(r)["sum"] for _ in range(n)]
    elements = []
    for A in tops:
        for wide in (0, 1):
            elements += [[A, A, wide], [-A, A, wide], [A // 2, A, wide], [r.randint(-A, A), A, wide]]
    elements = r.sample(elements, 600) + [[v, A, wide] for A, v, wide in near_ties(r)]
    add("quant", "y A wide q", elements, lambda y, A, wide: M.quant_element(y, A, wide))
    add("limbs", "q hi lo", [[q] for q in (-32512, 32512, -128, 127, 128, -129, -1, 0, 255, 256)] + [[r.randint(-32512, 32512)] for _ in range(100)], M.limbs)
    add("scale", "v mant exp", [[v] for v in tops] + [[r.randrange(1, 1 << r.randrange(1, 62))] for _ in range(100)], M.mant_exp)
    add("inverse_root", "S r half", [[s] for s in sums], M.inverse_root)
    add("norm_scale", "S A mant exp", [[s, r.choice(tops)] for s in sums], M.norm_scale)
    full = (1 << 23) - 1
    inputs = []
    for A in tops:
        inputs += [[r.choice((A, -A)), A, r.choice((full, -full))], [r.randint(-A, A), A, r.randint(-full, full)]]
    add("norm_y", "x Ax gain v y", inputs, lambda x, A, gain: (M.norm_v(x, M.norm_h(A)), M.norm_y(M.norm_v(x, M.norm_h(A)), gain)))
    reach = (1 << 30) - 128
    add("norm_out", "y S shift o", [[r.choice((reach, -reach, number(r, reach))), s, r.choice((30, 36, 44, 1, 62, -64, 64, r.randrange(-64, 65)))] for s in sums], M.norm_out_element)
    inputs = []
    for _ in range(600):
        K, wide = r.choice((32, 576, 1536, 8192, 8224, 16384, 16416, 28672, 65536, 65568, 131072)), r.randrange(2)
        most = K * 127 * (32512 if wide else 127)
        a, e = scale(r)
        inputs.append([r.choice((most, -most, number(r, most), r.randint(-most, most))), K, wide, a, e, r.choice((0, 16384, 32767, r.randrange(16384, 32768))),
                       r.choice((e + r.randrange(10, 63), r.randrange(-40, 90), -32768, 32767)), r.choice((0, 0, number(r), C, -C)), r.choice((0, 0, number(r), C, -C))])
    add("linear", "sum K wide a e m s bias x y", inputs,
        lambda total, K, wide, a, e, m, s, bias, x: M.cap(x + M.linear_element(total, K, wide, a, e, m, s, bias)))
    add("embed", "w em es x", [[r.choice((-127, 127, 0, 1, -1, r.randint(-127, 127))), r.choice((0, 16384, 32767, r.randrange(16384, 32768))), r.choice((r.randrange(1, 24), 1, 14, 62, 63, 0, -32768, 32767))] for _ in range(n)],
        lambda w, em, es: M.embed([w], em, es)[0])
    inputs = []
    for _ in range(n):
        c = random_rotation(r)
        inputs.append([*c["coarse"], *c["fine"]])
    add("rotation", "cc cs fc fs c s", inputs, lambda a, b, c, d: M.rotation_entry((a, b), (c, d)))
    add("rotate", "x0 x1 c s y0 y1", [[number(r), number(r), number(r, 32767), number(r, 32767)] for _ in range(n)], M.rotate_pair)
    scale8 = lambda A: (M.mant_exp(A)[0], M.mant_exp(A)[1] - 14)
    add("score", "acc Aq Ak score", [[r.choice((4129024, -4129024, number(r, 4129024))), r.choice(tops), r.choice(tops)] for _ in range(2 * n)],
        lambda acc, Aq, Ak: M.score_of(acc, *scale8(Aq), *scale8(Ak)))
    ds = [0, 1, 2047, 2048, (30 << 16) - 1, 30 << 16, (30 << 16) + 1, 31 << 16, (32 << 16) - 1, 32 << 16, (1 << 31) - 2] + [(k << 11) + d for k in range(1, 70) for d in (-1, 0, 1)]
    add("exp2", "d p", [[d] for d in ds + [r.randrange(33 << 16) for _ in range(n)]], M.exp2_of)
    inputs = []
    for _ in range(2 * n):
        p, va = r.choice((0, 1, 1 << 30, r.randrange(1 << r.randrange(1, 31)))), r.choice(tops)
        inputs.append([p, va, r.randint(M.bits(p * va), min(60, M.bits(p * va) + r.randrange(30)))])
    add("weight", "p va bits share w", inputs, lambda p, va, b: (M.share_of(p, va), M.weight_of(M.share_of(p, va), M.down_bits(b))))

    def attended(acc, l, keys, wm):
        Z, s = M.division(l, keys, wm)
        return M.cap(M.rnd(M.below(acc * Z, 62), s))

    inputs = []
    for _ in range(2 * n):
        c = random_division(r)
        most = c["keys"] * 32767 * 127 + 256
        inputs.append([r.choice((most, -most, number(r, most))), c["sum"], c["keys"], c["bits"]])
    while len(inputs) < 2 * n + 8:  # where the bits of l below its highest 32 would make another o
        keys = r.randrange(1000, 131073)
        l, acc, wm = r.randrange(1 << 33, keys << 30), keys * 32767 * 127 // 2, r.randrange(30, 46)
        Z, s = M.division(l, keys, wm)
        b = M.bits(127 * l) + 23 - max(0, M.bits(keys - 1) - 16)
        if M.cap(M.rnd(acc * Z, s)) != M.cap(acc * ((1 << b) // (127 * l)) + (1 << b - wm - 1) >> b - wm):
            inputs.append([acc, l, keys, wm])
    add("attended", "acc l keys wm o", inputs, attended)
    inputs = []
    for activation in (0, 1):
        for _ in range(n):
            gu = random_gate(r)["gu"]
            inputs.append([activation, gu[0], gu[1]])
        for t in range(0, 258, 3):
            at = t << M.ACTIVATIONS[activation][1]
            inputs += [[activation, at, 1 << 20], [activation, -at, 1 << 20], [activation, at - 1, -(1 << 20)]]
    add("gate", "activation g u h", inputs, M.gate_element)
    inputs = []
    for _ in range(20):
        A = r.choice(tops)
        inputs.append([A, *(r.randint(-A, A) for _ in range(64))])
    add("squares", "Ax x*64 sum", inputs, lambda A, *x: sum(M.norm_v(v, M.norm_h(A)) ** 2 for v in x))
    # the sampler's pieces
    S = G.sampling
    seeds = [bytes(32), bytes(range(32)), b"\xff" * 32]
    half = lambda seed: [int.from_bytes(seed[8 * i:8 * i + 8], "big", signed=True) for i in range(4)]
    whole = lambda w: b"".join(x.to_bytes(8, "big", signed=True) for x in w)
    inputs = [[*half(seed), pos, i] for seed in seeds for pos, i in [(0, 0), (1, 15), (7, 16), (7, 1234), (0xFFFFFFFF, 262143), (5, 1048575)] + [(r.randrange(1 << 32), r.randrange(1 << 20)) for _ in range(30)]]
    add("word", "seed*4 pos id word", inputs, lambda a, b, c, d, pos, i: S.word(whole((a, b, c, d)), pos, i))
    words = [0, 1, 2, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 32) - 2] + [(1 << k) + d for k in range(2, 32) for d in (-1, 0)] + [r.randrange(1 << 32) for _ in range(n)] + \
        [(1 << 32) - 1 - r.randrange(1 << r.randrange(1, 31)) for _ in range(100)]
    add("gumbel", "word noise", [[w] for w in words], S.gumbel)
    add("inverse", "milli inverse", [[t] for t in (1, 2, 3, 700, 800, 999, 1000, 1001, 99999, 100000)], S.inv_temperature)
    add("token_score", "logit inverse word score", [[number(r), S.inv_temperature(r.randrange(1, 100001)), r.choice(words)] for _ in range(n)], S.score)
    ds = [d for d in range(1, 1300000) if (d * 1549082005) >> 30 != (d * 1549082004) >> 30][:8]  # round(2^30 / ln 2) to its last digit
    ds += [0, 1, 2, 1362783, 1362784, (1 << 31) - 2, 45425, 45426]
    add("token_weight", "d weight", [[d] for d in ds] + [[r.randrange(1400000)] for _ in range(n)], S.weight)
    return out


def step_files():
    """steps.bin: all records one behind the other, 8 bytes a number, big-endian; steps.json: where each operator's begin"""
    raw, index = b"", {}
    for name, (fields, records) in steps().items():
        width = len(records[0])
        assert all(len(record) == width for record in records)
        index[name] = {"at": len(raw), "records": len(records), "numbers": width, "fields": fields}
        raw += b"".join(v.to_bytes(8, "big", signed=True) for record in records for v in record)
    return raw, index


# ---- rows, openings, toy models ----

def some_bytes(n):
    return bytes((7 * j + n) % 251 for j in range(n))


def trees():
    rows = []
    for n in (0, 32, 64, 576, 1024, 1056, 1088, 1536, 2048, 3072, 4096, 5120, 14336):
        rows.append({"content": n, "constants": some_bytes(32).hex(), "pieces_root": G.pieces_root(some_bytes(n)).hex(), "hash": G.row_hash(some_bytes(32), some_bytes(n)).hex()})
        if n > 1024:  # the last piece alone
            count = G.ceil(n, 1024)
            pieces = G.Tree(M.log2up(count), G.ZERO)
            for i in range(count):
                pieces.set(i, G.keccak256(some_bytes(n)[1024 * i:1024 * i + 1024]))
            pieces.build()
            rows[-1]["last_path"] = [h.hex() for h in pieces.path(count - 1)]
    r = random.Random("exact/1 openings")
    depth = 14
    leaves = {i: bytes(r.randrange(256) for _ in range(128)) for i in list(range(300, 340)) + list(range(512, 520)) + [0, (1 << depth) - 1, 4096]}
    tree = G.Tree(depth, G.keccak256(bytes(128)))
    for i, leaf in leaves.items():
        tree.set(i, G.keccak256(leaf))
    root = tree.build()
    openings = []
    for index, bits in ((0, 0), (300, 0), (339, 0), (340, 0), ((1 << depth) - 1, 0), (320, 4), (512, 3), (512, 5), (256, 6), (4096, 1), (8192, 6)):
        block = b"".join(leaves.get(i, bytes(128)) for i in range(index, index + (1 << bits)))
        openings.append({"index": index, "bits": bits, "data": block.rstrip(b"\0").hex(), "path": [h.hex() for h in tree.path(index >> bits, bits)]})
    folds = []
    for level, at in ((14, 0), (9, 9), (4, 20)):  # what a reveal of five levels, or of the last four, shows of a node
        below = max(0, level - 5)
        count = 1 << level - below
        folds.append({"node": tree.at(level, at).hex(), "below": [tree.at(below, at * count + i).hex() for i in range(count)]})
    return {"rows": rows, "depth": depth, "leaves": {str(i): leaf.hex() for i, leaf in leaves.items()}, "root": root.hex(), "openings": openings, "folds": folds}


def settings(**change):
    s = {"temperature_milli": 1000, "top_k": 0, "top_p_ppm": 1000000, "min_p_ppm": 0, "presence_penalty_milli": 0, "frequency_penalty_milli": 0,
         "repeat_penalty_milli": 0, "logit_bias": "00" * 32}
    s.update(change)
    return s


BIAS = [(3, -100000), (50, 3000), (60, -700)]
TOYS = (
    ("plain", dict(layers=2, dim=32, inner=64, heads=2, kv_heads=1, head_dim=16, vocab=96, positions=512, window=0, ropes=1, activation=0, residual_bits=14,
                   flags=G.TIED | G.HEAD_WIDE), [(0, 0, 8), (0, 0, 9)],
     [([1, 2, 3], 4, settings(), 0), ([1, 2, 3], [91, 5, 6, 7], settings(), 0), ([95, 17], 3, settings(temperature_milli=0), 1), ([7, 7, 7, 7], 2, settings(top_k=5, temperature_milli=700), 1),
      ([9, 8, 7, 40, 41, 40], 5, settings(temperature_milli=900, top_k=20, top_p_ppm=950000, min_p_ppm=1000, presence_penalty_milli=300, frequency_penalty_milli=-450,
                                          repeat_penalty_milli=1250, logit_bias=G.sampling.bias_digest(BIAS).hex()), 3, BIAS)]),
    ("everything", dict(layers=3, dim=64, inner=160, heads=4, kv_heads=2, head_dim=32, vocab=80, positions=600, window=5, ropes=2, activation=1, residual_bits=12,
                        flags=G.POST_NORMS | G.QK_NORMS), [(1, 1, 5), (0, 0, 10), (1, 1, 15)],
     [([5, 6, 7, 8, 9, 10, 11], 3, settings(top_p_ppm=900000, temperature_milli=800), 0), ([79, 0, 40], 4, settings(top_k=70, top_p_ppm=950000, min_p_ppm=1000), 2)]),
    ("long", dict(layers=1, dim=32, inner=32, heads=2, kv_heads=2, head_dim=16, vocab=64, positions=512, window=270, ropes=1, activation=0, residual_bits=14,
                  flags=G.QK_NORMS), [(1, 0, 0)],
     [([(11 * i + i * i) % 64 for i in range(290)], 6, settings(min_p_ppm=20000), 3)]),
    ("judged", dict(layers=2, dim=32, inner=32, heads=2, kv_heads=1, head_dim=16, vocab=64, positions=512, window=3, ropes=2, activation=1, residual_bits=12,
                    flags=G.POST_NORMS | G.QK_NORMS), [(1, 1, 5), (0, 0, 10)],
     [([60, 3, 3], 4, settings(temperature_milli=900, top_k=20, top_p_ppm=900000, min_p_ppm=1000), 2)]),
)


def toys():
    out = []
    for number_, (name, dims, layers, runs) in enumerate(TOYS):
        shape = G.Shape(**dims)
        m = G.toy(shape, number_ + 1, layers)
        tree, rows_root = m.tree()
        rows = m.rows()
        some = sorted(rows)
        shown = []
        for start in sorted({*shape.layer_starts.values(), *(v for k, v in shape.starts.items() if k != "layers"), some[-1]}):
            constants, content = rows[start]
            shown.append({"row": start, "constants": constants.hex(), "content": content.hex(), "hash": tree.at(0, start).hex()})
            if start in (0, some[-1]):
                shown[-1]["path"] = [h.hex() for h in tree.path(start)]
        toy = {"name": name, "seed": number_ + 1, **dims, "layer_rows": [{"window": w, "rope": rope, "wide": bits} for w, rope, bits in layers], "header": shape.header().hex(),
               "layer_starts": shape.layer_starts, "layer_bits": shape.R, "starts": shape.starts, "depth": shape.depth, "row_count": len(some), "rows": shown,
               "rows_root": rows_root.hex(), "weights_root": m.weights_root().hex(), "runs": []}
        for prompt, wanted, s, first, *bias in runs:
            count = len(wanted) if isinstance(wanted, list) else wanted  # a list: what a job claims, right or wrong
            seed = bytes((5 * i + count) % 256 for i in range(32))
            run = G.Run(m, prompt, wanted, s, seed, first, *bias)
            last = run.T - 1
            span = run.layer_bits + run.leaf_bits
            toy["runs"].append({
                "prompt": prompt, "output": run.ids[len(prompt):], "chosen": run.chosen, "settings": s, "settings_bytes": G.sampling.settings_bytes(s).hex(), "seed": seed.hex(), "first": first,
                "bias": [list(pair) for pair in run.bias], "positions": run.T,
                "logits": {str(pos): v for pos, v in run.logits.items()}, "starts": run.starts, "leaf_bits": run.leaf_bits, "layer_bits": run.layer_bits,
                "token_bits": run.token_bits, "leaf_count": len(run.leaves), **dict(zip(("prompt_root", "answer_root", "output_digest"), (h.hex() for h in run.output()))), "job": run.job().hex(), "trace_root": run.tree()[1].hex(),
                "last_position": {str(i - (last << span)): leaf.rstrip(b"\0").hex() for i, leaf in sorted(run.leaves.items()) if i >> span == last},
            })
            if name == "judged":
                toy["runs"][-1]["leaf_indices"] = sorted(run.leaves)
                toy["runs"][-1]["leaves"] = "".join(leaf.hex() for _, leaf in sorted(run.leaves.items()))
        out.append(toy)
    return out


def derived():
    """{file: bytes} of what needs no C program"""
    raw, index = step_files()
    text = lambda value: (json.dumps(value, separators=(",", ":")).replace("},{", "},\n{") + "\n").encode()
    tables = b"".join(v.to_bytes(4, "big", signed=True) for table in (M.EXP2, M.ACTIVATIONS[0][0], M.ACTIVATIONS[1][0], *G.sampling.GUMBEL) for v in table)
    return {"tables.bin": tables, "steps.bin": raw, "steps.json": (json.dumps(index, indent=1) + "\n").encode(), "trees.json": text(trees()), "toys.json": text(toys())}


def write(program):
    cases = edges()
    with Program(program) as c:
        for i, case in enumerate(cases):
            out, wanted = c.answer(case), expect(case)
            if out != wanted:
                sys.exit(f"case {i}, {line_of(case)[:300]}: the model has {str(wanted)[:300]}")
            case["out"] = {k: packed(v) if isinstance(v, list) else v for k, v in out.items()}
    with open(os.path.join(HERE, "ops.json"), "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(map(line_of, cases)) + "\n]\n")
    for name, data in derived().items():
        with open(os.path.join(HERE, name), "wb") as f:
            f.write(data)
    print(len(cases), "cases")


def check():
    """Returns how many outputs were compared, and how many differ."""
    with open(os.path.join(HERE, "ops.json"), encoding="utf-8") as f:
        cases = json.load(f)
    wanted = lambda case: {k: expand(v) if isinstance(v, list) else v for k, v in case["out"].items()}
    bad = 0
    for i, case in enumerate(cases):
        if expect(case) != wanted(case):
            print(f"ops.json: case {i}, {case['op']}, is not what model.py gives", file=sys.stderr)
            bad += 1
    for name, data in derived().items():
        with open(os.path.join(HERE, name), "rb") as f:
            if f.read() != data:
                print(f"{name} is not what gen.py makes", file=sys.stderr)
                bad += 1
    return len(cases), bad


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        write(sys.argv[2])
    else:
        sys.exit(check()[1] != 0)
