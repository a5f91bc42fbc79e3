"""A node that lies, cheats, dies or falls silent: whatever it does, clients get a clear end and pay for nothing but what they got."""
# timeout: 240
import struct

import books
from lib import *


class Asking:
    """A streamed chat in a thread. Calling it waits for its end and gives the Stream, whose error is set whatever way it failed."""

    def __init__(self, c, text, fields):
        self.stream = None
        self.join = background(lambda: self.run(c, text, fields))

    def run(self, c, text, fields):
        s = self.stream = c.stream(text, model="python", **fields)
        if s.status == 200:
            return s.read()
        s.error = json.loads(s.response.read())["error"]
        return s

    def __call__(self):
        return self.join()

    def got(self, text):
        eventually(f"the client has {text!r}", lambda: self.stream is not None and self.stream.text == text)


def ask(c, node, text="question", **fields):
    """Starts a streamed chat for the Python node's model; returns (Asking, Offer)."""
    asking = Asking(c, text, fields)
    return asking, node.offer()


def closed(m, node, *words):
    """The gateway ends the node's connection, and says why."""
    reason = node.closed().reason
    assert all(w in reason for w in words), reason
    eventually("the gateway forgets the node", lambda: "python" not in m.models())
    return reason


class Actors:
    """One staked Python node and one requester, for all cases; each case connects anew."""

    def __init__(self, m):
        self.m = m
        self.node = m.node(link.model("python"), slots=16)
        self.client = m.account("5")

    def connect(self):
        node, m = self.node, self.m
        node.close()
        eventually("its last connection is over", lambda: "python" not in m.models())
        node.connect()
        # what was refused or cut off before has its place in the numbering: go on behind it
        eventually("the Python node is admitted", lambda: "python" in m.models())
        node.seen.clear()
        return node


_actors = []


def actors(m):
    if not _actors:
        _actors.append(Actors(m))
    a = _actors[0]
    return a.client, a.connect()


def paid(c, job_id):
    """What the account pays for a job, in pico-dollars. (Its total may fall meanwhile: pay whose receipt a node never signed is taken back.)"""
    return sum(pico(j["amount"]) for j in c.get(f"/v1/jobs/{job_id}").json["data"] if "amount" in j)


def nothing_charged(c, what):
    """Runs what() and asserts that the account is not charged for it."""
    before, jobs = c.spent(), {j["id"] for j in c.jobs()}
    result = what()
    assert c.spent() <= before, "charged"
    for job in c.jobs():
        if job["id"] not in jobs:
            assert job["status"] in ("failed", "running") and "amount" not in job, job
    return result


# ---- the handshake -----------------------------------------------------------------------------------------------------------

_mute = []


@case
def an_honest_node_first(m):
    _mute.append(link.WebSocket(m.base_url, timeout=30 * PATIENCE))
    c, node = actors(m)
    join, offer = ask(c, node, "grüße")
    assert json.loads(offer.values["messages"]) == {"messages": [{"role": "user", "content": "grüße"}]}
    assert offer.terms["node"] == node.key.address and offer.terms["requester"] == c.account.address
    cap = eth.decode("SpendingCap", offer.values["cap"])
    assert eth.struct_hash("SpendingCap", cap) == offer.terms["cap"] and cap["requester"] == c.account.address
    node.serve(offer, "an honest answer")
    s = join()
    assert s.text == "an honest answer" and s.done and s.finish == "stop"
    assert c.spent() == offer.receipt()["amount"]
    ack = eth.decode("Ack", node.wait("ack")["ack"])
    assert ack["cum"] == offer.receipt()["amount"] and ack["upTo"] == offer.job + 1
    assert eth.recover(node.domain.digest("Ack", ack), node.acks[-1]["signature"]) == m.gateway
    ticket = [v for name, v in node.seen if name == "checkpoint"][-1]
    signed = eth.decode("Checkpoint", ticket["checkpoint"])
    assert signed["kind"] == 1 and eth.recover(node.domain.digest("Checkpoint", signed), ticket["signature"]) == m.gateway
    assert signed["root"] == eth.struct_hash("Terms", offer.terms) and signed["count"] == 1


@case
def the_welcome_is_signed(m):
    c, node = actors(m)
    node.close()
    node.dial()
    nonce = os.urandom(32)
    node.greet(node.hello_body(node_nonce=nonce))
    w = node.wait("welcome")
    digest = link.digest_of(b"assay/welcome/1", node.challenge["chain_id"].to_bytes(8, "big"), node.challenge["vault"], node.key.address,
                            nonce, w["link"].to_bytes(4, "big"))
    assert eth.recover(digest, w["signature"]) == m.gateway and w["link"] > 0


def hello_refused(peer, *words, **changes):
    peer.close()
    peer.dial()
    body = peer.hello_body(**changes)
    peer.greet(body)
    reason = peer.closed().reason
    assert all(w in reason for w in words), reason


@case
def hello_with_a_wrong_signature(m):
    _, node = actors(m)
    for sign in (lambda body: eth.Key().sign(node.hello_digest(body)), lambda body: node.key.sign(eth.keccak(body)),
                 lambda body: node.key.sign(node.hello_digest(body, gateway=os.urandom(20))),
                 lambda body: node.key.sign(node.hello_digest(body, chain_id=1)),
                 lambda body: node.key.sign(node.hello_digest(body, vault=os.urandom(20))),
                 lambda body: bytes(65), lambda body: b"\xff" * 65, lambda body: node.key.sign(node.hello_digest(body + b"x"))):
        node.close()
        node.dial()
        body = node.hello_body()
        node.greet(body, sign(body))
        assert "not signed" in node.closed().reason
    for short in (b"", b"\1" * 64):
        node.close()
        node.dial()
        body = node.hello_body()
        node.send("hello", body=body, signature=short)
        assert "signature" in node.closed().reason
    # a high s is no second signature
    node.close()
    node.dial()
    body = node.hello_body()
    raw = node.key.sign(node.hello_digest(body))
    node.greet(body, raw[:32] + (eth.N - int.from_bytes(raw[32:64], "big")).to_bytes(32, "big") + bytes([55 - raw[64]]))
    assert "not signed" in node.closed().reason


@case
def hello_in_the_name_of_another(m):
    """Signed well, by somebody else than the node it names."""
    _, node = actors(m)
    victim = bytes.fromhex(m.info["nodes"][0][2:])
    hello_refused(node, "not signed", node=victim)
    assert [n for n in m.client.get("/v1/nodes").json["data"] if n["address"] == m.info["nodes"][0]][0]["ready"]


@case
def replayed_hello(m):
    _, node = actors(m)
    node.close()
    node.dial()
    body = node.hello_body()
    signature = node.key.sign(node.hello_digest(body))
    node.greet(body, signature)
    node.wait("welcome")
    node.close()
    node.dial()  # a new challenge
    node.greet(body, signature)
    assert "another challenge" in node.closed().reason
    node.dial()
    node.greet()
    node.wait("welcome")
    node.greet()
    assert "second hello" in node.closed().reason


@case
def hellos_that_cannot_be(m):
    _, node = actors(m)
    now = int(time.time() * 1000)
    for words, changes in (
            (("version",), {"version": 2}), (("version",), {"version": 0}), (("clock",), {"wall_ms": now - 60_000}),
            (("clock",), {"wall_ms": now + 60_000}), (("clock",), {"wall_ms": 0}), (("slots",), {"slots": 0}), (("slots",), {"slots": 10**6}),
            (("node",), {"node": b"\1" * 19}), (("nonce",), {"nonce": b""}), (("nonce",), {"node_nonce": b"\1" * 31}), (("x25519",), {"x25519": b"\1"}),
            (("models",), {"models": [link.model(f"m{i}") for i in range(65)]}),
            (("price_in",), {"models": [link.model("p", price_in=b"\1" * 15)]}), (("price_out",), {"models": [link.model("p", price_out=b"")]}),
            (("price_in",), {"models": [link.model("p", price_in=b"\1" * 17)]}),
            (("cached",), {"models": [link.model("p", price_cached=10_001)]}),
            (("context",), {"models": [link.model("p", context=0)]}), (("output",), {"models": [link.model("p", max_out=0)]}),
            (("output",), {"models": [link.model("p", max_out=4096)]}), (("name",), {"models": [link.model("")]}),
            (("name",), {"models": [link.model("n" * 129)]}), (("tier",), {"models": [link.model("p", tier=200)]}),
            (("digest",), {"models": [link.model("p", digest=b"\1" * 31)]}), (("software",), {"software": b"s" * 200}),
            (("UTF-8",), {"region": b"\xff\xfe"}), (("tickets",), {"tickets_have": 10**6}), (("malformed",), {"models": [b"\xff\xff\xff"]})):
        hello_refused(node, *words, **changes)
    before = len(m.models())
    node.dial()
    node.send("hello", body=b"\xff" * 100, signature=bytes(65))
    assert "malformed" in node.closed().reason
    assert len(m.models()) == before


@case
def prices_that_overflow(m):
    """2^128 - 1 pico-dollars a token is a price that nobody's cap allows: it must neither wrap nor stop the gateway."""
    most = 2**128 - 1
    node = m.node(link.model("dear", price_in=most, price_cached=most, price_out=most), link.model("dear-out", price_out=2**127))
    m.join(node, "dear", "dear-out")
    c = actors(m)[0]
    for name in ("dear", "dear-out"):
        r = c.chat(model=name, max_tokens=1024)
        assert r.status == 503 and r.error["code"] == "no_node_available", r
    assert m.client.get("/v1/nodes").status == 200 and m.client.get("/v1/models").status == 200
    node.close()
    rich = m.account("1", maxPriceIn=most, maxPriceOut=most)
    m.join(node, "dear")
    for name in ("dear", "dear-out"):
        r = rich.chat(model=name, max_tokens=1024)
        assert r.status in (400, 402, 503) and r.error, r
    assert rich.spent() == 0 and pico(rich.credit()["reserved"]) == 0
    node.close()
    eventually("it is gone", lambda: "dear" not in m.models())


@case
def a_node_without_stake_gets_no_job(m):
    node = m.node(link.model("unstaked"), stake=False)
    node.connect()
    eventually("it is listed", lambda: [n for n in m.client.get("/v1/nodes").json["data"] if n["address"] == "0x" + node.key.address.hex()
                                        or n["address"].lower() == "0x" + node.key.address.hex()])
    assert "unstaked" not in m.models() and node.welcome["link"] == 0
    r = m.client.chat(model="unstaked")
    assert r.status in (404, 503) and r.error, r
    node.close()


@case
def another_protocol_is_refused(m):
    for path, subprotocol in (("/link", "assay-link.2"), ("/link", "chat"), ("/v1/models", "assay-link.1"), ("/nothing", "assay-link.1")):
        try:
            link.WebSocket(m.base_url, path, subprotocol).recv()
        except link.Closed:
            continue
        raise AssertionError((path, subprotocol))


# ---- frames ------------------------------------------------------------------------------------------------------------------

@case
def garbage_frames(m):
    c, _ = actors(m)
    for raw in (b"", b"\0", b"\xff" * 10, os.urandom(1000), b"\x82\x01\xff\xff\xff\xff\x0f", link.frame("accept", job=1) + b"\x80",
                link.frame("challenge", nonce=b"x" * 32), link.frame("welcome", version=1), link.frame("offer", credit=1),
                link.frame("cancel", job=0), link.frame("credit", job=0, tokens=5), link.frame("ack", ack=b"x"), link.frame("drain", seconds=1),
                link.frame("batch_proof", number=1), link.frame("done", job=1, receipt=b"short"), link.frame("checkpoint", checkpoint=b"x"),
                link.frame("error", text=b"I give up")):
        _, node = actors(m)
        node.ws.send(raw)
        if raw == b"":  # no frame of any kind: nothing is wrong with saying nothing
            continue
        closed(m, node)
    # an unknown kind of frame is of a later version: skipped
    _, node = actors(m)
    node.ws.send(link._varint(100 << 3 | 2) + b"\1x")
    join, offer = ask(c, node)
    node.serve(offer, "still here")
    assert join().text == "still here"


@case
def websocket_rules(m):
    for raw, what in ((b"\x82\x05hello", "an unmasked frame"), (b"\xf2\x80\0\0\0\0", "reserved bits"), (b"\x83\x80\0\0\0\0", "an unknown opcode"),
                      (b"\x82\xff" + (2**22).to_bytes(8, "big") + bytes(2**22), "four megabytes"), (b"\x80\x80\0\0\0\0", "a continuation of nothing"),
                      (b"\x09\x80\0\0\0\0", "a fragmented ping"), (b"\x89\xfe\x00\x80\0\0\0\0" + bytes(128), "a long ping")):
        ws = link.WebSocket(m.base_url)
        ws.recv()
        try:
            ws.sock.sendall(raw)
        except OSError:
            pass  # closed before it was read
        try:
            while True:
                ws.recv()
        except link.Closed as e:
            assert e.code in (None, 0, 1002, 1003, 1007, 1009), (what, e)


@case
def frames_of_jobs_that_the_link_does_not_hold(m):
    """Another link's job, an old one, one that never was: dropped, counted, and nobody else sees them."""
    c, node = actors(m)
    other = m.join(m.node(link.model("other"), slots=4), "other")
    join_other = background(lambda: c.stream("for the other", model="other").read())
    foreign = other.offer()
    join, mine = ask(c, node, "for this one")
    assert foreign.job != mine.job or foreign.job == 0
    node.accept(mine)
    node.say(mine, "right ")
    other.accept(foreign)
    other.say(foreign, "other ")
    dropped = m.metric("link_frames_dropped_total")
    wrong = [n for n in (foreign.job, 10**6, 2**63, mine.job + 1) if n != mine.job]
    for job in wrong:
        node.send("tokens", job=job, offset=0, ids=[1], text=b"WRONG")
        node.send("accept", job=job)
        node.send("reject", job=job, reason=1)
        node.send("error", has_job=1, job=job, code=-19)
        node.send("done", job=job, receipt=eth.encode("Receipt", mine.receipt()), prompt_digest=bytes(32), item=0)
    node.say(mine, "answer")
    node.done(mine)
    node.checkpoint()
    other.say(foreign, "answer")
    other.done(foreign)
    other.checkpoint()
    assert join().text == "right answer" and join_other().text == "other answer"
    assert m.metric("link_frames_dropped_total") - dropped == 5 * len(wrong)
    # the receipts' numbering was not disturbed by the dropped ones
    join, offer = ask(c, node)
    node.serve(offer, "next")
    assert join().text == "next"
    other.close()
    eventually("the other is gone", lambda: "other" not in m.models())


# ---- tokens ------------------------------------------------------------------------------------------------------------------

@case
def tokens_before_the_accept(m):
    c, node = actors(m)

    def run():
        join, offer = ask(c, node)
        node.say(offer, "early")
        closed(m, node, "not accepted")
        return join()

    s = nothing_charged(c, run)
    assert s.status == 503 and s.text == "", s.status


@case
def tokens_at_wrong_offsets(m):
    for offset in (0, 2, 2**31, 2**32 - 1):
        c, node = actors(m)

        def run():
            join, offer = ask(c, node)
            node.accept(offer)
            node.say(offer, "abc")
            node.say(offer, "def", offset=offset)
            closed(m, node, "offset")
            return join()

        s = nothing_charged(c, run)
        assert s.text == "abc" and not s.done and s.error["code"] == "peer", (s.text, s.error)


@case
def tokens_beyond_the_credit(m):
    c, node = actors(m)

    def run():
        join, offer = ask(c, node)
        node.accept(offer)
        node.say(offer, "abc" * (offer.credit + 1))
        closed(m, node, "credit")
        return join()

    s = nothing_charged(c, run)
    assert s.status == 503 and s.text == "" and s.error, (s.status, s.text)
    # up to the credit, and again after more was granted, all is well
    c, node = actors(m)
    join, offer = ask(c, node, max_tokens=1024)
    node.accept(offer)
    node.say(offer, "abc" * offer.credit)
    granted = node.wait("credit")
    assert granted["job"] == offer.job and granted["tokens"] > 0
    node.say(offer, "xyz" * granted["tokens"])
    node.done(offer)
    node.checkpoint()
    assert join().text == "abc" * offer.credit + "xyz" * granted["tokens"]


@case
def tokens_beyond_max_out(m):
    """A node that says more than was asked for: the receipt cannot cover it."""
    c, node = actors(m)

    def run():
        join, offer = ask(c, node, max_tokens=4)
        node.accept(offer)
        node.say(offer, "abcdef" * 4)
        node.done(offer)
        node.checkpoint()
        return join()

    s = nothing_charged(c, run)
    assert s.error["code"] == "peer" and not s.done and s.text == "", (s.text, s.error)


@case
def text_that_is_not_utf8(m):
    for raw in (b"\xff\xfe", b"\xe4\xb8", b"\xed\xa0\x80"):
        c, node = actors(m)

        def run():
            join, offer = ask(c, node)
            node.accept(offer)
            node.say(offer, "ok ")
            node.send("tokens", job=offer.job, offset=1, ids=[1], text=raw)
            closed(m, node, "UTF-8")
            return join()

        s = nothing_charged(c, run)
        assert s.text == "ok " and s.error and not s.done


# ---- receipts ----------------------------------------------------------------------------------------------------------------

@case
def receipts_that_do_not_fit(m):
    """Wrong counts, wrong output, wrong amount: refused, counted, the client gets an error, nothing is charged, the link goes on."""
    c, node = actors(m)
    wrong = {
        "more tokens": {"outTokens": 3}, "fewer tokens": {"outTokens": 1}, "no tokens": {"outTokens": 0}, "huge counts": {"outTokens": 2**63, "amount": 1},
        "more input than allowed": {"inTokens": 10**6}, "another output": {"output": bytes(32)}, "a higher amount": {"amount": 10**9},
        "a lower amount": {"amount": 0}, "the largest amount": {"amount": 2**128 - 1}, "other terms": {"terms": bytes(32)},
        "no finish": {"finish": 0}, "an unknown finish": {"finish": 77}, "times the wrong way round": {"firstMs": 10**13},
        "cached above input": {"cachedTokens": 8, "amount": 1}, "wrapping": {"inTokens": 2**64 - 1, "amount": 0},
    }
    for what, changes in wrong.items():
        refused = m.metric("receipts_refused_total")

        def run():
            join, offer = ask(c, node)
            node.accept(offer)
            node.say(offer, "abcdef")
            node.done(offer, offer.receipt(**changes))
            node.checkpoint()
            return join()

        s = nothing_charged(c, run)
        assert s.text == "abcdef" and not s.done and s.error["code"] == "peer" and "receipt" in s.error["message"], (what, s.error)
        assert m.metric("receipts_refused_total") == refused + 1, what
        job = c.ended(s.job_id)
        assert job["status"] == "failed" and "amount" not in job, (what, job)
    r = background(lambda: c.chat("x", model="python"))
    offer = node.offer()
    node.accept(offer)
    node.say(offer, "abc")
    node.done(offer, offer.receipt(outTokens=2))
    node.checkpoint()
    r = r()
    assert r.status == 502 and r.error["code"] == "peer", r
    join, offer = ask(c, node)
    node.serve(offer, "honest again")
    assert join().text == "honest again"


@case
def a_receipt_twice(m):
    c, node = actors(m)
    join, offer = ask(c, node)
    node.accept(offer)
    node.say(offer, "once")
    receipt = node.done(offer)
    s = join()
    assert s.text == "once"
    dropped = m.metric("link_frames_dropped_total")
    node.send("done", job=offer.job, receipt=eth.encode("Receipt", receipt), prompt_digest=offer.prompt_digest, item=node.next_item + 1)
    eventually("the second is dropped", lambda: m.metric("link_frames_dropped_total") == dropped + 1)
    node.checkpoint()
    node.wait("ack")
    assert paid(c, s.job_id) == receipt["amount"]


@case
def a_receipt_at_a_wrong_place(m):
    for shift in (1, -1, 10**9):
        c, node = actors(m)
        join, offer = ask(c, node)
        node.accept(offer)
        node.say(offer, "abc")
        node.done(offer, item=(node.next_item + shift) % 2**64)
        closed(m, node, "item")
        s = join()
        assert s.error and not s.done
    # the honest receipt, sent again on the next connection, is paid: the client had all of it
    node = actors(m)[1]
    node.done(offer, again=True)
    node.checkpoint()
    node.wait("ack")
    assert paid(c, s.job_id) == offer.receipt()["amount"] and c.job(s.job_id)["status"] == "done"


@case
def checkpoints_that_do_not_fit(m):
    for what, changes, words in (("number", {"number": 10**6}, ["checkpoint"]), ("first", {"first": 10**6}, ["checkpoint"]),
                                 ("count", {"count": 2}, ["cover"]), ("root", {"root": bytes(32)}, ["cover"]), ("kind", {"kind": 1}, ["kind"]),
                                 ("signer", {"signer": bytes(20)}, ["between"]), ("peer", {"peer": bytes(20)}, ["between"]),
                                 ("signature", None, ["signature"])):
        c, node = actors(m)
        join, offer = ask(c, node)
        node.accept(offer)
        node.say(offer, "abc")
        node.done(offer)
        s = join()
        assert s.done
        if changes is None:
            own, node.key = node.key, eth.Key()
            node.checkpoint(signer=own.address)
            node.key = own
        else:
            node.checkpoint(**changes)
        closed(m, node, *words)
        # made good on the next connection: the same receipt, sent again, and a checkpoint that covers it
        node = actors(m)[1]
        assert node.next_item == node.welcome["receipts_have"]
        node.done(offer, offer_receipt(c, offer), again=True)
        node.checkpoint()
        node.wait("ack")
        assert paid(c, s.job_id) == offer.receipt()["amount"], what


def offer_receipt(c, offer):
    """The receipt as the gateway keeps it."""
    for job in c.jobs():
        segment = c.receipt(job["id"])["segments"][0]
        if eth.from_json("Terms", segment["terms"]) == offer.terms:
            return eth.from_json("Receipt", segment["receipt"])
    raise AssertionError("the receipt is lost")


@case
def another_receipt_for_the_same_place(m):
    """After a reconnect a node names another receipt at a number that was used for a refused one: no harm to anybody."""
    c, node = actors(m)
    join, offer = ask(c, node)
    node.accept(offer)
    node.say(offer, "abc")
    node.done(offer, offer.receipt(outTokens=2))
    s = join()
    assert s.error
    node = actors(m)[1]
    node.done(offer, offer.receipt(outTokens=1, output=link.output_digest(offer.prompt_digest, 7, offer.ids[:1]), finish=4), again=True)
    node.checkpoint()
    eventually("the gateway has judged it", lambda: m.client.get("/health").status == 200 and node.wait("ack"))
    assert paid(c, s.job_id) == 0, "its ticket was void"
    join, offer = ask(c, node)
    node.serve(offer, "fine")
    assert join().text == "fine"


@case
def receipts_of_others_sent_again(m):
    """A receipt sent again must be of this node, this gateway and a ticket that is still open."""
    c, node = actors(m)
    join, offer = ask(c, node)
    node.serve(offer, "paid")
    s = join()
    assert s.done
    amount = offer.receipt()["amount"]
    # paid already, by another receipt
    node.done(offer, offer.receipt(inTokens=100), again=True)
    node.checkpoint()
    node.wait("ack")
    assert paid(c, s.job_id) == amount
    # a ticket that was never issued
    forged = link.Offer(offer.values | {"terms": eth.encode("Terms", offer.terms | {"linkSeq": 10**6, "jobId": os.urandom(32)})})
    node.done(forged, again=True)
    # the same ticket with better prices
    forged = link.Offer(offer.values | {"terms": eth.encode("Terms", offer.terms | {"priceOut": 10**9})})
    forged.ids = offer.ids
    node.done(forged, again=True)
    node.checkpoint()
    node.wait("ack")
    assert paid(c, s.job_id) == amount
    for changes in ({"node": os.urandom(20)}, {"gateway": os.urandom(20)}):
        forged = link.Offer(offer.values | {"terms": eth.encode("Terms", offer.terms | changes)})
        node.done(forged, again=True)
        closed(m, node, "belongs elsewhere")
        node = actors(m)[1]
    assert paid(c, s.job_id) == amount


# ---- dying and silence -------------------------------------------------------------------------------------------------------

@case
def dies_in_mid_stream(m):
    """The client gets an error event; a receipt that comes later may cover what was relayed, and nothing beyond it."""
    for claim, fits in ((5, False), (2, True)):
        c, node = actors(m)
        join, offer = ask(c, node)
        node.accept(offer)
        node.say(offer, "abcdef")
        join.got("abcdef")
        node.ws.sock.shutdown(socket.SHUT_RDWR)
        s = join()
        assert s.text == "abcdef" and s.error["code"] == "peer" and not s.done, s.error
        assert paid(c, s.job_id) == 0
        node = actors(m)[1]
        offer.ids = (offer.ids * 3)[:claim]
        node.done(offer, offer.receipt(finish=4), again=True)
        node.checkpoint()
        node.wait("ack")
        assert paid(c, s.job_id) == (offer.receipt()["amount"] if fits else 0), (claim, paid(c, s.job_id))


@case
def connects_twice_and_claims_more(m):
    """A second connection while the first is still there: a job of the first is over, and a claim for it is bounded by what was relayed."""
    c, node = actors(m)
    join, offer = ask(c, node)
    node.accept(offer)
    node.say(offer, "abc")
    join.got("abc")
    first = node.ws  # stays open, and never answers the close
    node.ws = None
    node.connect()
    offer.ids = offer.ids * 300
    node.done(offer, offer.receipt(), again=True)
    node.checkpoint()
    s = join()
    assert s.text == "abc" and s.error and not s.done, s.error
    first.close()
    assert paid(c, s.job_id) <= 7 * offer.terms["priceIn"] + offer.terms["priceOut"], "charged for more than was relayed"


@case
def rejects_and_fails(m):
    c, node = actors(m)
    for frame in ({"name": "reject", "reason": 1, "text": b"busy"}, {"name": "reject", "reason": 8}, {"name": "reject", "reason": 999}):
        def run():
            r = background(lambda: c.chat("x", model="python"))
            offer = node.offer()
            node.send(frame["name"], job=offer.job, reason=frame["reason"], text=frame.get("text", b""))
            return r()
        r = nothing_charged(c, run)
        assert r.status == 503 and r.error["code"] == "no_node_available", r
    r = background(lambda: c.chat("x", model="python"))
    node.send("reject", job=node.offer().job, reason=7, text=b"longer than this model reads")
    r = r()
    assert r.status == 400 and "longer than this model reads" in r.error["message"] and r.error["param"] == "messages", r
    r = background(lambda: c.chat("x", model="python", logit_bias={"70000": 1}))
    node.send("reject", job=node.offer().job, reason=7, param=b"logit_bias", text=b"'logit_bias' names token 70000")
    r = r()
    assert r.status == 400 and r.error["param"] == "logit_bias" and "70000" in r.error["message"], r

    def fail_in_the_middle():
        join, offer = ask(c, node)
        node.accept(offer)
        node.say(offer, "abc")
        node.send("error", has_job=1, job=offer.job, code=-31, text=b"engine died")
        return join()
    s = nothing_charged(c, fail_in_the_middle)
    assert s.text == "abc" and s.error["code"] == "peer" and not s.done


@case
def what_the_ticket_binds(m):
    """The pairs are those that the settings name, the settings those of the terms, and the receipt shows both."""
    c, node = actors(m)
    asked = {"temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "presence_penalty": -0.5, "frequency_penalty": 2, "repetition_penalty": 1.1,
             "logit_bias": {"9": 0.5, "10": -100, "2": 0, "1": 100}, "stop": ["one", "\n"], "seed": 3}
    for fields, settings, bias, judge, contract, replay in (
        (asked, [700, 40, 900000, 50000, -500, 2000, 1100, 0], [(1, 100000), (9, 500), (10, -100000)], "replay",
         ["temperature", "top_k", "min_p", "logit_bias"], ["top_p", "presence_penalty", "frequency_penalty", "repetition_penalty"]),
        ({"repetition_penalty": 1, "logit_bias": {"5": 0}}, [1000, 0, 1000000, 0, 0, 0, 0, 0], [], "contract", ["temperature"], []),
        ({"temperature": 0, "top_p": 0.5, "logit_bias": {"7": 1}}, [0, 0, 500000, 0, 0, 0, 0, 0], [(7, 1000)], "contract", ["greedy", "logit_bias"], []),
    ):
        join, offer = ask(c, node, **fields)
        pairs = b"".join(struct.pack(">Ii", *pair) for pair in bias)
        digest = eth.keccak(b"assay/bias/1" + pairs) if pairs else bytes(32)
        stops = [s.encode() for s in fields.get("stop", [])]
        assert offer.values["bias"] == pairs, offer.values
        assert offer.values["settings"] == struct.pack(">IIIIiiII", *settings) + digest, (fields, offer.values["settings"].hex())
        assert offer.values["stops"] == stops
        bound = struct.pack(">I", 64) + offer.values["settings"] + offer.values["seed"] + struct.pack(">I", len(stops))
        bound += b"".join(struct.pack(">I", len(s)) + s for s in stops)
        assert offer.terms["sampling"] == eth.keccak(b"assay/settings/1" + bound)
        node.serve(offer, "abc")
        job_id = join().job_id
        [segment] = c.receipt(job_id)["segments"]
        assert segment["sampling"] == {"settings": "0x" + offer.values["settings"].hex(), "seed": "0x" + offer.values["seed"].hex(),
                                       "stops": fields.get("stop", []), "judge": judge, "contract": contract, "replay": replay}, segment
    # what never ran has none
    r = background(lambda: c.chat("x", model="python"))
    offer = node.offer()
    node.send("reject", job=offer.job, reason=7, text=b"no")
    assert r().status == 400
    [segment] = c.receipt("0x" + offer.terms["jobId"].hex())["segments"]
    assert segment["status"] == "failed" and segment["sampling"] is None, segment


@case
def another_node_takes_over_before_the_first_token(m):
    """A reject or a death before the first token is not the client's affair while there is another node."""
    node = m.join(m.node(link.model("echo", digest=echo_digest(m), price_in=1, price_cached=1, price_out=1), slots=4), "echo")
    eventually("the gateway offers both", lambda: len([n for n in m.client.get("/v1/nodes").json["data"] if n["ready"]]) >= 2)
    c = actors(m)[0]
    mine = {"order": [address_text(m, node)]}
    for end in ("reject", "error", "close"):
        r = background(lambda: c.chat("taken over", provider=mine))
        offer = node.offer()
        if end == "reject":
            node.send("reject", job=offer.job, reason=1)
        else:
            node.accept(offer)
            if end == "error":
                node.send("error", has_job=1, job=offer.job, code=-31)
            else:
                node.ws.sock.shutdown(socket.SHUT_RDWR)
        r = r()
        assert r.status == 200 and r.json["choices"][0]["message"]["content"] == "taken over", (end, r)
        segments = c.get(f"/v1/jobs/{r.headers['x-assay-job-id']}").json["data"]
        assert [(s["segment"], s["status"]) for s in segments] == [(0, "failed"), (1, "done")], segments


def echo_digest(m):
    return bytes.fromhex(m.client.get("/v1/nodes").json["data"][-1]["models"][0]["digest"][2:])


def address_text(m, node):
    [name] = [n["address"] for n in m.client.get("/v1/nodes").json["data"] if n["address"].lower() == "0x" + node.key.address.hex()]
    return name


_expiring = []  # jobs that must have failed, without pay, once their tickets have ended


@case
def client_leaves(m):
    """The node is told within milliseconds to keep what was relayed; a receipt over more is refused."""
    for lie in (False, True):
        c, node = actors(m)
        s = background(lambda: c.stream("x", model="python", max_tokens=1000).upto(6))
        offer = node.offer()
        node.accept(offer)
        node.say(offer, "abcdef")
        s = s()
        s.hang_up()
        cancel = node.wait("cancel")
        assert cancel["job"] == offer.job and cancel["keep"] <= 2 and cancel["reason"] == 1, cancel
        node.say(offer, "was already on its way")
        offer.ids = offer.ids[:len(offer.ids) if lie else cancel["keep"]]
        node.done(offer, offer.receipt(finish=3))
        node.checkpoint()
        node.wait("ack")
        assert paid(c, s.job_id) == (0 if lie else offer.receipt()["amount"])
        if lie:
            _expiring.append(s.job_id)  # an honest receipt might still come
        else:
            assert c.job(s.job_id)["finish"] == "cancelled"


@case
def silence(m):
    """A job is offered and never answered, another falls silent in mid-stream, of a third the receipt is never signed: clients are told,
    nobody is charged in the end, and the money comes free when the tickets end."""
    c, node = actors(m)
    unsigned, offer = ask(c, node)
    node.accept(offer)
    node.say(offer, "abc")
    node.done(offer)
    s = unsigned()
    assert s.done and paid(c, s.job_id) == offer.receipt()["amount"]
    _expiring.append(s.job_id)
    unanswered = background(lambda: c.chat("anybody there?", model="python"))
    node.offer()
    _expiring.append(c.jobs()[0]["id"])
    stalled, offer = ask(c, node)
    node.accept(offer)
    node.say(offer, "abc")
    r = unanswered()
    assert r.status == 504 and r.error["code"] == "timeout", r
    s = stalled()
    assert s.text == "abc" and s.error["code"] == "timeout" and not s.done, s.error
    assert {node.wait("cancel")["reason"], node.wait("cancel")["reason"]} == {2}
    _expiring.append(s.job_id)
    for job_id in _expiring:
        eventually("the ticket has expired", lambda job_id=job_id: c.job(job_id)["status"] == "failed", 40)
        assert paid(c, job_id) == 0
    assert pico(c.credit()["reserved"]) == 0


@case
def silent_after_the_connection(m):
    """Who does not greet is sent away after ten seconds, which pass while the other cases run."""
    try:
        while True:
            _mute[0].recv()
    except link.Closed as e:
        assert "hello" in e.reason, e.reason


@case
def the_books_agree_after_all_that(m):
    m.settled(m.client, actors(m)[0])
    _, ledger = books.audit(m)
    assert ledger.everything_is_settled()


@case
def all_others_were_not_disturbed(m):
    assert m.client.chat("still here").json["choices"][0]["message"]["content"] == "still here"
    assert m.metric("jobs_inflight") == 0
    assert pico(m.client.credit()["reserved"]) == 0
    assert [pid for pid in m.children("gateway")] == [m.info["pids"]["gateway"]], "the gateway was never restarted"


main(lambda: Market("--model", "echo", "--ticket-life", "10s"))
