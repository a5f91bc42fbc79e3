"""A node in Python: the link protocol of schema/link.proto over a WebSocket client of its own. It can be honest, and it can lie."""
import base64
import os
import secrets
import socket
import time
import urllib.parse

import eth

# ---- protobuf ------------------------------------------------------------------------------------------------------------
# field number: (name, kind); kinds: int, bytes, ints (repeated), many (repeated bytes)

MESSAGES = {
    "challenge": {1: ("version_min", "int"), 2: ("version_max", "int"), 3: ("gateway", "bytes"), 4: ("chain_id", "int"),
                  5: ("vault", "bytes"), 6: ("nonce", "bytes"), 7: ("wall_ms", "int")},
    "welcome": {1: ("version", "int"), 2: ("link", "int"), 3: ("next_link_seq", "int"), 4: ("receipts_have", "int"),
                5: ("ack", "bytes"), 6: ("ack_signature", "bytes"), 7: ("signature", "bytes"), 8: ("credited", "bytes")},
    "offer": {1: ("terms", "bytes"), 2: ("messages", "bytes"), 3: ("settings", "bytes"), 4: ("seed", "bytes"), 5: ("stops", "many"),
              6: ("prefix", "ints"), 7: ("credit", "int"), 8: ("model", "bytes"), 9: ("cap", "bytes"), 10: ("bias", "bytes")},
    "cancel": {1: ("job", "int"), 2: ("keep", "int"), 3: ("reason", "int")},
    "credit": {1: ("job", "int"), 2: ("tokens", "int")},
    "ack": {1: ("ack", "bytes"), 2: ("signature", "bytes")},
    "batch_proof": {1: ("number", "int"), 2: ("root", "bytes"), 3: ("tx", "bytes"), 4: ("block", "int"), 5: ("credited", "bytes")},
    "drain": {1: ("seconds", "int")},
    "hello": {1: ("body", "bytes"), 2: ("signature", "bytes")},
    "status": {1: ("slots", "int"), 2: ("used", "int"), 3: ("queued", "int"), 4: ("draining", "int")},
    "accept": {1: ("job", "int")},
    "reject": {1: ("job", "int"), 2: ("reason", "int"), 3: ("text", "bytes"), 4: ("param", "bytes")},
    "tokens": {1: ("job", "int"), 2: ("offset", "int"), 3: ("ids", "ints"), 4: ("text", "bytes")},
    "done": {1: ("job", "int"), 2: ("receipt", "bytes"), 3: ("prompt_digest", "bytes"), 4: ("item", "int"), 5: ("terms", "bytes")},
    "error": {1: ("has_job", "int"), 2: ("job", "int"), 3: ("code", "int"), 4: ("text", "bytes")},
    "checkpoint": {1: ("checkpoint", "bytes"), 2: ("signature", "bytes"), 3: ("items", "bytes")},
    "hello_body": {1: ("version", "int"), 2: ("node", "bytes"), 3: ("nonce", "bytes"), 4: ("node_nonce", "bytes"), 5: ("wall_ms", "int"),
                   6: ("x25519", "bytes"), 7: ("models", "many"), 8: ("slots", "int"), 9: ("software", "bytes"),
                   10: ("tickets_have", "int"), 11: ("region", "bytes")},
    "model": {1: ("name", "bytes"), 2: ("digest", "bytes"), 3: ("price_in", "bytes"), 4: ("price_cached", "bytes"),
              5: ("price_out", "bytes"), 6: ("context", "int"), 7: ("max_out", "int"), 8: ("tier", "int"), 9: ("engine", "bytes")},
}
FRAMES = {1: "challenge", 2: "welcome", 3: "offer", 4: "cancel", 5: "credit", 6: "ack", 7: "batch_proof", 8: "drain", 16: "hello",
          17: "status", 18: "accept", 19: "reject", 20: "tokens", 21: "done", 22: "error", 32: "checkpoint"}
NUMBERS = {name: number for number, name in FRAMES.items()}


def _varint(n):
    n &= (1 << 64) - 1
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def _read_varint(raw, at):
    n = shift = 0
    while True:
        n |= (raw[at] & 127) << shift
        shift += 7
        at += 1
        if raw[at - 1] < 128:
            return n, at


def pack(name, values):
    out = b""
    for number, (field, kind) in MESSAGES[name].items():
        value = values.get(field)
        if not value:
            continue
        if kind == "int":
            out += _varint(number << 3) + _varint(value)
        elif kind == "ints":
            body = b"".join(_varint(n) for n in value)
            out += _varint(number << 3 | 2) + _varint(len(body)) + body
        else:
            for part in value if kind == "many" else [value]:
                out += _varint(number << 3 | 2) + _varint(len(part)) + part
    return out


def unpack(name, raw):
    values = {field: {"int": 0, "bytes": b""}.get(kind, []) for field, kind in MESSAGES[name].values()}
    at = 0
    while at < len(raw):
        tag, at = _read_varint(raw, at)
        if tag & 7 == 0:
            value, at = _read_varint(raw, at)
        elif tag & 7 == 2:
            length, at = _read_varint(raw, at)
            value, at = raw[at:at + length], at + length
        else:
            raise ValueError(f"wire type {tag & 7}")
        field, kind = MESSAGES[name][tag >> 3]
        if kind == "ints":
            values[field] = []
            inner = 0
            while inner < len(value):
                n, inner = _read_varint(value, inner)
                values[field].append(n)
        elif kind == "many":
            values[field] = values[field] + [value]
        else:
            values[field] = value
    return values


def frame(name, **values):
    body = pack(name, values)
    return _varint(NUMBERS[name] << 3 | 2) + _varint(len(body)) + body


def read_frame(raw):
    tag, at = _read_varint(raw, 0)
    length, at = _read_varint(raw, at)
    assert at + length == len(raw)
    return FRAMES[tag >> 3], unpack(FRAMES[tag >> 3], raw[at:])


# ---- WebSocket -------------------------------------------------------------------------------------------------------------

class Closed(Exception):
    """The other end closed: code and reason of its close frame, or None where it just went."""

    def __init__(self, code=None, reason=""):
        super().__init__(f"closed: {code} {reason}")
        self.code, self.reason = code, reason


class WebSocket:
    def __init__(self, base_url, path="/link", subprotocol="assay-link.1", timeout=20):
        at = urllib.parse.urlsplit(base_url)
        self.sock = socket.create_connection((at.hostname, at.port), timeout=timeout)
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        head = (f"GET {path} HTTP/1.1\r\nHost: {at.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n")
        self.sock.sendall(head.encode())
        self.input = b""
        while b"\r\n\r\n" not in self.input:
            more = self.sock.recv(4096)
            if not more:
                raise Closed()
            self.input += more
        head, self.input = self.input.split(b"\r\n\r\n", 1)
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise Closed(reason=head.decode("latin-1"))

    def send(self, payload, opcode=2):
        mask = os.urandom(4)
        n = len(payload)
        size = bytes([128 | n]) if n < 126 else bytes([254]) + n.to_bytes(2, "big") if n < 65536 else bytes([255]) + n.to_bytes(8, "big")
        masked = (int.from_bytes(payload, "big") ^ int.from_bytes((mask * (n // 4 + 1))[:n], "big")).to_bytes(n, "big")
        self.sock.sendall(bytes([128 | opcode]) + size + mask + masked)

    def _take(self, n):
        while len(self.input) < n:
            try:
                more = self.sock.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                raise Closed()
            self.input += more
        out, self.input = self.input[:n], self.input[n:]
        return out

    def recv(self):
        """The next binary message. Raises Closed, or TimeoutError."""
        message = b""
        while True:
            head = self._take(2)
            opcode, n = head[0] & 15, head[1] & 127
            if n > 125:
                n = int.from_bytes(self._take(2 if n == 126 else 8), "big")
            payload = self._take(n)
            if opcode == 9:
                self.send(payload, 10)
            elif opcode == 8:
                raise Closed(int.from_bytes(payload[:2], "big"), payload[2:].decode())
            elif opcode in (0, 2):
                message += payload
                if head[0] & 128:
                    return message

    def close(self):
        self.sock.close()


# ---- a node ----------------------------------------------------------------------------------------------------------------

def digest_of(prefix, *parts):
    return eth.keccak(prefix + b"".join(parts))


def ids_root(ids):
    data = b"".join(n.to_bytes(4, "little") for n in ids)
    nodes = [eth.keccak(data[i:i + 128].ljust(128, b"\0")) for i in range(0, max(len(data), 1), 128)]
    while len(nodes) & (len(nodes) - 1):
        nodes.append(eth.keccak(bytes(128)))
    while len(nodes) > 1:
        nodes = [eth.keccak(a + b) for a, b in zip(nodes[::2], nodes[1::2])]
    return nodes[0]


def output_digest(prompt_digest, prompt_count, ids, prior=()):
    counts = ((n & 0xffffffff).to_bytes(4, "big") for n in (prompt_count, len(prior), len(ids)))
    return digest_of(b"assay/output/2", prompt_digest, ids_root([*prior, *ids]), *counts)


def model(name, **changes):
    """What a hello offers; prices in pico-dollars per token."""
    values = {"name": name.encode(), "digest": eth.keccak(name.encode()), "price_in": 10_000, "price_cached": 10_000,
              "price_out": 40_000, "context": 2048, "max_out": 1024, "tier": 0, "engine": b"python", **changes}
    for price in ("price_in", "price_cached", "price_out"):
        if isinstance(values[price], int):
            values[price] = values[price].to_bytes(16, "big")
    return pack("model", values)


class Offer:
    """One ticket as the node got it."""

    def __init__(self, values):
        self.values = values
        self.terms = eth.decode("Terms", values["terms"])
        self.job = self.terms["linkSeq"]
        self.credit = values["credit"]
        self.ids = []
        self.prompt_digest = eth.keccak(b"a prompt")

    def receipt(self, **changes):
        """An honest receipt over the ids sent so far, unless told otherwise. The amount follows the changed counts."""
        t = self.terms
        now = int(time.time() * 1000)
        r = {"terms": eth.struct_hash("Terms", t), "inTokens": 7, "cachedTokens": 0, "outTokens": len(self.ids), "finish": 1,
             "firstMs": now, "lastMs": now}
        r |= {k: v for k, v in changes.items() if k != "amount"}
        r.setdefault("output", output_digest(self.prompt_digest, r["inTokens"], self.ids))
        r["amount"] = changes.get("amount", (r["inTokens"] - r["cachedTokens"]) * t["priceIn"] + r["cachedTokens"] * t["priceCached"]
                                  + r["outTokens"] * t["priceOut"])
        return r


class Node:
    """A registered node's key, its numbering, and one connection at a time."""

    def __init__(self, base_url, key, models, slots=4):
        self.base_url, self.key, self.models, self.slots = base_url, key, models, slots
        self.ws = None
        self.items = []       # hashes of receipts not signed yet
        self.next_item = 0    # index of the first of them
        self.next_checkpoint = 0
        self.numbers = {0: 0}  # items covered -> number of the next checkpoint
        self.welcome = None
        self.acks = []
        self.batches = []
        self.seen = []        # frames that came while another was waited for

    # -- handshake
    def dial(self):
        self.ws = WebSocket(self.base_url)
        name, self.challenge = read_frame(self.ws.recv())
        assert name == "challenge", name
        self.domain = eth.Domain(self.challenge["chain_id"], self.challenge["vault"])
        return self.challenge

    def hello_body(self, **changes):
        return pack("hello_body", {"version": 1, "node": self.key.address, "nonce": self.challenge["nonce"], "node_nonce": os.urandom(32),
                                   "wall_ms": int(time.time() * 1000), "x25519": os.urandom(32), "models": self.models,
                                   "slots": self.slots, "software": b"python", **changes})

    def hello_digest(self, body, gateway=None, chain_id=None, vault=None):
        return digest_of(b"assay/hello/1", (chain_id or self.challenge["chain_id"]).to_bytes(8, "big"),
                         vault or self.challenge["vault"], gateway or self.challenge["gateway"], eth.keccak(body))

    def greet(self, body=None, signature=None):
        body = body or self.hello_body()
        self.send("hello", body=body, signature=signature or self.key.sign(self.hello_digest(body)))

    def connect(self):
        """Dials, greets, and takes the welcome: from here on offers come. Receipts that no checkpoint covers are forgotten."""
        self.dial()
        self.greet()
        self.welcome = self.wait("welcome")
        self.next_item, self.items = self.welcome["receipts_have"], []
        self.next_checkpoint = self.numbers[self.next_item]
        return self

    def close(self):
        if self.ws is not None:
            self.ws.close()
            self.ws = None

    # -- frames
    def send(self, name, **values):
        self.ws.send(frame(name, **values))

    def recv(self):
        return read_frame(self.ws.recv())

    def wait(self, name):
        """The next frame of that kind; Acks and BatchProofs on the way are kept, the rest is in `seen`."""
        while True:
            got, values = self.recv()
            if got == "ack":
                self.acks.append(values)
            elif got == "batch_proof":
                self.batches.append(values)
            if got == name:
                return values
            self.seen.append((got, values))

    def offer(self):
        return Offer(self.wait("offer"))

    def closed(self):
        """Reads until the gateway closes; returns the Closed."""
        while True:
            try:
                self.recv()
            except Closed as e:
                return e

    # -- a job
    def accept(self, offer):
        self.send("accept", job=offer.job)

    def say(self, offer, text, offset=None):
        """Sends text as the echo engine would: one token for three bytes."""
        raw = text.encode()
        ids = [len(raw[i:i + 3]) << 24 | int.from_bytes(raw[i:i + 3].ljust(3, b"\0"), "big") for i in range(0, len(raw), 3)]
        self.send("tokens", job=offer.job, offset=len(offer.ids) if offset is None else offset, ids=ids, text=raw)
        offer.ids += ids

    def done(self, offer, receipt=None, item=None, again=False):
        receipt = receipt or offer.receipt()
        self.items.append(eth.struct_hash("Receipt", receipt))
        values = {"job": offer.job, "receipt": eth.encode("Receipt", receipt), "prompt_digest": offer.prompt_digest,
                  "item": self.next_item + len(self.items) - 1 if item is None else item}
        if again:
            values["terms"] = offer.values["terms"]
        self.send("done", **values)
        return receipt

    def checkpoint(self, **changes):
        """Signs the receipts sent since the last one."""
        c = {"kind": 2, "signer": self.key.address, "peer": self.challenge["gateway"], "number": self.next_checkpoint,
             "first": self.next_item, "count": len(self.items), "root": eth.checkpoint_root(self.items), **changes}
        self.send("checkpoint", checkpoint=eth.encode("Checkpoint", c), signature=self.key.sign(self.domain.digest("Checkpoint", c)))
        self.next_item += len(self.items)
        self.next_checkpoint += 1
        self.numbers[self.next_item] = self.next_checkpoint
        self.items = []

    def serve(self, offer, text):
        """A whole honest job."""
        self.accept(offer)
        self.say(offer, text)
        self.done(offer)
        self.checkpoint()
