#!/usr/bin/env python3
"""The sampler of docs/protocol/sampling.md in Python integers, and the maker of its tables and vectors.

  gen.py write    writes *.json here and src/sample/tables.c
  gen.py check    fails when a committed file differs from what this program makes

Written from the document alone, slow and plain; the C sampler is compared with its output. No floating point, no libm.
"""
import hashlib
import json
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TABLES_C = os.path.join(HERE, "..", "..", "..", "src", "sample", "tables.c")

MASKED = -(1 << 31)
LOGIT_MAX = (1 << 30) - 1
PPM = 1000000
DOMAIN = b"assay/settings/1"
BIAS_DOMAIN = b"assay/bias/1"
BAN = -100000

# ---- tables: section 8 of the document ----

P = 192  # binary places of the fixed-point logarithm


def two_artanh(z):
    """2 artanh(z / 2^P) * 2^P for |z| <= 2^P / 3; every step rounds down, by less than 1, in at most 2 * 61 terms."""
    z2 = (z * z) >> P
    total, power, k = 0, z, 1
    while power not in (0, -1):
        total += power // k
        power = (power * z2) >> P
        k += 2
    return 2 * total


LN2 = two_artanh((1 << P) // 3)  # ln 2 = 2 artanh(1/3)


def ln_fixed(num, den):
    """ln(num / den) * 2^P for num, den > 0; wrong by less than 2^16 (the exponent times the error of LN2, and that of the series)."""
    e = num.bit_length() - den.bit_length()
    if e >= 0:
        den <<= e
    else:
        num <<= -e
    # now 1/2 < num/den < 2, so z = (num - den) / (num + den) is within +-1/3, and ln(num / den) = 2 artanh(z)
    return two_artanh(((num - den) << P) // (num + den)) + e * LN2


def round_fixed(x, places):
    """x * 2^places / 2^P to the nearest integer; refuses to decide when a tie is within 2^-72, far more than the error."""
    x <<= places
    half = 1 << (P - 1)
    low, high = (x - (1 << 120) + half) >> P, (x + (1 << 120) + half) >> P
    assert low == high, "too close to a tie: raise P"
    return low


def make_gumbel_table():
    one = 1 << 39
    table = []
    for side in (0, 1):
        row = []
        for octave in range(32):
            for segment in range(64):
                row.append((64 + segment) << octave)
        row.append(64 << 32)
        values = []
        for v in row:  # v / 2^39 is the point, or its distance from one
            inner = -ln_fixed(v if side == 0 else one - v, one)  # -ln of the uniform number
            values.append(round_fixed(-ln_fixed(inner, 1 << P), 16))
        table.append(values)
    return table


def iroot32(n):
    for _ in range(5):
        n = isqrt(n)
    return n


def isqrt(n):
    if n == 0:
        return 0
    x = 1 << ((n.bit_length() + 1) // 2)
    while True:
        y = (x + n // x) // 2
        if y >= x:
            return x
        x = y


def make_exp2_table():
    out = []
    for k in range(33):
        n = iroot32(1 << (24 * 32 - k))  # floor(2^24 * 2^(-k/32))
        if (2 * n + 1) ** 32 <= 1 << (25 * 32 - k):
            n += 1
        out.append(n)
    return out


GUMBEL = make_gumbel_table()
EXP2 = make_exp2_table()
LOG2E = ((1 << (P + 30)) + LN2 // 2) // LN2  # round(2^30 / ln 2)

# ---- bias and penalties: section 4.2 ----


def nearest(a, b):
    return (2 * a + b) // (2 * b)


def clamp(x):
    return min(max(x, -LOGIT_MAX), LOGIT_MAX)


def adjusted(logit, s, bias_milli, count):
    """bias_milli: None for an id without a pair."""
    if logit == MASKED or bias_milli == BAN:
        return MASKED
    if bias_milli is not None:
        logit = clamp(logit + nearest(bias_milli * 65536, 1000))
    repeat, presence, frequency = s["repeat_penalty_milli"], s["presence_penalty_milli"], s["frequency_penalty_milli"]
    if repeat > 0 and count > 0:
        logit = clamp(nearest(logit * 1000, repeat) if logit > 0 else nearest(logit * repeat, 1000))
    if (presence != 0 or frequency != 0) and count > 0:
        logit = clamp(logit - nearest((presence + frequency * count) * 65536, 1000))
    return logit


def adjust(logits, s, bias, output):
    pairs = dict(bias)
    return [adjusted(logit, s, pairs.get(i), output.count(i)) for i, logit in enumerate(logits)]


# ---- the sampler: sections 3 to 6 ----


def rotl(x, n):
    return (x << n | x >> (32 - n)) & 0xFFFFFFFF


def chacha12_block(key, w12, w13, w14, w15):
    state = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *struct.unpack("<8I", key), w12, w13, w14, w15]
    x = list(state)

    def quarter(a, b, c, d):
        x[a] = (x[a] + x[b]) & 0xFFFFFFFF
        x[d] = rotl(x[d] ^ x[a], 16)
        x[c] = (x[c] + x[d]) & 0xFFFFFFFF
        x[b] = rotl(x[b] ^ x[c], 12)
        x[a] = (x[a] + x[b]) & 0xFFFFFFFF
        x[d] = rotl(x[d] ^ x[a], 8)
        x[c] = (x[c] + x[d]) & 0xFFFFFFFF
        x[b] = rotl(x[b] ^ x[c], 7)

    for _ in range(6):
        quarter(0, 4, 8, 12)
        quarter(1, 5, 9, 13)
        quarter(2, 6, 10, 14)
        quarter(3, 7, 11, 15)
        quarter(0, 5, 10, 15)
        quarter(1, 6, 11, 12)
        quarter(2, 7, 8, 13)
        quarter(3, 4, 9, 14)
    return [(a + b) & 0xFFFFFFFF for a, b in zip(x, state)]


_block = {}


def word(seed, pos, id_):
    key = (seed, pos, id_ // 16)
    if key not in _block:
        _block.clear()
        _block[key] = chacha12_block(seed, id_ // 16, 0, pos, 0x494E5431)
    return _block[key][id_ % 16]


def gumbel(r):
    w = 2 * r + 1
    side = w >> 32
    if side:
        w = (1 << 33) - w
    octave = w.bit_length() - 1
    n = w << (31 - octave)
    segment, fraction = (n >> 25) & 63, (n >> 9) & 0xFFFF
    row, at = GUMBEL[side], 64 * octave + segment
    return row[at] + (((row[at + 1] - row[at]) * fraction) >> 16)


def inv_temperature(milli):
    return (65536000 + milli // 2) // milli


def score(logit, inv_t, r):
    return ((logit * inv_t + 32768) >> 16) + gumbel(r)


def weight(distance):
    t = (distance * LOG2E) >> 30
    n, i, f = t >> 16, (t >> 11) & 31, t & 2047
    if n > 31:
        return 0
    return ((EXP2[i] - (((EXP2[i] - EXP2[i + 1]) * f) >> 11)) << 6) >> n


def allowed(logits, s):
    """Ids in order (logit descending, id ascending) that survive top-k, top-p and min-p."""
    ids = sorted((i for i, l in enumerate(logits) if l != MASKED), key=lambda i: (-logits[i], i))
    if s["top_k"] != 0:
        ids = ids[: s["top_k"]]
    best = logits[ids[0]]
    w = [weight(best - logits[i]) for i in ids]
    if s["top_p_ppm"] < PPM:
        need = -(-sum(w) * s["top_p_ppm"] // PPM)
        total, count = 0, 0
        while count == 0 or total < need:
            total += w[count]
            count += 1
        ids, w = ids[:count], w[:count]
    return [i for i, x in zip(ids, w) if x * PPM >= s["min_p_ppm"] << 30]


def token(logits, s, seed, pos):
    """(id, lead): lead is None when there is no other allowed id."""
    if s["temperature_milli"] == 0:
        ids = [i for i, l in enumerate(logits) if l != MASKED]
        scores = {i: logits[i] for i in ids}
    else:
        ids = sorted(allowed(logits, s))
        inv_t = inv_temperature(s["temperature_milli"])
        scores = {i: score(logits[i], inv_t, word(seed, pos, i)) for i in ids}
    ids.sort(key=lambda i: (-scores[i], i))
    return ids[0], (scores[ids[0]] - scores[ids[1]] if len(ids) > 1 else None)


def logit_from_float_bits(bits):
    """None for NaN."""
    sign, e, m = bits >> 31, bits >> 23 & 255, bits & 0x7FFFFF
    if e == 255:
        if m:
            return None
        return MASKED if sign else LOGIT_MAX
    m, e = (m | 1 << 23, e) if e else (m, 1)
    shift = e - 150 + 16  # |x| * 2^16 = m * 2^shift
    if shift >= 0:
        q = m << shift
    else:
        q, rest, half = m >> -shift, m & ((1 << -shift) - 1), 1 << (-shift - 1)
        if rest > half or (rest == half and q & 1):
            q += 1
    q = min(q, LOGIT_MAX)
    return -q if sign else q


def settings_bytes(s):
    return struct.pack(
        ">IIIIiiII",
        s["temperature_milli"],
        s["top_k"],
        s["top_p_ppm"],
        s["min_p_ppm"],
        s["presence_penalty_milli"],
        s["frequency_penalty_milli"],
        s["repeat_penalty_milli"],
        0,
    ) + bytes.fromhex(s["logit_bias"])


def bias_bytes(pairs):
    return b"".join(struct.pack(">Ii", *pair) for pair in pairs)


def bias_digest(pairs):
    return keccak256(BIAS_DOMAIN + bias_bytes(pairs)) if pairs else bytes(32)


def sampling_hash(s, seed, stops):
    data = DOMAIN + struct.pack(">I", 64) + settings_bytes(s) + seed + struct.pack(">I", len(stops))
    for stop in stops:
        data += struct.pack(">I", len(stop)) + stop
    return keccak256(data)


def seed_of_job(job_id):
    return hashlib.sha256(b"assay/seed/1" + job_id + bytes(8)).digest()


def seed_of_client(model, request, client_seed):
    return hashlib.sha256(b"assay/seed/1" + model + request + struct.pack(">q", client_seed)).digest()


def keccak256(data):
    def rol(x, n):
        return (x << n | x >> (64 - n)) & ((1 << 64) - 1) if n else x

    rate, mask = 136, (1 << 64) - 1
    data = bytearray(data) + b"\x01"
    data += bytes(-len(data) % rate)
    data[-1] |= 0x80
    a = [[0] * 5 for _ in range(5)]
    for off in range(0, len(data), rate):
        for i in range(rate // 8):
            a[i % 5][i // 5] ^= int.from_bytes(data[off + 8 * i : off + 8 * i + 8], "little")
        lfsr = 1
        for _ in range(24):
            c = [a[x][0] ^ a[x][1] ^ a[x][2] ^ a[x][3] ^ a[x][4] for x in range(5)]
            d = [c[(x - 1) % 5] ^ rol(c[(x + 1) % 5], 1) for x in range(5)]
            a = [[a[x][y] ^ d[x] for y in range(5)] for x in range(5)]
            x, y, current = 1, 0, a[1][0]
            for t in range(24):
                x, y = y, (2 * x + 3 * y) % 5
                current, a[x][y] = a[x][y], rol(current, (t + 1) * (t + 2) // 2 % 64)
            a = [[a[x][y] ^ (~a[(x + 1) % 5][y] & mask & a[(x + 2) % 5][y]) for y in range(5)] for x in range(5)]
            for j in range(7):
                lfsr = (lfsr << 1) ^ ((lfsr >> 7) * 0x171)
                if lfsr & 2:
                    a[0][0] ^= 1 << ((1 << j) - 1)
    return b"".join(a[i % 5][i // 5].to_bytes(8, "little") for i in range(4))


# ---- vectors ----

SEEDS = [bytes(32), bytes(range(32)), b"\xff" * 32, hashlib.sha256(b"assay test seed").digest()]


def settings(**change):
    s = {
        "temperature_milli": 1000,
        "top_k": 0,
        "top_p_ppm": PPM,
        "min_p_ppm": 0,
        "presence_penalty_milli": 0,
        "frequency_penalty_milli": 0,
        "repeat_penalty_milli": 0,
        "logit_bias": "00" * 32,
    }
    s.update(change)
    return s


def rng(label):
    """Endless 32-bit words that depend on the label alone."""
    n = 0
    while True:
        yield from struct.unpack(">8I", hashlib.sha256(b"%s %d" % (label.encode(), n)).digest())
        n += 1


def make_words():
    r, out = rng("words"), []
    for seed in SEEDS:
        for pos, id_ in [(0, 0), (0, 1), (0, 15), (0, 16), (1, 0), (7, 49151), (0xFFFFFFFF, (1 << 20) - 1)] + [
            (next(r), next(r) >> 12) for _ in range(6)
        ]:
            out.append({"seed": seed.hex(), "pos": pos, "id": id_, "word": word(seed, pos, id_)})
    return out


def make_gumbels():
    r = rng("gumbel")
    words = {0, 1, 2, 3, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 32) - 2}
    for octave in range(1, 32):  # both sides of every octave's edge, on both sides of the median
        for d in (-2, -1, 0, 1):
            words |= {(1 << octave >> 1) + d, (1 << 32) - 1 - ((1 << octave >> 1) + d)}
    words |= {next(r) for _ in range(200)} | {next(r) >> (next(r) & 31) for _ in range(100)}
    return [{"word": w, "value": gumbel(w)} for w in sorted(x for x in words if 0 <= x < 1 << 32)]


def zero_weight_from():
    low, high = 0, 1 << 32
    while low < high:
        mid = (low + high) // 2
        low, high = (low, mid) if weight(mid) == 0 else (mid + 1, high)
    return low


def make_weights():
    r = rng("weights")
    z = zero_weight_from()
    d = {0, 1, 2, 45425, 45426, z - 1, z, z + 1, (1 << 32) - 1} | {next(r) % (2 * z) for _ in range(200)}
    return [{"distance": x, "weight": weight(x)} for x in sorted(d)]


def make_inverse():
    return [{"temperature_milli": t, "inverse": inv_temperature(t)} for t in (1, 2, 3, 7, 100, 200, 699, 700, 800, 999, 1000, 1001, 1500, 2000, 99999, 100000)]


def make_floats():
    r = rng("floats")
    bits = {0, 0x80000000, 1, 0x80000001, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFF800001, 0x7F7FFFFF, 0xFF7FFFFF, 0x3F800000, 0xBF800000}
    for q in (0, 1, 2, 3, 4, 5, 1 << 21, (1 << 21) + 1, (1 << 22) + 1):  # exact ties: (q + 1/2) / 2^16, and their neighbours
        b = struct.unpack(">I", struct.pack(">f", (2 * q + 1) / 131072))[0]
        bits |= {b - 1, b, b + 1, b | 1 << 31}
    for x in (16384.0, 16383.999, 8192.5):
        b = struct.unpack(">I", struct.pack(">f", x))[0]
        bits |= {b - 1, b, b + 1, b | 1 << 31, (b | 1 << 31) + 1}
    bits |= {next(r) for _ in range(60)} | {0x3F000000 + next(r) % 0x4000000 for _ in range(60)}
    return [{"bits": "%08x" % b, "logit": logit_from_float_bits(b)} for b in sorted(bits)]


def make_settings():
    out = []
    for s in (
        settings(),
        settings(temperature_milli=0),
        settings(temperature_milli=700, top_k=40, top_p_ppm=950000, min_p_ppm=50000),
        settings(temperature_milli=100000, top_k=0xFFFFFFFF, top_p_ppm=0, min_p_ppm=PPM),
        settings(presence_penalty_milli=-2000, frequency_penalty_milli=2000, repeat_penalty_milli=1),
        settings(presence_penalty_milli=2000, frequency_penalty_milli=-2000, repeat_penalty_milli=2000),
        settings(temperature_milli=0, repeat_penalty_milli=1001, logit_bias=bias_digest([(5, 1)]).hex()),
        settings(logit_bias="ff" * 32),
    ):
        for seed, stops in ((SEEDS[1], []), (SEEDS[2], ["\n", "\u00b7 end"])):
            digest = sampling_hash(s, seed, [stop.encode() for stop in stops])
            out.append({"settings": s, "bytes": settings_bytes(s).hex(), "seed": seed.hex(), "stops": stops, "sampling": digest.hex()})
    for error, change in (
        ("RANGE", {"temperature_milli": 100001}),
        ("RANGE", {"top_p_ppm": PPM + 1}),
        ("RANGE", {"min_p_ppm": PPM + 1}),
        ("RANGE", {"presence_penalty_milli": 2001}),
        ("RANGE", {"presence_penalty_milli": -2001}),
        ("RANGE", {"presence_penalty_milli": -(1 << 31)}),
        ("RANGE", {"frequency_penalty_milli": 2001}),
        ("RANGE", {"frequency_penalty_milli": -2001}),
        ("RANGE", {"repeat_penalty_milli": 1000}),
        ("RANGE", {"repeat_penalty_milli": 2001}),
        ("RANGE", {"repeat_penalty_milli": 0xFFFFFFFF}),
    ):
        out.append({"settings": settings(**change), "error": error})
    return out


def make_bias():
    """Pairs with their encoding and digest; then encodings that are refused."""
    out = []
    for pairs in (
        [],
        [(0, 1)],
        [(50256, BAN)],
        [(7, 100000), (8, -99999), ((1 << 20) - 1, -1)],
        [(3 * i, (-1) ** i * (i + 1)) for i in range(300)],
    ):
        out.append({"pairs": pairs, "bytes": bias_bytes(pairs).hex(), "digest": bias_digest(pairs).hex()})
    for error, data in (
        ("SYNTAX", b"\0"),
        ("SYNTAX", bias_bytes([(1, 1), (2, 2)])[:-1]),
        ("RANGE", bias_bytes([(1, 0)])),
        ("RANGE", bias_bytes([(1, 100001)])),
        ("RANGE", bias_bytes([(1, -100001)])),
        ("RANGE", bias_bytes([(1, -(1 << 31))])),
        ("RANGE", bias_bytes([(1 << 20, 1)])),
        ("RANGE", bias_bytes([(0xFFFFFFFF, 1)])),
        ("RANGE", bias_bytes([(4, 1), (4, 1)])),
        ("RANGE", bias_bytes([(4, 1), (3, 1)])),
        ("RANGE", bias_bytes([(i, 1) for i in range(301)])),
    ):
        out.append({"bytes": data.hex(), "error": error})
    return out


def make_adjust():
    """One logit at a time: every edge with every kind of setting, and random ones."""
    r = rng("adjust")
    kinds = [{}, {"repeat_penalty_milli": 1}, {"repeat_penalty_milli": 1001}, {"repeat_penalty_milli": 1300}, {"repeat_penalty_milli": 2000},
             {"repeat_penalty_milli": 999}, {"presence_penalty_milli": 1}, {"presence_penalty_milli": -2000}, {"frequency_penalty_milli": 1999},
             {"frequency_penalty_milli": -7}, {"presence_penalty_milli": 1000, "frequency_penalty_milli": -1000},
             {"repeat_penalty_milli": 1100, "presence_penalty_milli": 600, "frequency_penalty_milli": 200}]
    logits = [0, 1, -1, 2, -2, 499, 500, 501, -499, -500, -501, 65536, -65536, LOGIT_MAX - 1, LOGIT_MAX, LOGIT_MAX + 1, -LOGIT_MAX, -LOGIT_MAX - 1,
              (1 << 31) - 1, MASKED + 1, MASKED]
    biases = [None, 1, -1, 7, -7, 500, 1500, -99999, 99999, 100000, BAN]
    out, seen = [], set()

    def add(change, logit, bias, count):
        s = settings(**change)
        key = (s["repeat_penalty_milli"], s["presence_penalty_milli"], s["frequency_penalty_milli"], logit, bias, count)
        if key not in seen:
            seen.add(key)
            out.append([*key, adjusted(logit, s, bias, count)])

    for logit in logits:
        for bias in biases:
            add({}, logit, bias, 0)
        for change in kinds:
            for count in (0, 1, 3):
                add(change, logit, None, count)
    for _ in range(400):
        change = {"repeat_penalty_milli": (next(r) % 2001) * (next(r) % 2), "presence_penalty_milli": next(r) % 4001 - 2000,
                  "frequency_penalty_milli": next(r) % 4001 - 2000}
        if change["repeat_penalty_milli"] == 1000:
            change["repeat_penalty_milli"] = 0
        logit = (next(r) % (1 << 32) - (1 << 31)) >> (next(r) % 20)
        bias = next(r) % 200001 - 100000 if next(r) % 2 else None
        add(change, logit, bias or None, (next(r) % 5, 0xFFFFFFFF, next(r) % 32768, 1)[next(r) % 4])
    fields = ["repeat_penalty_milli", "presence_penalty_milli", "frequency_penalty_milli", "logit", "bias_milli", "count", "adjusted"]
    return {"fields": fields, "cases": out}


def make_seeds():
    r = rng("seeds")
    out = []
    for client in (None, 0, 42, -1, (1 << 63) - 1, -(1 << 63)):
        a, b = (struct.pack(">8I", *(next(r) for _ in range(8))) for _ in range(2))
        if client is None:
            out.append({"job_id": a.hex(), "seed": seed_of_job(a).hex()})
        else:
            seed = seed_of_client(a, b, client)
            out.append({"model": a.hex(), "request": b.hex(), "client_seed": str(client), "seed": seed.hex()})
    return out


def wide_logits(vocab, label_seed):
    """Logits shaped like a model's: noise of scale 2 with a few heads far above. Section 10 gives the rule."""
    return [2 * gumbel(word(label_seed, 0, i)) for i in range(vocab)]


def make_tokens():
    r = rng("tokens")
    kinds = [
        settings(),
        settings(temperature_milli=0),
        settings(temperature_milli=700),
        settings(temperature_milli=1),
        settings(temperature_milli=100000),
        settings(top_k=1),
        settings(top_k=5),
        settings(top_k=1000),
        settings(top_p_ppm=900000),
        settings(top_p_ppm=0),
        settings(top_p_ppm=999999),
        settings(min_p_ppm=100000),
        settings(min_p_ppm=PPM),
        settings(temperature_milli=800, top_k=20, top_p_ppm=950000, min_p_ppm=20000),
    ]
    shapes = {
        "one": [5],
        "two equal": [7, 7],
        "all equal": [-65536] * 40,
        "extremes": [-(1 << 31) + 1, (1 << 31) - 1, 0, (1 << 31) - 1, MASKED, -(1 << 31) + 1],
        "masked head": [MASKED] * 17 + [65536, 0, 65536, -65536],
        "steps of a quarter": [16384 * (i // 3) for i in range(60)],
        "narrow": [int(next(r) % 200000) for _ in range(100)],
        "broad": [int(next(r) % (30 << 16)) - (15 << 16) for _ in range(200)],
        "beyond the weights": [int(next(r) % (1 << 31)) - (1 << 30) for _ in range(50)],
        "few distinct": [65536 * (next(r) % 4) for _ in range(90)],
    }
    out = []
    for n, (name, logits) in enumerate(shapes.items()):
        for k, s in enumerate(kinds):
            for pos in (k, 1000000 * k + n):
                seed = SEEDS[(n + k) % len(SEEDS)]
                id_, lead = token(logits, s, seed, pos)
                out.append({"logits": name, "settings": s, "seed": seed.hex(), "pos": pos, "id": id_, "lead": lead})
    # the same with bias and penalties: what chooses, sees the adjusted logits alone
    for n, (name, logits) in enumerate(shapes.items()):
        for k, change in enumerate((
            {"temperature_milli": 0},
            {},
            {"top_k": 3, "frequency_penalty_milli": 700},
            {"presence_penalty_milli": -1500, "top_p_ppm": 800000},
            {"temperature_milli": 0, "repeat_penalty_milli": 1500},
            {"repeat_penalty_milli": 1200, "presence_penalty_milli": 300, "frequency_penalty_milli": 300, "min_p_ppm": 100000},
        )):
            best = max(range(len(logits)), key=lambda i: (logits[i], -i))
            output = [best] * (1 + k) + [next(r) % len(logits) for _ in range(6)]
            pairs = {} if k in (2, 4) else {next(r) % len(logits): next(r) % 200001 - 100000 or 1 for _ in range(3)}
            if k == 0 and len(logits) > 2:
                pairs[best] = BAN
            bias = sorted(pairs.items())
            s, seed, pos = settings(**change, logit_bias=bias_digest(bias).hex()), SEEDS[(n + k) % len(SEEDS)], len(output)
            seen = adjust(logits, s, bias, output)
            if all(x == MASKED for x in seen):
                continue
            id_, lead = token(seen, s, seed, pos)
            out.append({"logits": name, "settings": s, "bias": bias, "output": output, "seed": seed.hex(), "pos": pos, "id": id_, "lead": lead})
    wide = wide_logits(49152, SEEDS[3])
    for k, s in enumerate((settings(), settings(temperature_milli=800, top_k=40), settings(top_p_ppm=950000), settings(temperature_milli=600, min_p_ppm=20000, top_k=3000, top_p_ppm=990000), settings(temperature_milli=0))):
        id_, lead = token(wide, s, SEEDS[1], k)
        out.append({"logits": "wide", "settings": s, "seed": SEEDS[1].hex(), "pos": k, "id": id_, "lead": lead})
    return {"logits": shapes, "wide": {"vocab": 49152, "seed": SEEDS[3].hex()}, "cases": out}


def table_digest(rows):
    data = b"".join(struct.pack(">i", v) for v in rows)
    return {"sha256": hashlib.sha256(data).hexdigest(), "keccak256": keccak256(data).hex()}


def make_tables():
    flat = GUMBEL[0] + GUMBEL[1]
    return {
        "log2e": LOG2E,
        "exp2": {"values": EXP2, **table_digest(EXP2)},
        "gumbel": {"values": GUMBEL, **table_digest(flat)},
    }


def tables_c():
    def rows(values):
        text, line = [], "   "
        for v in values:
            item = " %d," % v
            if len(line) + len(item) > 100:
                text.append(line)
                line = "   "
            line += item
        return "\n".join(text + [line])

    return """/* tables.c: the sampler's two tables, docs/protocol/sampling.md section 8.
 * Written by schema/vectors/sampling/gen.py; do not edit. */
#include "sample/sample.h"

/* clang-format off */
const int32_t asy_sample_exp2_table[ASY_SAMPLE_EXP2_COUNT] = {
%s
};

const int32_t asy_sample_gumbel_table[2][ASY_SAMPLE_GUMBEL_COUNT] = {{
%s
}, {
%s
}};
""" % (rows(EXP2), rows(GUMBEL[0]), rows(GUMBEL[1]))


def as_json(value):
    """One item a line, so that a change shows as a small difference."""
    if isinstance(value, list):
        return "[\n" + ",\n".join(" " + json.dumps(v) for v in value) + "\n]\n"
    return "{\n" + ",\n".join(
        " %s: %s" % (json.dumps(k), as_json(v).rstrip() if isinstance(v, list) and v and isinstance(v[0], (dict, list)) else json.dumps(v)) for k, v in value.items()
    ) + "\n}\n"


def main():
    # ChaCha12, 256-bit key, all zero: draft-strombergson-chacha-test-vectors-01, TC1
    assert struct.pack("<16I", *chacha12_block(bytes(32), 0, 0, 0, 0)).hex().startswith("9bf49a6a0755f953811fce125f2683d5")
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    files = {os.path.join(HERE, name + ".json"): as_json(make()) for name, make in (
        ("tables", make_tables), ("words", make_words), ("gumbel", make_gumbels), ("weights", make_weights), ("inverse", make_inverse),
        ("floats", make_floats), ("settings", make_settings), ("bias", make_bias), ("adjust", make_adjust), ("seeds", make_seeds), ("tokens", make_tokens))}
    files[TABLES_C] = tables_c()
    bad = 0
    for path, text in files.items():
        if sys.argv[1:] == ["write"]:
            with open(path, "w") as f:
                f.write(text)
        elif sys.argv[1:] == ["check"]:
            if not os.path.exists(path) or open(path).read() != text:
                print("differs: " + os.path.relpath(path))
                bad = 1
        else:
            sys.exit(__doc__)
    return bad


if __name__ == "__main__":
    sys.exit(main())
