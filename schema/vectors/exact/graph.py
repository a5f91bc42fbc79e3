"""exact/1: sections 3, 8 and 9 of docs/protocol/exact.md: the graph, the rows of a model and their root, the trace and its root.

Written from the document alone, upon model.py; for models of toy size.
"""
import importlib.util
import os
import struct

import model as M

HERE = os.path.dirname(os.path.abspath(__file__))
_spec = importlib.util.spec_from_file_location("sampling", os.path.join(HERE, "..", "sampling", "gen.py"))
sampling = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sampling)

ZERO = bytes(32)


# ---- keccak-256: the permutation unrolled by a program, since there are many ----

def _permutation():
    rotations, x, y = [[0] * 5 for _ in range(5)], 1, 0
    for t in range(24):
        rotations[x][y] = (t + 1) * (t + 2) // 2 % 64
        x, y = y, (2 * x + 3 * y) % 5
    constants, lfsr = [], 1
    for _ in range(24):
        c = 0
        for j in range(7):
            if lfsr & 1:
                c |= 1 << ((1 << j) - 1)
            lfsr = (lfsr << 1) ^ (0x171 if lfsr & 0x80 else 0)
        constants.append(c)
    mask = (1 << 64) - 1
    a = lambda i, j: f"a{i}{j}"
    lines = ["def f(s):", "    " + ", ".join(a(x, y) for y in range(5) for x in range(5)) + " = s"]
    lines.append(f"    for rc in {tuple(constants)}:")
    add = lambda text: lines.append("        " + text)
    for x in range(5):
        add(f"c{x} = " + " ^ ".join(a(x, y) for y in range(5)))
    for x in range(5):
        n = (x + 1) % 5
        add(f"d{x} = c{(x - 1) % 5} ^ ((c{n} << 1 | c{n} >> 63) & {mask})")
    for x in range(5):
        for y in range(5):
            r, to = rotations[x][y], f"b{y}{(2 * x + 3 * y) % 5}"
            add(f"t = a{x}{y} ^ d{x}")
            add(f"{to} = (t << {r} | t >> {64 - r}) & {mask}" if r else f"{to} = t")
    for y in range(5):
        for x in range(5):
            add(f"a{x}{y} = b{x}{y} ^ (~b{(x + 1) % 5}{y} & b{(x + 2) % 5}{y})")
    add("a00 ^= rc")
    lines.append("    return (" + ", ".join(a(x, y) for y in range(5) for x in range(5)) + ")")
    scope = {}
    exec("\n".join(lines), scope)
    return scope["f"]


_keccak_f = _permutation()


def keccak256(data):
    data = bytearray(data) + b"\x01"
    data += bytes(-len(data) % 136)
    data[-1] |= 0x80
    state = (0,) * 25
    for off in range(0, len(data), 136):
        block = struct.unpack_from("<17Q", data, off)
        state = _keccak_f(tuple(s ^ b for s, b in zip(state, block)) + state[17:])
    return struct.pack("<4Q", *state[:4])


assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
assert keccak256(bytes(200)) == sampling.keccak256(bytes(200))


def node(left, right):
    return keccak256(left + right)


class Tree:
    """A binary tree of 2^depth leaf hashes of which few are set; the others are `empty`."""

    def __init__(self, depth, empty):
        self.depth = depth
        self.empty = [empty]
        for _ in range(depth):
            self.empty.append(node(self.empty[-1], self.empty[-1]))
        self.levels = [{} for _ in range(depth + 1)]

    def set(self, index, value):
        assert 0 <= index < 1 << self.depth and index not in self.levels[0]
        self.levels[0][index] = value

    def build(self):
        for k in range(self.depth):
            level, up = self.levels[k], self.levels[k + 1]
            for i in level:
                if i >> 1 not in up:
                    up[i >> 1] = node(self.at(k, i & ~1), self.at(k, i | 1))
        return self.at(self.depth, 0)

    def at(self, level, index):
        return self.levels[level].get(index, self.empty[level])

    def path(self, index, level=0):
        return [self.at(k, index >> (k - level) ^ 1) for k in range(level, self.depth)]


# ---- 8. rows ----

def place(blocks):
    """[(name, items)] -> {name: start}, log2 of the places"""
    at, starts = 0, {}
    for name, n in blocks:
        if n == 0:
            continue
        size = 1 << M.log2up(n)
        at = -(-at // size) * size
        starts[name] = at
        at += size
    return starts, M.log2up(at)


def ceil(a, b):
    return -(-a // b)


def row_hash(constants, content):
    assert len(constants) == 32
    return keccak256(constants + pieces_root(content))


def pieces_root(content):
    if not content:
        return ZERO
    hashes = [keccak256(content[i:i + 1024]) for i in range(0, len(content), 1024)]
    hashes += [ZERO] * ((1 << M.log2up(len(hashes))) - len(hashes))
    while len(hashes) > 1:
        hashes = [node(hashes[i], hashes[i + 1]) for i in range(0, len(hashes), 2)]
    return hashes[0]


NAMES = ("layers", "dim", "inner", "heads", "kv_heads", "head_dim", "vocab", "positions", "window", "ropes", "activation", "residual_bits", "flags")
TIED, POST_NORMS, QK_NORMS, HEAD_WIDE = 1, 2, 4, 8
LINEARS = ("gate_up", "qkv", "out", "down")
NORMS = ("attn", "q", "k", "attn_post", "ffn", "ffn_post")
WIDE = {"qkv": 0, "out": 1, "gate_up": 2, "down": 3}  # bits of a layer


class Shape:
    """Dimensions and flags, and every place that follows from them."""

    def __init__(self, **values):
        assert set(values) == set(NAMES)
        self.__dict__.update(values)
        self.tied, self.post_norms, self.qk_norms, self.head_wide = (bool(self.flags & b) for b in (TIED, POST_NORMS, QK_NORMS, HEAD_WIDE))
        D, F, hd, H, KV = self.dim, self.inner, self.head_dim, self.heads, self.kv_heads
        self.rows = {"gate_up": 2 * F, "qkv": (H + 2 * KV) * hd, "out": D, "down": D}
        self.cols = {"gate_up": D, "qkv": D, "out": H * hd, "down": F, "head": D}
        post, qk = int(self.post_norms), int(self.qk_norms)
        self.norm_len = {"attn": D, "q": hd * qk, "k": hd * qk, "attn_post": D * post, "ffn": D, "ffn_post": D * post}
        blocks = [(n, self.rows[n]) for n in LINEARS] + [(n + " norm", ceil(self.norm_len[n], 32)) for n in NORMS] + [("layer", 1)]
        self.layer_starts, self.R = place(blocks)
        c = M.log2up(ceil(hd, 32))
        self.entry_bits = c
        blocks = [("layers", self.layers << self.R), ("embedding", self.vocab), ("head", 0 if self.tied else self.vocab), ("final norm", ceil(D, 32))]
        for r in range(self.ropes):
            blocks += [(f"fine {r}", 256 << c), (f"coarse {r}", ceil(self.positions, 256) << c)]
        self.starts, self.depth = place(blocks)

    def header(self):
        return b"assay/exact/1".ljust(16, b"\0") + struct.pack("<13I", *(getattr(self, n) for n in NAMES)) + bytes(60)

    def layout(self, T):
        """{block: start}, leaf bits of a layer slot, for T positions"""
        leaves = lambda n: ceil(n, 128)
        P = lambda K: 1 << M.log2up(leaves(K))
        D, F, hd, H, KV = self.dim, self.inner, self.head_dim, self.heads, self.kv_heads
        post = int(self.post_norms)
        blocks = [
            ("attn_q", 4 * P(D)), ("qkv", leaves(4 * (H + 2 * KV) * hd)), ("q_heads", H * P(64 + hd)), ("kv_heads", KV * P(64 + 2 * hd)),
            ("soft", H * P(32 + 2 * ceil(T, 256))), ("attended", leaves(4 * H * hd)), ("out_q", 4 * P(H * hd)),
            ("out_y", post * leaves(4 * D)), ("out_s", post), ("x_attn", leaves(4 * D)), ("ffn_q", 4 * P(D)), ("gate_up", leaves(8 * F)),
            ("down_q", 4 * P(F)), ("down_y", post * leaves(4 * D)), ("down_s", post), ("x_ffn", leaves(4 * D)),
        ]
        starts, b = place(blocks)
        choice, b2 = place([("head_q", 4 * P(D)), ("choice", 4)])
        starts.update(choice)
        assert b2 <= b
        return starts, b


class Model:
    """shape; embed, head: (w, m, s, bias) with lists by row; layers; final; ropes: (fine, coarse), each [entry][pair] = (cos, sin)"""

    def rows(self):
        """{number of the row: (constants, content)}"""
        s, out = self.shape, {}

        def linear(start, lin, embedding=None):
            w, m, sh, bias = lin
            for n, row in enumerate(w):
                em, es = (embedding[1][n], embedding[2][n]) if embedding else (0, 0)
                out[start | n] = struct.pack("<hhihh", m[n], sh[n], bias[n], em, es).ljust(32, b"\0"), struct.pack(f"<{len(row)}b", *row)

        def norm(start, n):
            gain, eps, shift = n
            for i in range(0, len(gain), 32):
                part = gain[i:i + 32]
                out[start | i // 32] = struct.pack("<qi", eps, shift).ljust(32, b"\0"), struct.pack(f"<{len(part)}i", *part).ljust(128, b"\0")

        for l, layer in enumerate(self.layers):
            at = lambda name: l << s.R | s.layer_starts[name]
            for name in LINEARS:
                linear(at(name), layer[name])
            for name in NORMS:
                if s.norm_len[name]:
                    norm(at(name + " norm"), layer[name])
            wide = sum(layer["wide"][name] << bit for name, bit in WIDE.items())
            out[at("layer")] = bytes([layer["window"], layer["rope"], wide]).ljust(32, b"\0"), b""
        nothing = [0] * s.vocab
        if s.tied:
            linear(s.starts["embedding"], self.head, self.embedding)
        else:
            linear(s.starts["embedding"], (self.embedding[0], nothing, nothing, nothing), self.embedding)
            linear(s.starts["head"], self.head)
        norm(s.starts["final norm"], self.final)
        for r, tables in enumerate(self.ropes):
            for name, table in zip((f"fine {r}", f"coarse {r}"), tables, strict=True):
                for e, pairs in enumerate(table):
                    for x in range(0, len(pairs), 16):
                        part = b"".join(struct.pack("<ii", *pair) for pair in pairs[x:x + 16])
                        out[s.starts[name] | e << s.entry_bits | x // 16] = bytes(32), part.ljust(128, b"\0")
        return out

    _tree = None

    def tree(self):
        if self._tree is None:
            t = Tree(self.shape.depth, ZERO)
            for index, (constants, content) in self.rows().items():
                t.set(index, row_hash(constants, content))
            self._tree = t, t.build()
        return self._tree

    def weights_root(self):
        return keccak256(self.shape.header() + self.tree()[1])


# ---- toy models: section 11 ----

def splitmix64(state):
    mask = (1 << 64) - 1
    while True:
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        yield z ^ z >> 31


def toy(shape, seed, layers):
    """layers: [(window, rope, wide)], wide the bits of the layer row"""
    m, s = Model(), shape
    m.shape = s

    def linear(start, rows, cols, shift, bias=False, embedding=False):
        w, ms, ss, biases, ems = [], [], [], [], []
        for n in range(rows):
            u = splitmix64(seed << 32 | start | n)
            ms.append(16384 + next(u) % 16384)
            ss.append(shift)
            biases.append(next(u) % 16384 - 8192 if bias else 0)
            ems.append(16384 + next(u) % 16384 if embedding else 0)
            w.append([next(u) % 255 - 127 for _ in range(cols)])
        return (w, ms, ss, biases), (w, ems, [5] * rows)

    def norm(start, count, shift):
        gain = []
        for x in range(ceil(count, 32)):
            u = splitmix64(seed << 32 | start | x)
            for _ in range(min(32, count - 32 * x)):
                v = next(u)
                gain.append((-1 if v >> 63 else 1) * (2097152 + v % 4194304))
        return gain, 4096 if shift == 0 else 1 << 20, shift

    m.layers = []
    for l, (window, rope, bits) in enumerate(layers):
        wide = {name: bits >> bit & 1 for name, bit in WIDE.items()}
        layer = {"window": window, "rope": rope, "wide": wide}
        at = lambda name: l << s.R | s.layer_starts[name]
        for name in LINEARS:
            shift = (26 if name in ("qkv", "gate_up") else 17) + 4 * wide[name]
            layer[name], _ = linear(at(name), s.rows[name], s.cols[name], shift, bias=name == "qkv")
        for name in NORMS:
            if s.norm_len[name]:
                layer[name] = norm(at(name + " norm"), s.norm_len[name], 0 if name in ("attn", "ffn") else 36)
        m.layers.append(layer)
    shift = 25 + 4 * s.head_wide
    m.head, m.embedding = linear(s.starts["embedding"], s.vocab, s.dim, shift, embedding=True)
    if not s.tied:
        m.head, _ = linear(s.starts["head"], s.vocab, s.dim, shift)
    m.final = norm(s.starts["final norm"], s.dim, 0)

    def entry(r, e, i):
        v = (r + 1) * (e + 1) * (i + 1) * 2654435761 % (1 << 31) - (1 << 30)
        return M.isqrt((1 << 60) - v * v), v

    pairs = range(s.head_dim // 2)
    m.ropes = [([[entry(r, e, i) for i in pairs] for e in range(256)], [[entry(r, 256 + e, i) for i in pairs] for e in range(ceil(s.positions, 256))])
               for r in range(s.ropes)]
    return m


# ---- 3. the graph, noting what section 9 commits ----

def index_of_max(y, A):
    return next((i for i, v in enumerate(y) if abs(v) == A), 0)


class Run:
    """Computes one job and its trace."""

    def __init__(self, model, prompt, output, settings, seed, first, bias=()):
        """output: the ids that the job claims, or a number of tokens to choose; the last `first` of the prompt are output of earlier segments"""
        self.m, s = model, model.shape
        self.prompt, self.settings, self.seed, self.first, self.bias = prompt, settings, seed, first, bias
        wanted = len(output) if isinstance(output, list) else output
        self.T = len(prompt) + wanted - 1
        self.ids = prompt + (output if isinstance(output, list) else [])
        self.starts, self.leaf_bits = s.layout(self.T)
        self.layer_bits, self.token_bits = M.log2up(s.layers + 2), M.log2up(self.T)
        self.leaves = {}
        self.logits = {}
        self.chosen = []  # by the rule, whatever the job claims
        self.kv = [[[] for _ in range(s.kv_heads)] for _ in range(s.layers)]
        for pos in range(self.T):
            self.step(pos)

    def put(self, pos, slot, start, data):
        base = (pos << self.layer_bits | slot) << self.leaf_bits | start
        for i in range(0, len(data), 128):
            leaf = bytes(data[i:i + 128]).ljust(128, b"\0")
            if any(leaf):
                self.leaves[base + i // 128] = leaf

    def put32(self, pos, slot, name, y):
        M.vector32(y)
        self.put(pos, slot, self.starts[name] if name else 0, struct.pack(f"<{len(y)}i", *y))

    def put_words(self, pos, slot, start, words):
        self.put(pos, slot, start, struct.pack(f"<{len(words)}q", *words))

    def put_row(self, pos, slot, name, words, q, wide):
        P = 1 << M.log2up(ceil(len(q), 128))
        self.put_words(pos, slot, self.starts[name], words)
        high, low = ([M.limbs(v)[k] for v in q] for k in (0, 1)) if wide else (q, [])
        self.put(pos, slot, self.starts[name] + P, struct.pack(f"<{len(high)}b", *high))
        self.put(pos, slot, self.starts[name] + 2 * P, struct.pack(f"<{len(low)}b", *low))

    def norm_row(self, pos, slot, name, norm, x, wide):
        gain, eps, _ = norm
        q, a, e, d = M.norm_quant(x, gain, eps, wide)
        self.put_row(pos, slot, name, [d["Ax"], index_of_max(x, d["Ax"]), d["S"], d["Ay"], index_of_max(d["y"], d["Ay"])], q, wide)
        return q, a, e

    def quant_row(self, pos, slot, name, y, wide):
        q, a, e, A = M.quant(y, wide)
        self.put_row(pos, slot, name, [0, 0, 0, A, index_of_max(y, A)], q, wide)
        return q, a, e

    def head(self, norm, x, pairs):
        """norm if there is one, rotation -> words, rotated head"""
        words = [0, 0, 0]
        if norm:
            gain, eps, shift = norm
            S, _, Ax = M.norm_core(x, gain, eps)
            words = [Ax, index_of_max(x, Ax), S]
            x = M.norm_out(x, gain, eps, shift)
        x = M.rotate(x, pairs)
        A = M.maxabs(x)
        return words + [A, index_of_max(x, A)], x

    def add(self, pos, slot, x, y, norm, name):
        if norm:
            gain, eps, shift = norm
            S, _, Ax = M.norm_core(y, gain, eps)
            self.put32(pos, slot, name + "_y", y)
            self.put_words(pos, slot, self.starts[name + "_s"], [Ax, index_of_max(y, Ax), S])
            y = M.norm_out(y, gain, eps, shift)
        return [M.cap(a + b) for a, b in zip(x, y, strict=True)]

    def step(self, pos):
        m, s = self.m, self.m.shape
        hd, H, KV = s.head_dim, s.heads, s.kv_heads
        linear = lambda lin, q, wide: M.linear(*lin, *q, wide)
        w, em, es = m.embedding
        token = self.ids[pos]
        x = M.embed(w[token], em[token], es[token])
        self.put32(pos, 0, None, x)
        for l, layer in enumerate(m.layers):
            slot, wide = l + 1, layer["wide"]
            q = self.norm_row(pos, slot, "attn_q", layer["attn"], x, wide["qkv"])
            qkv = linear(layer["qkv"], q, wide["qkv"])
            self.put32(pos, slot, "qkv", qkv)
            fine, coarse = m.ropes[layer["rope"]]
            pairs = []
            for cp, fp in zip(coarse[pos // 256], fine[pos % 256], strict=True):
                pairs += M.rotation_entry(cp, fp)
            heads = [qkv[h * hd:(h + 1) * hd] for h in range(H + 2 * KV)]
            rotated = []
            size = 1 << M.log2up(ceil(64 + hd, 128))
            for h in range(H):
                words, y = self.head(s.qk_norms and layer["q"], heads[h], pairs)
                rotated.append(y)
                data = struct.pack("<8q", *words, 0, 0, 0) + struct.pack(f"<{hd}b", *M.quant(y, False)[0])
                self.put(pos, slot, self.starts["q_heads"] + h * size, data)
            size = 1 << M.log2up(ceil(64 + 2 * hd, 128))
            for h in range(KV):
                words, y = self.head(s.qk_norms and layer["k"], heads[H + h], pairs)
                v = heads[H + KV + h]
                entry = M.put(y, v)
                self.kv[l][h].append(entry)
                va = entry[1][1]
                data = struct.pack("<8q", *words, va, index_of_max(v, va), 0) + struct.pack(f"<{2 * hd}b", *entry[0][0], *entry[1][0])
                self.put(pos, slot, self.starts["kv_heads"] + h * size, data)
            first = max(0, pos - s.window + 1) if layer["window"] else 0
            size = 1 << M.log2up(ceil(32 + 2 * ceil(self.T, 256), 128))
            o = []
            for h in range(H):
                kept = self.kv[l][h * KV // H]
                out, d = M.attend(rotated[h], [e[0] for e in kept], [e[1] for e in kept], first, pos)
                o += out
                best_at = min(j for j, v in d["score"].items() if v == d["best"])
                u16 = [0] * ceil(self.T, 256)
                for b, top in d["tops"].items():
                    n = M.bits(top)
                    at = min(j for j, v in d["share"].items() if j // 256 == b and M.bits(v) == n)
                    u16[b] = 256 * n + at - 256 * b
                most = max(M.bits(top) for top in d["tops"].values())
                block = min(b for b, top in d["tops"].items() if M.bits(top) == most)
                data = struct.pack("<4q", d["best"], best_at, d["l"], block) + struct.pack(f"<{len(u16)}H", *u16)
                self.put(pos, slot, self.starts["soft"] + h * size, data)
            self.put32(pos, slot, "attended", o)
            q = self.quant_row(pos, slot, "out_q", o, wide["out"])
            x = self.add(pos, slot, x, linear(layer["out"], q, wide["out"]), s.post_norms and layer["attn_post"], "out")
            self.put32(pos, slot, "x_attn", x)
            q = self.norm_row(pos, slot, "ffn_q", layer["ffn"], x, wide["gate_up"])
            gu = linear(layer["gate_up"], q, wide["gate_up"])
            self.put32(pos, slot, "gate_up", gu)
            q = self.quant_row(pos, slot, "down_q", M.gate(s.activation, gu), wide["down"])
            x = self.add(pos, slot, x, linear(layer["down"], q, wide["down"]), s.post_norms and layer["ffn_post"], "down")
            self.put32(pos, slot, "x_ffn", x)
        if pos >= len(self.prompt) - 1:
            slot = s.layers + 1
            q = self.norm_row(pos, slot, "head_q", m.final, x, s.head_wide)
            self.logits[pos] = linear(m.head, q, s.head_wide)
            self.choose(pos, slot, self.logits[pos])

    def choose(self, pos, slot, logits):
        s, V = self.settings, self.m.shape.vocab
        answer_pos = self.first + pos - (len(self.prompt) - 1)
        penalised = any(s[k] for k in ("presence_penalty_milli", "frequency_penalty_milli", "repeat_penalty_milli"))
        before = self.ids[len(self.prompt) - self.first:pos + 1] if penalised else []
        logits = sampling.adjust(logits, s, self.bias, before)
        token, _ = sampling.token(logits, s, self.seed, answer_pos)
        self.chosen.append(token)
        if len(self.ids) == pos + 1:
            self.ids.append(token)
        words, listed = [0] * 5, []
        if s["temperature_milli"] != 0:
            order = sorted((i for i in range(V) if logits[i] != sampling.MASKED), key=lambda i: (-logits[i], i))
            kept = order[:s["top_k"]] if s["top_k"] else order
            top_k, top_p, min_p = 0 < s["top_k"] < V, s["top_p_ppm"] < sampling.PPM, s["min_p_ppm"] > 0
            if top_p or min_p:
                words[0] = order[0]
            if top_k:
                words[1] = kept[-1]
                listed = kept if s["top_k"] <= 64 else []
            if top_p:
                weights = [sampling.weight(logits[order[0]] - logits[i]) for i in kept]
                words[2] = sum(weights)
                need, total, n = -(-words[2] * s["top_p_ppm"] // sampling.PPM), 0, 0
                while n == 0 or total < need:
                    total += weights[n]
                    n += 1
                words[3], words[4] = kept[n - 1], total
        at = self.starts["choice"]
        self.put(pos, slot, at, struct.pack(f"<{len(listed)}I", *listed))
        self.put_words(pos, slot, at + 2, words)
        self.put_words(pos, slot, at + 3, [self.ids[pos + 1]])

    def tree(self):
        t = Tree(self.token_bits + self.layer_bits + self.leaf_bits, keccak256(bytes(128)))
        for index, leaf in self.leaves.items():
            t.set(index, keccak256(leaf))
        return t, t.build()

    def ids_root(self, ids):
        """docs/protocol/objects.md section 4"""
        data = struct.pack(f"<{len(ids)}I", *ids)
        count = max(1, ceil(len(data), 128))
        t = Tree(M.log2up(count), keccak256(bytes(128)))
        for i in range(count):
            t.set(i, keccak256(data[128 * i:128 * i + 128].ljust(128, b"\0")))
        return t.build()

    def output(self):
        """The two roots, and what a receipt says of them."""
        given, n = len(self.prompt), len(self.prompt) - self.first
        roots = self.ids_root(self.ids[:n]), self.ids_root(self.ids[n:])
        counts = struct.pack(">3I", n, self.first, len(self.ids) - given)
        return *roots, keccak256(b"assay/output/2" + roots[0] + roots[1] + counts)

    def job(self):
        return keccak256(b"assay/exact/job/2".ljust(32, b"\0") + self.m.weights_root() + self.output()[2] + self.seed
                         + sampling.settings_bytes(self.settings) + struct.pack(">I", 1))
