"""Bad input from clients: each gets a clear error, nothing is lost, nobody is charged."""
# timeout: 180
from lib import *

SMALL = b'{"model":"echo","messages":[{"role":"user","content":"hi"}]}'


def raw(m, data, end=False):
    """Sends bytes as they are; returns the answer's bytes once the gateway closes, or nothing more comes."""
    with socket.create_connection((m.client.at.hostname, m.client.at.port), timeout=20 * PATIENCE) as s:
        try:
            s.sendall(data)
            if end:
                s.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused before it was read
        out = b""
        try:
            while more := s.recv(65536):
                out += more
        except ConnectionResetError:
            pass
        return out


def head(m, *lines, method="POST", path="/v1/chat/completions", close=True):
    """A request's head, with the API key."""
    own = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {m.info['api_key']}"] + (["Connection: close"] if close else [])
    return "\r\n".join([*own, *lines]).encode() + b"\r\n\r\n"


def statuses(answer):
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


def refused(m, status, data, end=False):
    answer = raw(m, data, end)
    assert statuses(answer) == [status], (data[:200], answer[:400])
    error = json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"], answer
    return error


@case
def json_that_is_none(m):
    for body in (b"", b"{", b"nonsense", b"[1,2", b'{"model":"echo",}', b"{'model':'echo'}", SMALL + b"x", b"\xef\xbb\xbf" + SMALL, b"NaN",
                 b'{"model":"echo","messages":[{"role":"user","content":"a"}],"temperature":01}', SMALL[:-1], SMALL[:20], b"null\0"):
        r = m.client.post("/v1/chat/completions", body)
        assert r.status == 400 and r.error["type"] == "invalid_request_error", (body, r)
    for body in (b"[]", b"3", b'"x"', b"null", b"true"):
        r = m.client.post("/v1/chat/completions", body)
        assert r.status == 400 and "object" in r.error["message"], (body, r)


@case
def deep_json(m):
    for open_, close in ((b"[", b"]"), (b'{"a":', b"}")):
        for depth in (33, 1000, 500_000):
            body = b'{"model":"echo","messages":' + open_ * depth + b"1" + close * depth + b"}"
            r = m.client.post("/v1/chat/completions", body)
            assert r.status == 400 and "deep" in r.error["message"].lower() or r.status == 413, (depth, r)


@case
def duplicate_keys(m):
    r = m.client.post("/v1/chat/completions", b'{"model":"echo","model":"echo","messages":[{"role":"user","content":"hi"}]}')
    assert r.status == 400 and r.error["code"] == "duplicate" and "column 23" in r.error["message"], r
    r = m.client.post("/v1/chat/completions", b'{"model":"echo","messages":[{"role":"user","content":"hi","content":"ho"}]}')
    assert r.status == 400, r
    r = m.client.post("/v1/chat/completions", b'{"model":"echo","mod\\u0065l":"echo","messages":[{"role":"user","content":"hi"}]}')
    assert r.status == 400, r


@case
def text_that_is_no_text(m):
    for content in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"a\0b", b"\\u0000", b"\\ud800", b"\\udc00\\ud800", b"\\x41",
                    b"\x01"):
        r = m.client.post("/v1/chat/completions", SMALL.replace(b"hi", content))
        assert r.status == 400, (content, r)
    r = m.client.post("/v1/chat/completions", SMALL.replace(b"hi", b"\\ud83c\\udf88"))
    assert r.status == 200 and r.json["choices"][0]["message"]["content"] == "\U0001f388", r


@case
def too_large(m):
    r = m.client.chat("x" * (1024 * 1024 + 1))
    assert r.status == 413 and r.error["param"] == "messages", r
    r = m.client.post("/v1/chat/completions", SMALL[:-1] + b" " * (5 * 1024 * 1024) + b"}")
    assert r.status == 413 and r.error, r
    refused(m, 413, head(m, "Content-Length: 99999999999"))
    refused(m, 413, head(m, "Transfer-Encoding: chunked") + b"5fffff0\r\n")
    refused(m, 431, head(m, *(f"x-{i}: {'y' * 1000}" for i in range(20))))
    refused(m, 431, head(m, *(f"x-{i}: 1" for i in range(200))))
    r = m.client.chat("x" * 200_000)  # allowed by the API, too much for the model
    assert r.status in (400, 503) and r.error, r
    assert m.client.chat("still fine").status == 200


@case
def huge_max_tokens(m):
    for n in (10**9, 2**31, 2**32, 2**63 - 1, 1e300):
        r = m.client.chat(max_tokens=n)
        assert r.status == 400 and r.error["param"] == "max_tokens", (n, r)
    for n in (2**63, 2**64, 10**30):  # no integer of ours: told by its place
        r = m.client.chat(max_tokens=n)
        assert r.status == 400 and "number is too large" in r.error["message"], (n, r)
    r = m.client.post("/v1/chat/completions", SMALL[:-1] + b',"max_tokens":1e9999}')
    assert r.status == 400, r
    r = m.client.post("/v1/chat/completions", SMALL[:-1] + b',"max_tokens":' + b"9" * 100_000 + b"}")
    assert r.status == 400, r


@case
def truncated_bodies(m):
    """A client that promises more than it sends, and goes: nothing starts."""
    started = m.metric("jobs_started_total")
    for n in (0, 1, 30, len(SMALL) - 1):
        answer = raw(m, head(m, f"Content-Length: {len(SMALL)}") + SMALL[:n], end=True)
        assert answer == b"" or statuses(answer) == [400], answer
    for cut in (b"", b"5", b"5\r\n", b"5\r\nhe", b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n"):
        answer = raw(m, head(m, "Transfer-Encoding: chunked") + cut, end=True)
        assert answer == b"" or statuses(answer) == [400], (cut, answer)
    assert m.metric("jobs_started_total") == started


@case
def smuggling(m):
    """Every request whose length could be read in two ways is refused, and what follows it is not taken for another."""
    inner = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    chunk = b"%x\r\n" % len(SMALL) + SMALL + b"\r\n0\r\n\r\n"
    n = len(SMALL)
    for lines, body in (
            ((f"Content-Length: {n}", "Transfer-Encoding: chunked"), chunk), (("Transfer-Encoding: chunked", f"Content-Length: {n}"), chunk),
            ((f"Content-Length: {n}", f"Content-Length: {n + 1}"), SMALL), ((f"Content-Length: {n}, {n}",), SMALL),
            ((f"Content-Length: {n}", f"Content-Length: {n}"), SMALL),
            ((f"Content-Length: +{n}",), SMALL), ((f"Content-Length: -{n}",), SMALL), (("Content-Length: 0x10",), SMALL),
            ((f"Content-Length : {n}",), SMALL), ((f"Content-Length: {n}\n",), SMALL), ((f"Content-Length:\t\r\n {n}",), SMALL),
            (("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), chunk), (("Transfer-Encoding: xchunked",), chunk),
            (("Transfer-Encoding: chunked, identity",), chunk), (("Transfer-Encoding : chunked",), chunk),
            (("Transfer-Encoding: chunked",), b"%x;a=\n" % n + SMALL + b"\r\n0\r\n\r\n"),
            (("Transfer-Encoding: chunked",), b"0x%x\r\n" % n + SMALL + b"\r\n0\r\n\r\n"),
            (("Transfer-Encoding: chunked",), b"-1\r\n"), (("Transfer-Encoding: chunked",), b"%x\n" % n + SMALL + b"\n0\n\n"),
            (("Transfer-Encoding: chunked",), b"fffffffffffffffff\r\n"), (("Transfer-Encoding: chunked",), b"2\r\n{}}\r\n0\r\n\r\n")):
        answer = raw(m, head(m, *lines, close=False) + body + inner)
        got = statuses(answer)
        assert len(got) == 1 and got[0] in (400, 413, 501), (lines, got, answer[:300])
        assert b"Connection: close" in answer or b"connection: close" in answer.lower(), answer[:300]
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"GET /health HTTP/1.1\nHost: x\n\n", b"GET /health HTTP/2.0\r\nHost: x\r\n\r\n",
                 b"GET  /health HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /he alth HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
                 b"GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\n folded: 1\r\n\r\n",
                 b"GET /health HTTP/1.1\r\nHost: x\r\nbad header: 1\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\nx: a\0b\r\n\r\n",
                 b"FROB /health HTTP/1.1\r\nHost: x\r\n\r\n", b"get /health HTTP/1.1\r\nHost: x\r\n\r\n"):
        got = statuses(raw(m, data + inner))
        assert len(got) == 1 and got[0] in (400, 404, 405, 501, 505), (data, got)


@case
def pipelined_requests_are_all_answered(m):
    one = head(m, f"Content-Length: {len(SMALL)}", close=False) + SMALL
    last = head(m, method="GET", path="/health")
    assert statuses(raw(m, one + one + last)) == [200, 200, 200]
    pieces = head(m, "Transfer-Encoding: chunked") + b"".join(b"1\r\n%c\r\n" % c for c in SMALL) + b"0\r\nx-trailer: 1\r\n\r\n"
    assert statuses(raw(m, pieces)) == [200]


# ---- caps ------------------------------------------------------------------------------------------------------------------

@case
def caps_that_do_not_fit(m):
    c = m.account("1", nonce=5)
    key, other = c.account, eth.Key()
    now = int(time.time())
    good = m.cap(key, nonce=6)

    def without(field):
        return {"cap": {k: v for k, v in good["cap"].items() if k != field}, "signature": good["signature"]}

    for what, body, status, param in (
            ("another chain", m.cap(key, nonce=6, domain=eth.Domain(1, m.contracts["Vault"])), 400, "signature"),
            ("another vault", m.cap(key, nonce=6, domain=eth.Domain(m.info["chain_id"], m.contracts["Court"])), 400, "signature"),
            ("expired", m.cap(key, nonce=6, deadline=now - 1), 400, "cap.deadline"),
            ("expired long ago", m.cap(key, nonce=6, deadline=0), 400, "cap.deadline"),
            ("another signer", m.cap(key, nonce=6, signer=other), 400, "signature"),
            ("another gateway", m.cap(key, nonce=6, gateway=other.address), 400, "cap.gateway"),
            ("another requester", m.cap(other, nonce=6), 403, "cap.requester"),
            ("models", m.cap(key, nonce=6, models=bytes(31) + b"\1"), 400, "cap.models"),
            ("the same nonce", m.cap(key, nonce=5), 409, "cap.nonce"), ("a lower nonce", m.cap(key, nonce=4), 409, "cap.nonce"),
            ("a changed field", good | {"cap": good["cap"] | {"maxSpend": str(10**18)}}, 400, "signature"),
            ("a short signature", good | {"signature": good["signature"][:-2]}, 400, "signature"),
            ("no hex", good | {"signature": "0x" + "zz" * 65}, 400, "signature"),
            ("a high s", good | {"signature": "0x" + high_s(good["signature"])}, 400, "signature"),
            ("no nonce", without("nonce"), 400, "cap.nonce"), ("no requester", without("requester"), 400, "cap.requester"),
            ("a negative amount", good | {"cap": good["cap"] | {"maxSpend": "-1"}}, 400, "cap.maxSpend"),
            ("an amount too large", good | {"cap": good["cap"] | {"maxSpend": str(2**128)}}, 400, "cap.maxSpend"),
            ("an amount as number", good | {"cap": good["cap"] | {"maxSpend": 5}}, 400, "cap.maxSpend"),
            ("an unknown field", good | {"cap": good["cap"] | {"zebra": 1}}, 400, "cap.zebra"), ("nothing", {}, 400, "cap"),
            ("more", good | {"zebra": 1}, 400, "zebra"), ("an array", [], 400, None)):
        r = c.post("/v1/caps", body)
        assert r.status == status and r.error["param"] == param, (what, r)
    before = c.credit()
    assert before["cap"]["nonce"] == 5 and before["cap_open"], before
    assert Client(m.base_url).post("/v1/caps", good).status == 401
    assert c.chat().status == 200, "the cap in force still works"
    # a new cap takes effect once it is registered, and never before: the nodes would refuse its tickets
    for nonce in (6, 7, 8):
        assert c.post("/v1/caps", m.cap(key, nonce=nonce)).status == 200
        eventually("the new cap is registered", lambda nonce=nonce: (now := c.credit())["cap"]["nonce"] == nonce and now["cap_open"])
        r = c.chat()
        assert r.status == 200, r


def high_s(signature):
    raw = bytes.fromhex(signature[2:])
    return (raw[:32] + (eth.N - int.from_bytes(raw[32:64], "big")).to_bytes(32, "big") + bytes([55 - raw[64]])).hex()


@case
def an_account_without_a_cap_buys_nothing(m):
    c = Client(m.base_url, m.issue(eth.Key().address)["key"])
    r = c.chat()
    assert r.status == 409 and "cap" in r.error["message"], r
    assert c.jobs() == [] and c.credit()["cap"] is None
    assert c.get("/v1/usage").json["jobs"] == 0


@case
def a_cap_bounds_the_price(m):
    """A requester whose cap allows less than any node asks is told so, and pays nothing."""
    c = m.account("1", maxPriceOut=1)
    r = c.chat()
    assert r.status == 503 and r.error["code"] == "no_node_available", r
    assert c.spent() == 0


@case
def fifty_requests_until_the_lane_is_empty(m):
    """Real jobs, whose reservations come free as they end: some pass, and never more than the money allows."""
    probe = m.account("1")
    fields = {"text": "slow " * 9, "max_tokens": 100}
    job = probe.chat(**fields).headers["x-assay-job-id"]
    terms = eth.from_json("Terms", probe.receipt(job)["segments"][0]["terms"])
    worst = terms["maxIn"] * terms["priceIn"] + terms["maxOut"] * terms["priceOut"]
    cost = pico(probe.job(job)["amount"])
    c = m.account(f"{-(-(worst + 5 * cost) // 10**6) / 10**6:.6f}")
    funds = pico(c.credit()["headroom"])

    results = at_once(50, lambda i: c.chat(**fields))
    codes = [r.status for r in results]
    jobs = c.jobs()
    assert set(codes) == {200, 402} and 1 <= codes.count(200) <= (funds - worst) // cost + 1, codes
    for r in results:
        if r.status == 402:
            assert r.error["code"] == "insufficient_credit" and r.error["type"] == "insufficient_quota", r
    assert len(jobs) == codes.count(200) and all(j["status"] == "done" for j in jobs)
    assert c.spent() == codes.count(200) * cost == sum(pico(j["amount"]) for j in jobs) <= funds
    assert pico(c.credit()["reserved"]) == 0


@case
def fifty_requests_at_the_same_moment(m):
    """The same with jobs that all run until every answer has begun: exactly the fitting ones pass."""
    node = m.join(m.node(link.model("held"), slots=64), "held")
    probe = m.account("1")
    first = background(lambda: probe.chat("x", model="held", max_tokens=100))
    offer = node.offer()
    node.serve(offer, "ok")
    assert first().status == 200
    worst = offer.terms["maxIn"] * offer.terms["priceIn"] + offer.terms["maxOut"] * offer.terms["priceOut"]
    units = -(-13 * worst // 10**6)
    assert units * 10**6 < 14 * worst
    c = m.account(f"{units / 10**6:.6f}")
    before = m.metric("http_errors_total")
    everything = background(lambda: at_once(50, lambda i: c.chat("x", model="held", max_tokens=100)))
    offers = [node.offer() for _ in range(13)]
    # no job ends before all fifty have their refusal or their offer
    eventually("37 are refused", lambda: m.metric("http_errors_total") - before == 37)
    assert pico(c.credit()["reserved"]) == 13 * worst
    for offer in offers:
        node.accept(offer)
        node.say(offer, "held answer")
        node.done(offer)
    node.checkpoint()
    results = everything()
    codes = [r.status for r in results]
    assert codes.count(200) == 13 and codes.count(402) == 37, codes
    assert all(r.json["choices"][0]["message"]["content"] == "held answer" for r in results if r.status == 200)
    assert c.spent() == 13 * offers[0].receipt()["amount"] and pico(c.credit()["reserved"]) == 0
    node.close()


@case
def everything_still_works(m):
    r = m.client.chat("after all that")
    assert r.status == 200 and r.json["choices"][0]["message"]["content"] == "after all that"
    assert m.metric("jobs_inflight") == 0 and pico(m.client.credit()["reserved"]) == 0


main(lambda: Market("--model", "echo", "--slots", "64"))
