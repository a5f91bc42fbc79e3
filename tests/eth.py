"""What the tests need of Ethereum, in plain Python: an implementation of its own, so that it can contradict the program.

Keccak-256, secp256k1 signatures, EIP-712 of the market's objects, their canonical bytes, Merkle roots, ABI words, JSON-RPC.
"""
import hashlib
import hmac
import http.client
import json
import secrets
import urllib.parse

# ---- Keccak-256 (FIPS 202's permutation with the original padding) -----------------------------------------------

_ROUNDS = []
_lfsr = 1
for _ in range(24):
    _constant = 0
    for _j in range(7):
        if _lfsr & 1:
            _constant |= 1 << ((1 << _j) - 1)
        _lfsr = (_lfsr << 1) ^ (0x171 if _lfsr & 0x80 else 0)
    _ROUNDS.append(_constant)
_MASK = (1 << 64) - 1
_PATH = []  # rho and pi: where each lane of the cycle goes, and how far it turns
_x, _y = 1, 0
for _t in range(24):
    _x, _y = _y, (2 * _x + 3 * _y) % 5
    _PATH.append((_x + 5 * _y, (_t + 1) * (_t + 2) // 2 % 64))


def _permute(a):
    for constant in _ROUNDS:
        c = [a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20] for x in range(5)]
        d = [c[x - 1] ^ ((c[x - 4] << 1 | c[x - 4] >> 63) & _MASK) for x in range(5)]
        a = [a[i] ^ d[i % 5] for i in range(25)]
        moving = a[1]
        for to, turn in _PATH:
            moving, a[to] = a[to], (moving << turn | moving >> (64 - turn)) & _MASK
        for y in range(0, 25, 5):
            row = a[y:y + 5]
            for x in range(5):
                a[y + x] = row[x] ^ (~row[x - 4] & _MASK & row[x - 3])
        a[0] ^= constant
    return a


def keccak(data):
    rate = 136
    data = data + b"\x01" + b"\0" * (rate - 1 - len(data) % rate)
    data = data[:-1] + bytes([data[-1] | 0x80])
    a = [0] * 25
    for at in range(0, len(data), rate):
        for i in range(rate // 8):
            a[i] ^= int.from_bytes(data[at + 8 * i:at + 8 * i + 8], "little")
        a = _permute(a)
    return b"".join(lane.to_bytes(8, "little") for lane in a[:4])


assert keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"

# ---- secp256k1 ------------------------------------------------------------------------------------------------------

P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = (0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
     0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8)


def _double(p):
    x, y, z = p
    if not y:
        return 0, 1, 0
    s = 4 * x * y * y % P
    m = 3 * x * x % P
    nx = (m * m - 2 * s) % P
    return nx, (m * (s - nx) - 8 * y * y * y * y) % P, 2 * y * z % P


def _add(p, q):
    if not p[2]:
        return q
    if not q[2]:
        return p
    z1, z2 = p[2] * p[2] % P, q[2] * q[2] % P
    u1, u2 = p[0] * z2 % P, q[0] * z1 % P
    s1, s2 = p[1] * z2 * q[2] % P, q[1] * z1 * p[2] % P
    if u1 == u2:
        return _double(p) if s1 == s2 else (0, 1, 0)
    h, r = (u2 - u1) % P, (s2 - s1) % P
    h2 = h * h % P
    h3, v = h * h2 % P, u1 * h2 % P
    x = (r * r - h3 - 2 * v) % P
    return x, (r * (v - x) - s1 * h3) % P, h * p[2] * q[2] % P


def _times(point, k):
    result, step = (0, 1, 0), (point[0], point[1], 1)
    while k:
        if k & 1:
            result = _add(result, step)
        step = _double(step)
        k >>= 1
    inverse = pow(result[2], -1, P)
    return result[0] * inverse * inverse % P, result[1] * inverse * inverse * inverse % P


def address_of_point(point):
    return keccak(point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big"))[12:]


class Key:
    """A secp256k1 key pair; `address` is 20 bytes."""

    def __init__(self, secret=None):
        self.secret = secret or secrets.randbelow(N - 1) + 1
        self.point = _times(G, self.secret)
        self.address = address_of_point(self.point)

    def sign(self, digest):
        """65 bytes r || s || v, low s, v 27 or 28."""
        z = int.from_bytes(digest, "big")
        for counter in range(256):
            k = int.from_bytes(hmac.digest(self.secret.to_bytes(32, "big"), digest + bytes([counter]), hashlib.sha256), "big")
            if not 0 < k < N:
                continue
            x, y = _times(G, k)
            r = x % N
            s = pow(k, -1, N) * (z + r * self.secret) % N
            if r != x or not r or not s:
                continue
            parity = y & 1
            if s > N // 2:
                s, parity = N - s, parity ^ 1
            return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([27 + parity])
        raise AssertionError("no nonce fits")


def recover(digest, signature):
    """The address that signed; None for what is no signature, or has a high s."""
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    if len(signature) != 65 or signature[64] not in (27, 28) or not 0 < r < N or not 0 < s <= N // 2:
        return None
    y = pow(r**3 + 7, (P + 1) // 4, P)
    if y * y % P != (r**3 + 7) % P:
        return None
    if y & 1 != signature[64] - 27:
        y = P - y
    inverse = pow(r, -1, N)
    a = _times((r, y), s * inverse % N)
    b = _times(G, -int.from_bytes(digest, "big") * inverse % N)
    x, y, z = _add((*a, 1), (*b, 1))
    if not z:
        return None
    inverse = pow(z, -1, P)
    return address_of_point((x * inverse * inverse % P, y * inverse**3 % P))


# ---- the signed objects ------------------------------------------------------------------------------------------------

OBJECTS = {
    "SpendingCap": "address requester,address gateway,uint128 maxSpend,uint128 maxLocked,uint128 maxPriceIn,"
                   "uint128 maxPriceOut,bytes32 models,address voucherSigner,uint64 nonce,uint64 deadline",
    "Terms": "bytes32 jobId,uint32 segment,address requester,address gateway,address node,bytes32 cap,uint64 laneSeq,"
             "uint64 linkSeq,bytes32 model,bytes32 request,bytes32 sampling,uint64 maxIn,uint64 maxOut,uint128 priceIn,"
             "uint128 priceCached,uint128 priceOut,uint8 tier,uint64 issuedAt,uint64 deadline",
    "Receipt": "bytes32 terms,uint64 inTokens,uint64 cachedTokens,uint64 outTokens,bytes32 output,uint8 finish,"
               "uint64 firstMs,uint64 lastMs,uint128 amount",
    "Checkpoint": "uint8 kind,address signer,address peer,uint64 number,uint64 first,uint32 count,bytes32 root",
    "Ack": "address gateway,address node,uint64 upTo,uint128 cum,uint64 payBy",
}
_SIZES = {"address": 20, "bytes32": 32, "uint8": 1, "uint32": 4, "uint64": 8, "uint128": 16}
FIELDS = {name: [(field.split()[1], _SIZES[field.split()[0]]) for field in text.split(",")] for name, text in OBJECTS.items()}
_TYPES = {name: keccak(f"{name}({text})".encode()) for name, text in OBJECTS.items()}


def _field(value, size):
    raw = value if isinstance(value, bytes) else int(value).to_bytes(size, "big")
    assert len(raw) == size
    return raw


def encode(name, obj):
    """The canonical bytes: version 1, then the fields."""
    return b"\x01" + b"".join(_field(obj[field], size) for field, size in FIELDS[name])


def decode(name, raw):
    obj, at = {}, 1
    assert raw[0] == 1
    for field, size in FIELDS[name]:
        part = raw[at:at + size]
        obj[field] = part if size in (20, 32) else int.from_bytes(part, "big")
        at += size
    assert at == len(raw)
    return obj


def from_json(name, obj):
    """From the gateway's JSON form; every field must be there and no other."""
    assert set(obj) == {field for field, _ in FIELDS[name]}, obj
    return {field: bytes.fromhex(obj[field][2:]) if size in (20, 32) else int(obj[field]) for field, size in FIELDS[name]}


def to_json(name, obj):
    out = {}
    for field, size in FIELDS[name]:
        value = obj[field]
        out[field] = "0x" + value.hex() if isinstance(value, bytes) else str(value) if size == 16 else value
    return out


def struct_hash(name, obj):
    return keccak(_TYPES[name] + b"".join(_field(obj[field], size).rjust(32, b"\0") for field, size in FIELDS[name]))


class Domain:
    def __init__(self, chain_id, vault):
        self.chain_id, self.vault = chain_id, vault
        self.separator = keccak(
            keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)") + keccak(b"Assay")
            + keccak(b"1") + chain_id.to_bytes(32, "big") + vault.rjust(32, b"\0"))

    def digest(self, name, obj):
        return keccak(b"\x19\x01" + self.separator + struct_hash(name, obj))


# ---- trees ---------------------------------------------------------------------------------------------------------------

def _root(level, join):
    while len(level) > 1:
        level = [join(*level[i:i + 2]) if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
    return level[0]


def checkpoint_root(items):
    return _root(list(items), lambda a, b: keccak(b"\x01" + a + b))


def batch_root(entry_hashes):
    return _root(list(entry_hashes), lambda a, b: keccak(min(a, b) + max(a, b)))


def climb(item, index, count, path):
    """The root of a checkpoint's tree from one item and its path."""
    path = list(path)
    while count > 1:
        if index ^ 1 < count:
            other = path.pop(0)
            item = keccak(b"\x01" + (other + item if index & 1 else item + other))
        index, count = index // 2, (count + 1) // 2
    assert not path
    return item


def sum_root(leaves):
    """(hash, sum) of a lane's entry from (laneSeq, amount, receipt hash) of each leaf in order."""
    nodes = [(keccak(b"\0" + seq.to_bytes(8, "big") + amount.to_bytes(12, "big") + receipt), amount) for seq, amount, receipt in leaves]
    while len(nodes) > 1:
        if len(nodes) % 2:
            nodes.append((bytes(32), 0))
        nodes = [(keccak(b"\x01" + a[0] + a[1].to_bytes(12, "big") + b[0] + b[1].to_bytes(12, "big")), a[1] + b[1])
                 for a, b in zip(nodes[::2], nodes[1::2])]
    return nodes[0]


def entry_hash(lane, count, first, before, spent, tree):
    return keccak(b"".join(n.to_bytes(32, "big") for n in (lane, count, first, before, spent)) + tree)


# ---- ABI and JSON-RPC ----------------------------------------------------------------------------------------------------

def word(value):
    return value.rjust(32, b"\0") if isinstance(value, bytes) else int(value).to_bytes(32, "big")


def call_data(signature, *words):
    return keccak(signature.encode())[:4] + b"".join(word(w) for w in words)


def topic(signature):
    return "0x" + keccak(signature.encode()).hex()


class RpcError(Exception):
    pass


class Rpc:
    def __init__(self, url):
        self.at = urllib.parse.urlsplit(url)

    def __call__(self, method, *params):
        conn = http.client.HTTPConnection(self.at.hostname, self.at.port, timeout=30)
        try:
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
            conn.request("POST", self.at.path or "/", body, {"Content-Type": "application/json"})
            answer = json.loads(conn.getresponse().read())
        finally:
            conn.close()
        if "error" in answer:
            raise RpcError(f"{method}: {answer['error']}")
        return answer["result"]

    def view(self, to, signature, *words):
        """The 32-byte words that a view function returns, as integers."""
        out = self("eth_call", {"to": "0x" + to.hex(), "data": "0x" + call_data(signature, *words).hex()}, "latest")
        raw = bytes.fromhex(out[2:])
        return [int.from_bytes(raw[i:i + 32], "big") for i in range(0, len(raw), 32)]

    def start(self, sender, to, data):
        """Sends a transaction of any account, as only a development chain lets one; returns its hash."""
        name = "0x" + sender.hex()
        self("anvil_impersonateAccount", name)
        if int(self("eth_getBalance", name, "latest"), 16) < 10**18:
            self("anvil_setBalance", name, hex(10**20))
        return self("eth_sendTransaction", {"from": name, "to": "0x" + to.hex(), "data": "0x" + data.hex(), "gas": hex(3_000_000)})
