"""exact/1 in Python integers: docs/protocol/exact.md, formula by formula, slow and plain.

Written from that page alone. Integers have no width here, so every intermediate is asserted to stay within the bound that the page
gives for it: below(x, n) says |x| < 2^n. No floating point.
"""
import hashlib
import json
import os
import struct
from math import isqrt

HERE = os.path.dirname(os.path.abspath(__file__))
C = (1 << 30) - 1
MAX_SUM = 131072 * 127 * 127
assert MAX_SUM == 127 * 32512 * 512 == 2114060288 < 1 << 31

with open(os.path.join(HERE, "tables.json"), encoding="utf-8") as f:
    _tables = json.load(f)
EXP2 = _tables["exp2"]["values"]
ACTIVATIONS = ((_tables["silu"]["values"], 10), (_tables["gelu"]["values"], 9))
assert (len(EXP2), len(ACTIVATIONS[0][0]), len(ACTIVATIONS[1][0])) == (33, 257, 257)


# ---- 1. numbers ----

def below(x, n):
    assert -(1 << n) < x < 1 << n, (x, n)
    return x


def within(x, low, high):
    assert low <= x <= high, (low, x, high)
    return x


def rnd(x, s):
    """round(x, s); the sum in front of the shift fits an int64."""
    within(s, 1, 62)
    below(x, 62)
    return (x + (1 << (s - 1))) >> s


def rnd0(x, s):
    return x if s == 0 else rnd(x, s)


def cap(x):
    return min(C, max(-C, x))


def shift(s):
    return min(62, max(1, s))


def bits(x):
    assert x >= 0
    return x.bit_length()


def log2up(n):
    assert n >= 1
    return (n - 1).bit_length()


def mant_exp(v):
    assert v >= 1
    e = bits(v) - 16
    m = v >> e if e >= 0 else v << -e
    return within(m, 1 << 15, (1 << 16) - 1), e


def maxabs(y):
    return max(1, max(map(abs, y)))


def vector32(y):
    for v in y:
        within(v, -C, C)
    return y


# ---- 4. operators ----

def embed(w, em, es):
    within(em, 0, 32767)
    return [cap(rnd(below(within(v, -127, 127) * em, 22), shift(es))) for v in w]


def quant_factor(A, wide):
    s = bits(within(A, 1, C)) + (14 if wide else 15)
    top = (32512 if wide else 127) << s
    below(top, 59 if wide else 52)
    R = top // A
    return below(R, 30 if wide else 23), s


def quant_element(y, A, wide):
    R, s = quant_factor(A, wide)
    return within(rnd(below(y * R, 59 if wide else 52), s), -32512 if wide else -127, 32512 if wide else 127)


def limbs(q):
    hi = (q + 128) >> 8
    return within(hi, -127, 127), within(q - 256 * hi, -128, 127)


def quant(y, wide):
    """(q, a, e, A)"""
    A = maxabs(vector32(y))
    R, s = quant_factor(A, wide)
    n, top = (59, 32512) if wide else (52, 127)
    q = [within(rnd(below(v * R, n), s), -top, top) for v in y]
    a, e = mant_exp(A)
    return q, a, e - 14, A


def norm_v(x, h):
    return within(rnd0(x, h), -(1 << 22), 1 << 22)


def norm_y(v, gain):
    below(gain, 23)
    return within(rnd(below(v * gain, 45), 15), -(1 << 30) + 128, (1 << 30) - 128)


def norm_h(A):
    return within(max(0, bits(A) - 22), 0, 8)


def inverse_root(S):
    """(r, half)"""
    within(S, 1, (1 << 59) - 1)
    k = bits(S) - 31
    if k % 2:
        k += 1
    within(k, -30, 28)
    half = k // 2
    S1 = within(S >> k if k >= 0 else S << -k, 1 << 29, (1 << 31) - 1)
    r = isqrt(within(((1 << 62) // S1) << 28, 0, 1 << 61))
    return within(r, (1 << 29) + 1, 1518500249), half


def norm_core(x, gain, eps):
    """(S, y, Ax)"""
    within(eps, 0, (1 << 58) - 1)
    within(len(x), 1, 16384)
    Ax = maxabs(vector32(x))
    h = norm_h(Ax)
    v = [norm_v(t, h) for t in x]
    S = max(1, within(sum(t * t for t in v), 0, 1 << 58) + eps // 4**h)
    return within(S, 1, (1 << 59) - 1), [norm_y(t, g) for t, g in zip(v, gain, strict=True)], Ax


def norm_scale(S, A):
    r, half = inverse_root(S)
    a, e = mant_exp(below(A * r, 61))
    return a, within(e - half - 38, -38, 22)


def norm_quant(x, gain, eps, wide):
    """(q, a, e, details)"""
    S, y, Ax = norm_core(x, gain, eps)
    q, _, _, Ay = quant(y, wide)
    a, e = norm_scale(S, Ay)
    return q, a, e, {"S": S, "Ax": Ax, "Ay": Ay, "y": y}


def norm_out_element(y, S, norm_shift):
    r, half = inverse_root(S)
    within(norm_shift, -64, 64)
    return cap(rnd(below(y * r, 61), shift(norm_shift + half)))


def norm_out(x, gain, eps, norm_shift):
    S, y, _ = norm_core(x, gain, eps)
    return [norm_out_element(v, S, norm_shift) for v in y]


def wide_shift(K):
    return max(4, bits(K - 1) - 9)


def linear_element(total, K, wide, a, e, m, s, bias):
    within(K, 1, 131072)
    within(m, 0, 32767)
    within(s, -32768, 32767)
    within(bias, -C, C)
    if wide:
        acc = rnd(below(total, 39), wide_shift(K))
        high, low = (total + 128) >> 8, total - 256 * ((total + 128) >> 8)
        assert acc == (high << (8 - wide_shift(K))) + rnd(low, wide_shift(K))
    else:
        acc = total
    within(acc, -MAX_SUM, MAX_SUM)
    scale = below(within(a, 1 << 15, (1 << 16) - 1) * m, 31)
    return cap(cap(rnd(below(acc * scale, 62), shift(s - e))) + bias)


def dot(w, q):
    return sum(map(int.__mul__, w, q))


def linear(w, m, s, bias, q, a, e, wide):
    return [linear_element(dot(row, q), len(q), wide, a, e, m[n], s[n], bias[n]) for n, row in enumerate(w)]


def rotation_entry(coarse, fine):
    (cc, cs), (fc, fs) = coarse, fine
    for v in (cc, cs, fc, fs):
        within(v, -(1 << 30), 1 << 30)
    c = rnd(within(cc * fc - cs * fs, -(1 << 61), 1 << 61), 45)
    s = rnd(within(cc * fs + cs * fc, -(1 << 61), 1 << 61), 45)
    return min(32767, max(-32767, c)), min(32767, max(-32767, s))


def rotate_pair(x0, x1, c, s):
    return cap(rnd(below(x0 * c - x1 * s, 46), 15)), cap(rnd(below(x0 * s + x1 * c, 46), 15))


def rotate(x, table):
    """table: cos, sin, cos, sin .. as x is: pairs"""
    out = []
    for i in range(0, len(x), 2):
        out += rotate_pair(x[i], x[i + 1], table[i], table[i + 1])
    return out


def put(k, v):
    """What is kept of a position: (key q, ka, ke), (value q, va)"""
    kq, ka, ke, _ = quant(k, False)
    vq, _, _, va = quant(v, False)
    return (kq, ka, ke), (vq, va)


def score_of(acc, qa, qe, ka, ke):
    within(acc, -4129024, 4129024)
    factor = below((below(qa * ka, 32) >> 16) * 16643, 31)
    within(4 + qe + ke, -54, 4)
    return cap(rnd(below(acc * factor, 53), shift(-(4 + qe + ke))))


def exp2_of(d):
    within(d, 0, (1 << 31) - 2)
    n, i, f = d >> 16, (d >> 11) % 32, d % 2048
    if n > 31:
        return 0
    p = (EXP2[i] - (below((EXP2[i] - EXP2[i + 1]) * f, 30) >> 11)) * 64 >> n
    return within(p, 0, 1 << 30)


def share_of(p, va):
    return below(p * within(va, 1, C), 60)


def down_bits(top_bits):
    return within(max(0, top_bits - 15), 0, 45)


def weight_of(share, wb):
    return min(32767, rnd0(share, wb))


def division(l, keys, wm):
    """(Z, shift)"""
    within(keys, 1, 131072)
    within(l, 1 << 30, keys << 30)
    t = max(0, bits(keys - 1) - 16)
    down = max(0, bits(l) - 32)
    l1 = 127 * (l >> down)
    n = within(bits(l1), 37, 39)
    Z = within((1 << (n + 23 - t)) // l1, 1, 1 << (24 - t))
    s = n + 23 - t + down - wm
    assert shift(s) == s >= 14  # by itself: 4.10
    return Z, shift(s)


def attend(q, keys, values, first, pos):
    """keys[j] = (k, ka, ke), values[j] = (v, va) as put gave them, for j in first .. pos. Equal entries that are the same object are multiplied once."""
    count = within(pos - first + 1, 1, 131072)
    hd = len(q)
    qq, qa, qe, Aq = quant(q, False)
    known = {}
    score = {}
    for j in range(first, pos + 1):
        k, ka, ke = keys[j]
        if id(keys[j]) not in known:
            known[id(keys[j])] = score_of(dot(qq, k), qa, qe, ka, ke)
        score[j] = known[id(keys[j])]
    best = max(score.values())
    p = {j: exp2_of(best - s) for j, s in score.items()}
    l = sum(p.values())
    share = {j: share_of(p[j], values[j][1]) for j in p}
    blocks = {}
    for j in share:
        blocks.setdefault(j // 256, []).append(j)
    tops = {b: max(share[j] for j in js) for b, js in blocks.items()}
    wb = {b: down_bits(bits(top)) for b, top in tops.items()}
    wm = within(max(wb.values()), 16, 45)
    acc = [0] * hd
    for b, js in blocks.items():
        grouped = {}  # a sum has no order: weights of the same row are added first
        for j in js:
            row = values[j][0]
            w, _ = grouped.get(id(row), (0, row))
            grouped[id(row)] = (w + weight_of(share[j], wb[b]), row)
        for i in range(hd):
            acc_b = below(sum(w * row[i] for w, row in grouped.values()), 30)
            acc[i] += rnd0(acc_b, wm - wb[b])
    Z, s = division(l, count, wm)
    out = []
    for v in acc:
        below(v, 38 if count <= 65536 else 39)
        out.append(cap(rnd(below(v * Z, 62), s)))
    return out, {"A": Aq, "q": qq, "score": score, "best": best, "l": l, "p": p, "share": share, "tops": tops, "wm": wm, "acc": acc}


def gate_element(activation, g, u):
    table, ash = ACTIVATIONS[activation]
    t, f = abs(g) >> ash, abs(g) % (1 << ash)
    p = 1 << 20
    if t <= 255:
        p = table[t] + ((below((table[t + 1] - table[t]) * f, 24) + (1 << (ash - 1))) >> ash)
    if g < 0:
        p = (1 << 20) - p
    within(p, 0, 1 << 20)
    inner = within(rnd(below(g * p, 51), 20), -C, C)
    return cap(rnd(below(inner * u, 60), 14))


def gate(activation, gu):
    return [gate_element(activation, gu[i], gu[i + 1]) for i in range(0, len(gu), 2)]
