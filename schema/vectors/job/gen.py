#!/usr/bin/env python3
"""The digests and canonical forms of docs/protocol/objects.md in Python, and the maker of their vectors.

  gen.py write    writes digests.json here
  gen.py check    fails when the committed file differs from what this program makes

Written from the document alone; the C code is compared with its output. Keccak-256 is written out here, since Python's SHA-3 pads otherwise.
"""
import hashlib
import json
import os
import re
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

# ---- Keccak-256: rate 136 bytes, padding 0x01 .. 0x80 ----

MASK = (1 << 64) - 1
ROTATION = [[0, 36, 3, 41, 18], [1, 44, 10, 45, 2], [62, 6, 43, 15, 61], [28, 55, 25, 21, 56], [27, 20, 39, 8, 14]]


def round_constants():
    """The 24 constants from the linear feedback shift register of FIPS 202, algorithm 5."""
    out, r = [], 1
    for _ in range(24):
        c = 0
        for j in range(7):
            if r & 1:
                c |= 1 << ((1 << j) - 1)
            r = (r << 1) ^ ((r >> 7) * 0x171)
        out.append(c)
    return out


CONSTANTS = round_constants()


def rotate(x, n):
    return ((x << n) | (x >> (64 - n))) & MASK


def permute(a):
    for c in CONSTANTS:
        col = [a[x][0] ^ a[x][1] ^ a[x][2] ^ a[x][3] ^ a[x][4] for x in range(5)]
        for x in range(5):
            d = col[(x - 1) % 5] ^ rotate(col[(x + 1) % 5], 1)
            for y in range(5):
                a[x][y] ^= d
        b = [[0] * 5 for _ in range(5)]
        for x in range(5):
            for y in range(5):
                b[y][(2 * x + 3 * y) % 5] = rotate(a[x][y], ROTATION[x][y])
        for x in range(5):
            for y in range(5):
                a[x][y] = b[x][y] ^ (~b[(x + 1) % 5][y] & MASK & b[(x + 2) % 5][y])
        a[0][0] ^= c


def keccak256(data):
    data = bytearray(data)
    data.append(1)
    data.extend(bytes(-len(data) % 136))
    data[-1] |= 0x80
    a = [[0] * 5 for _ in range(5)]
    for at in range(0, len(data), 136):
        for i in range(17):
            a[i % 5][i // 5] ^= int.from_bytes(data[at + 8 * i:at + 8 * i + 8], "little")
        permute(a)
    return b"".join(a[i % 5][i // 5].to_bytes(8, "little") for i in range(4))


assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"

# ---- section "Digests" of the document ----


def u32(n):
    return struct.pack(">I", n)


def job_id(gateway, random, request):
    return keccak256(b"assay/job/1" + gateway + random + request)


def job_seed(job, client_seed, model, request):
    who = job if client_seed is None else model + request
    return hashlib.sha256(b"assay/seed/1" + who + struct.pack(">q", client_seed or 0)).digest()


def sampling(settings, seed, stops):
    out = b"assay/settings/1" + u32(len(settings)) + settings + seed + u32(len(stops))
    return keccak256(out + b"".join(u32(len(s)) + s for s in stops))


def bias(pairs):
    """Pairs (id, thousandths), ascending."""
    encoding = b"".join(struct.pack(">Ii", *pair) for pair in pairs)
    return encoding, keccak256(b"assay/bias/1" + encoding) if encoding else bytes(32)


def ids_root(ids):
    data = b"".join(struct.pack("<I", i) for i in ids)
    nodes = [keccak256(data[i:i + 128].ljust(128, b"\0")) for i in range(0, max(len(data), 1), 128)]
    while len(nodes) & (len(nodes) - 1):
        nodes.append(keccak256(bytes(128)))
    while len(nodes) > 1:
        nodes = [keccak256(nodes[i] + nodes[i + 1]) for i in range(0, len(nodes), 2)]
    return nodes[0]


def output_digest(prompt, prompt_count, prior, ids):
    return keccak256(b"assay/output/2" + prompt + ids_root(prior + ids) + u32(prompt_count) + u32(len(prior)) + u32(len(ids)))


# ---- section "Canonical form" ----

OBJECTS = {
    "SpendingCap": "address requester,address gateway,uint128 maxSpend,uint128 maxLocked,uint128 maxPriceIn,uint128 maxPriceOut,"
                   "bytes32 models,address voucherSigner,uint64 nonce,uint64 deadline",
    "Terms": "bytes32 jobId,uint32 segment,address requester,address gateway,address node,bytes32 cap,uint64 laneSeq,uint64 linkSeq,"
             "bytes32 model,bytes32 request,bytes32 sampling,uint64 maxIn,uint64 maxOut,uint128 priceIn,uint128 priceCached,"
             "uint128 priceOut,uint8 tier,uint64 issuedAt,uint64 deadline",
    "Receipt": "bytes32 terms,uint64 inTokens,uint64 cachedTokens,uint64 outTokens,bytes32 output,uint8 finish,uint64 firstMs,"
               "uint64 lastMs,uint128 amount",
    "Checkpoint": "uint8 kind,address signer,address peer,uint64 number,uint64 first,uint32 count,bytes32 root",
    "Ack": "address gateway,address node,uint64 upTo,uint128 cum,uint64 payBy",
    "Voucher": "address requester,address gateway,uint32 lane,uint128 cum",
}
SIZES = {"address": 20, "bytes32": 32, "uint8": 1, "uint32": 4, "uint64": 8, "uint128": 16}


def fields(name):
    return [f.split(" ") for f in OBJECTS[name].split(",")]


def canonical(name, value):
    out = b"\x01"
    for kind, field in fields(name):
        v = value[field]
        out += v if isinstance(v, bytes) else v.to_bytes(SIZES[kind], "big")
    return out


def struct_hash(name, value):
    words = keccak256((name + "(" + OBJECTS[name] + ")").encode())
    for kind, field in fields(name):
        v = value[field]
        words += (v if isinstance(v, bytes) else v.to_bytes(32, "big")).rjust(32, b"\0")
    return keccak256(words)


def to_json(name, value):
    """Hashes and addresses 0x-hex in lower case, amounts decimal strings, other numbers integers."""
    return {field: hexed(value[field]) if isinstance(value[field], bytes)
            else str(value[field]) if kind == "uint128" else value[field] for kind, field in fields(name)}


# ---- vectors ----


def hexed(b):
    return "0x" + b.hex()


def take(label, n):
    """n bytes that only the label decides."""
    out, i = b"", 0
    while len(out) < n:
        out += hashlib.sha256(label.encode() + bytes([i])).digest()
        i += 1
    return out[:n]


def make():
    h = [take("hash %d" % i, 32) for i in range(4)]
    doc = {"about": "made by gen.py from docs/protocol/objects.md", "jobId": [], "seed": [], "sampling": [], "bias": [], "prompt": [], "output": [],
           "objects": []}
    for i in range(3):
        gw, rnd = take("gateway %d" % i, 20), take("random %d" % i, 16)
        doc["jobId"].append({"gateway": hexed(gw), "random": hexed(rnd), "request": hexed(h[i]), "id": hexed(job_id(gw, rnd, h[i]))})
    for seed in [None, 0, 1, -1, 42, 2**63 - 1, -2**63]:
        doc["seed"].append({"jobId": hexed(h[0]), "clientSeed": None if seed is None else str(seed), "model": hexed(h[1]),
                            "request": hexed(h[2]), "seed": hexed(job_seed(h[0], seed, h[1], h[2]))})
    for settings, stops in [(b"", []), (take("settings", 64), []), (take("settings", 64), [b"\n"]),
                            (take("settings", 64), ["é".encode(), b"a" * 256, b"</s>", b"\n\n"])]:
        doc["sampling"].append({"settings": hexed(settings), "seed": hexed(h[3]), "stops": [hexed(s) for s in stops],
                                "hash": hexed(sampling(settings, h[3], stops))})
    for pairs in [[], [(0, 1)], [(7, -100000), (8, 100000)], [(5 * i, 1 - i) for i in range(300) if i != 1]]:
        encoding, digest = bias(pairs)
        doc["bias"].append({"pairs": hexed(encoding), "digest": hexed(digest)})
    for n in [0, 1, 31, 32, 33, 64, 65, 96, 97, 128, 129, 161, 193, 225, 257, 400]:
        ids = [0xffffffff - 977 * i if i % 3 == 0 else i for i in range(n)]
        doc["prompt"].append({"ids": ids, "digest": hexed(ids_root(ids))})
        for prior in {0, n // 3, n}:
            doc["output"].append({"prompt": hexed(h[2]), "promptIds": n + 7, "prior": ids[:prior], "ids": ids[prior:],
                                  "digest": hexed(output_digest(h[2], n + 7, ids[:prior], ids[prior:]))})
    for name in OBJECTS:
        value = {}
        for kind, field in fields(name):
            bits = 8 * SIZES[kind]
            raw = take(name + "." + field, SIZES[kind])
            value[field] = raw if kind in ("address", "bytes32") else int.from_bytes(raw, "big") >> (bits > 32)  # JSON stops at 2^63
        doc["objects"].append({"type": name, "canonical": hexed(canonical(name, value)), "structHash": hexed(struct_hash(name, value)),
                               "json": to_json(name, value)})
    return re.sub(r"\[[\d,\s]*\]", lambda m: re.sub(r"\s+", "", m.group()), json.dumps(doc, indent=1)) + "\n"  # ids on one line


def main():
    path, text = os.path.join(HERE, "digests.json"), make()
    if sys.argv[1:] == ["write"]:
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
    elif sys.argv[1:] == ["check"]:
        with open(path, encoding="utf-8") as f:
            if f.read() != text:
                sys.exit("digests.json is not what gen.py makes")
    else:
        sys.exit(__doc__)


main()
