"""The surface of the API with the echo engine: every field, every route, every error's envelope."""
# timeout: 180
from lib import *


@case
def one_answer(m):
    r = m.client.chat("Hello, world", user="me")
    assert r.status == 200, r
    a = r.json
    job_id = r.headers["x-assay-job-id"]
    assert set(a) == {"id", "object", "created", "model", "choices", "usage", "assay"}, a
    assert a["object"] == "chat.completion" and a["model"] == "echo" and a["id"] == "chatcmpl-" + job_id[2:34], a
    assert abs(a["created"] - time.time()) < 60
    assert a["choices"] == [{"index": 0, "message": {"role": "assistant", "content": "Hello, world", "refusal": None}, "logprobs": None,
                             "finish_reason": "stop"}], a["choices"]
    tokens = len("Hello, world") // 3 + 1  # and the end token
    assert a["usage"]["completion_tokens"] == tokens, a["usage"]
    assert a["usage"]["prompt_tokens"] > 0
    assert a["usage"]["total_tokens"] == a["usage"]["prompt_tokens"] + tokens
    assert len(r.headers["x-request-id"]) == 32 and len(job_id) == 66
    assert r.headers["content-type"] == "application/json"
    assert r.headers["x-request-id"] != m.client.chat().headers["x-request-id"]


@case
def streamed_and_whole_are_equal(m):
    for text in ("a", "Hello", "grüße, 世界 🎈 ok", "line\nline\ttab \"quote\" \\ \u0001 \u2028 end", "x" * 2500):
        whole = m.client.chat(text).json
        s = m.client.stream(text, stream_options={"include_usage": True}).read()
        assert s.done and s.text == text == whole["choices"][0]["message"]["content"], (s.text, text)
        assert s.finish == whole["choices"][0]["finish_reason"] == "stop"
        assert s.usage == whole["usage"], (s.usage, whole["usage"])
        assert {c["id"] for c in s.chunks} == {"chatcmpl-" + s.job_id[2:34]}
        assert {c["object"] for c in s.chunks} == {"chat.completion.chunk"}
        assert s.chunks[0]["choices"][0]["delta"]["role"] == "assistant"
        assert s.chunks[-1]["choices"] == [] and all(c["usage"] is None for c in s.chunks[:-1])
    s = m.client.stream("no usage").read()
    assert s.usage is None and all("usage" not in c for c in s.chunks), s.chunks
    assert s.response.headers["content-type"].startswith("text/event-stream")
    assert s.request_id and s.job_id


@case
def content_and_roles(m):
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": ""}, {"type": "text", "text": "two"}]
    messages = [{"role": "system", "content": "You echo."}, {"role": "developer", "content": "Really."},
                {"role": "user", "content": "first"}, {"role": "assistant", "content": "answer", "refusal": None, "tool_calls": []},
                {"role": "user", "content": parts}]
    r = m.client.post("/v1/chat/completions", {"model": "echo", "messages": messages})
    assert r.status == 200 and r.json["choices"][0]["message"]["content"] == "one two", r
    short = m.client.chat("one two").json["usage"]
    assert r.json["usage"]["prompt_tokens"] > short["prompt_tokens"] and r.json["usage"]["completion_tokens"] == short["completion_tokens"]


@case
def max_tokens_cuts(m):
    for field in ("max_tokens", "max_completion_tokens"):
        r = m.client.chat("abcdefghijkl", **{field: 2})
        assert r.status == 200, r
        assert r.json["choices"][0]["message"]["content"] == "abcdef" and r.json["choices"][0]["finish_reason"] == "length", r
        assert r.json["usage"]["completion_tokens"] == 2
    s = m.client.stream("abcdefghijkl", max_tokens=3).read()
    assert s.text == "abcdefghi" and s.finish == "length" and s.done
    assert m.client.chat("abc", max_tokens=5, max_completion_tokens=5).status == 200
    r = m.client.chat("abc", max_tokens=5, max_completion_tokens=6)
    assert r.status == 400 and r.error["param"] == "max_tokens", r


@case
def stop_strings(m):
    for stop, want in (("l", "he"), (["xyz", "lo w"], "hel"), ("hello world and", ""), (["nope"], "hello world and more")):
        r = m.client.chat("hello world and more", stop=stop)
        assert r.status == 200 and r.json["choices"][0]["message"]["content"] == want, (stop, r)
        assert r.json["choices"][0]["finish_reason"] == "stop"
        s = m.client.stream("hello world and more", stop=stop).read()
        assert s.text == want and s.finish == "stop" and s.done, (stop, s.text)


@case
def fields_that_ask_for_nothing(m):
    nothing = {"n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "logprobs": False, "logit_bias": {}, "tools": [], "tool_choice": "none",
               "parallel_tool_calls": True, "response_format": {"type": "text"}, "service_tier": "auto", "store": False, "metadata": {},
               "stop": None, "seed": None, "user": None, "max_tokens": None, "temperature": None, "top_p": None, "stream": False,
               "stream_options": None, "modalities": ["text"], "audio": None}
    r = m.client.chat("all of it", **nothing)
    assert r.status == 200 and r.json["choices"][0]["message"]["content"] == "all of it", r
    r = m.client.chat("sampled", temperature=0.7, top_p=0.9, top_k=40, min_p=0.05, presence_penalty=-0.5, frequency_penalty=0.25,
                      repetition_penalty=1.1, logit_bias={"5": -100, "1048575": 100, "7": 0}, seed=-5, stop=[], provider={"sort": "price", "order": [m.info["nodes"][0]]})
    assert r.status == 200, r


@case
def fields_that_are_refused(m):
    """Each is named in a 400, and nothing is started for it."""
    before = len(m.client.jobs())
    user = [{"role": "user", "content": "x"}]
    cases = [  # fields, param of the error
        ({"n": 2}, "n"), ({"n": "1"}, "n"), ({"frobnicate": 1}, "frobnicate"), ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"), ({"logprobs": True}, "logprobs"),
        ({"presence_penalty": 2.5}, "presence_penalty"), ({"presence_penalty": "0"}, "presence_penalty"),
        ({"frequency_penalty": -2.001}, "frequency_penalty"), ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"repetition_penalty": 2.01}, "repetition_penalty"), ({"top_k": -1}, "top_k"), ({"top_k": 0.5}, "top_k"), ({"min_p": 1.1}, "min_p"),
        ({"logit_bias": []}, "logit_bias"), ({"logit_bias": {str(i): 1 for i in range(301)}}, "logit_bias"),
        ({"logit_bias": {"dog": 1}}, "logit_bias.dog"), ({"logit_bias": {"-1": 1}}, "logit_bias.-1"), ({"logit_bias": {"01": 1}}, "logit_bias.01"),
        ({"logit_bias": {"7": 101}}, "logit_bias.7"), ({"logit_bias": {"7": "1"}}, "logit_bias.7"), ({"logit_bias": {"7": None}}, "logit_bias.7"),
        ({"temperature": 2.5}, "temperature"), ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"), ({"top_p": 0}, "top_p"), ({"top_p": 1.5}, "top_p"), ({"seed": 1.5}, "seed"),
        ({"seed": 2**63}, None), ({"max_tokens": 0}, "max_tokens"), ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 10**12}, "max_tokens"), ({"max_tokens": 32769}, "max_tokens"), ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"), ({"stop": ""}, "stop"), ({"stop": ["x" * 257]}, "stop[0]"), ({"stop": 3}, "stop"),
        ({"stream": "yes"}, "stream"), ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x"), ({"user": "u" * 257}, "user"), ({"user": 5}, "user"),
        ({"model": 7}, "model"), ({"model": ""}, "model"), ({"model": None}, "model"), ({"messages": None}, "messages"),
        ({"messages": []}, "messages"), ({"messages": {}}, "messages"), ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"), ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": user + [{"role": "user", "content": 5}]}, "messages[1].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": "x", "name": "bob"}]}, "messages[0].name"),
        ({"messages": [{"role": "user", "content": "x", "zebra": 1}]}, "messages[0].zebra"),
        ({"messages": user * 257}, "messages"),
        ({"provider": {"sort": "beauty"}}, "provider.sort"), ({"provider": {"zebra": 1}}, "provider.zebra"),
        ({"provider": {"max_price": {"prompt": "-1"}}}, "provider.max_price.prompt"),
        ({"provider": {"max_price": {"completion": -0.5}}}, "provider.max_price.completion"),
    ]
    for fields, param in cases:
        body = {"model": "echo", "messages": user} | fields
        r = m.client.post("/v1/chat/completions", body)
        assert r.status == 400 and r.error["param"] == param and r.error["type"] == "invalid_request_error", (fields, r)
        assert param is None or param in r.error["message"], (fields, r)
    assert len(m.client.jobs()) == before, "a refused request left a job"


@case
def models(m):
    r = m.client.get("/v1/models")
    assert r.status == 200 and r.json["object"] == "list", r
    [model] = [x for x in r.json["data"] if x["id"] == "echo"]
    assert model["object"] == "model" and isinstance(model["created"], int) and model["owned_by"], model
    one = m.client.get("/v1/models/echo")
    assert one.status == 200 and one.json == model, one
    r = m.client.get("/v1/models/nothing")
    assert r.status == 404 and r.error["code"] == "model_not_found", r
    r = m.client.chat(model="nothing")
    assert r.status == 404 and r.error["code"] == "model_not_found" and r.error["param"] == "model", r


@case
def nodes(m):
    r = m.client.get("/v1/nodes")
    assert r.status == 200, r
    assert {n["address"] for n in r.json["data"]} == set(m.info["nodes"]), r
    for n in r.json["data"]:
        assert n["ready"] and n["link"] > 0 and n["slots"] > 0 and n["running"] == 0, n
        assert [x["name"] for x in n["models"]] == ["echo"] and all(pico(n["models"][0][p]) > 0 for p in ("price_in", "price_out")), n


@case
def jobs_receipts_and_usage(m):
    c = m.account("1")
    assert c.jobs() == [] and c.spent() == 0
    done = [c.chat(f"job {i}", max_tokens=50) for i in range(7)]
    total = 0
    for r in done:
        job = c.job(r.headers["x-assay-job-id"])
        assert job["status"] == "done" and job["finish"] == "stop" and job["request_id"] == r.headers["x-request-id"], job
        assert (job["prompt_tokens"], job["completion_tokens"]) == (r.json["usage"]["prompt_tokens"], r.json["usage"]["completion_tokens"])
        assert job["node"] in m.info["nodes"] and job["model"] == "echo" and job["ended_ms"] >= job["created_ms"] > 0, job
        receipt = c.receipt(r.headers["x-assay-job-id"])["segments"][0]
        terms, signed = eth.from_json("Terms", receipt["terms"]), eth.from_json("Receipt", receipt["receipt"])
        assert signed["amount"] == job["prompt_tokens"] * terms["priceIn"] + job["completion_tokens"] * terms["priceOut"] == pico(job["amount"])
        assert terms["maxOut"] == 50 and terms["requester"] == c.account.address and terms["gateway"] == m.gateway
        total += signed["amount"]
    assert c.spent() == total
    usage = c.get("/v1/usage").json
    assert usage["jobs"] == 7 and pico(usage["spent"]) == total, usage
    assert usage["completion_tokens"] == sum(r.json["usage"]["completion_tokens"] for r in done)
    assert pico(c.credit()["headroom"]) == PICO - total and pico(c.credit()["reserved"]) == 0

    everything = c.jobs()
    assert [j["lane_seq"] for j in everything] == [6, 5, 4, 3, 2, 1, 0]
    assert c.jobs(limit=2) == everything == c.jobs(limit=7) == c.jobs(limit=1)
    assert c.get("/v1/jobs?before=3&limit=2").json["data"] == everything[4:6]
    assert c.get("/v1/jobs?before=0").json["data"] == []
    for query in ("limit=0", "limit=201", "limit=x", "limit=-1", "before=x", "before=-1"):
        r = c.get("/v1/jobs?" + query)
        assert r.status == 400 and r.error["param"] == query.split("=")[0], (query, r)
    # another account sees none of it
    for path in ("/v1/jobs/", "/v1/receipts/"):
        assert m.client.get(path + everything[0]["id"]).status == 404
        for wrong in ("0x" + "0" * 64, "0x12", "chatcmpl-abc", ""):
            r = c.get(path + wrong)
            assert r.status == 404 and r.error, (path, wrong, r)


@case
def the_record_of_a_receipt(m):
    """What a replay needs is there for who asks for it, and fits what was signed."""
    c = m.account("1")
    messages = [{"role": "developer", "content": "Say \"\u00e9\\\n\u0001\""}, {"role": "user", "content": "one two three"}]
    r = c.post("/v1/chat/completions", {"model": "echo", "messages": messages, "logit_bias": {"70000": -1.5, "7": 100}, "stop": "ree"})
    job = r.headers["x-assay-job-id"]
    assert r.json["choices"][0]["message"]["content"] == "one two th", r
    plain = c.get(f"/v1/receipts/{job}").json
    [segment] = c.get(f"/v1/receipts/{job}?record=true").json["segments"]
    record = segment.pop("record")
    assert "record" not in plain["segments"][0] and segment.keys() == plain["segments"][0].keys(), plain
    assert set(record) == {"request", "bias", "prior", "output"} and record["prior"] == [], record
    assert json.loads(record["request"]) == {"messages": [{"content": messages[0]["content"], "role": "system"}, {"content": "one two three", "role": "user"}]}
    assert link.digest_of(b"assay/request/1", record["request"].encode()) == bytes.fromhex(segment["terms"]["request"][2:])
    assert record["bias"] == "0x" + "00000007000186a0" + "00011170fffffa24"
    assert link.digest_of(b"assay/bias/1", bytes.fromhex(record["bias"][2:])).hex() == segment["sampling"]["settings"][-64:]
    assert len(record["output"]) == segment["receipt"]["outTokens"] == 5, record
    assert link.output_digest(bytes.fromhex(segment["promptDigest"][2:]), segment["receipt"]["inTokens"], record["output"]).hex() == segment["receipt"]["output"][2:]
    # a job that no node served has none
    r = c.chat("x" * 3000, max_tokens=1024, provider={"only": ["0x" + "11" * 20]})
    assert r.status == 503, r
    assert c.get(f"/v1/receipts/{job}?record=false").json["segments"][0].keys() == segment.keys()
    for query in ("record=", "record=1", "record=yes", "record=TRUE"):
        r = c.get(f"/v1/receipts/{job}?{query}")
        assert r.status == 400 and r.error["param"] == "record", (query, r)
    assert m.client.get(f"/v1/receipts/{job}?record=true").status == 404, "it is another account's"
    assert m.admin.get(f"/v1/receipts/{job}?record=true").status == 401


@case
def credit(m):
    c = m.client.credit()
    assert c["account"] == m.info["requester"] and c["cap_open"] and c["lane"] > 0 and c["closes_at"] == 0, c
    assert pico(c["funded"]) == pico(c["headroom"]) + pico(c["spent"]) + pico(c["reserved"]), c
    assert c["cap"]["gateway"] == m.info["gateway"] and c["cap"]["requester"] == m.info["requester"]
    locked, spent = m.rpc.view(m.contracts["Vault"], "laneAt(address,uint32)", m.gateway, c["lane"])[:2]
    assert pico(c["funded"]) == locked + spent, "what the gateway says of the lane is what the chain says"


@case
def health_and_metrics(m):
    assert m.client.get("/health").json == {"status": "ok"}
    assert m.client.get("/ready").json == {"status": "ready"}
    r = m.client.get("/metrics")
    assert r.headers["content-type"].startswith("text/plain; version=0.0.4"), r.headers
    lines = r.body.decode().splitlines()
    values = {}
    for line in lines:
        if line.startswith("#"):
            assert line.split()[1] in ("HELP", "TYPE"), line
        else:
            name, value = line.split()
            assert name.startswith("assay_") and name not in values
            values[name] = float(value)
    assert all(f"# TYPE {name} " in r.body.decode() for name in values)
    before = m.metric("jobs_done_total"), m.metric("http_requests_total")
    m.client.chat("counted")
    assert m.metric("jobs_done_total") == before[0] + 1 and m.metric("http_requests_total") > before[1]
    assert m.metric("jobs_inflight") == 0 and m.metric("nodes_connected") == len(m.info["nodes"])


@case
def domain(m):
    d = m.client.get("/v1/domain").json
    assert d["chain_id"] == m.info["chain_id"] and d["contracts"] == m.info["contracts"] and d["gateway"] == m.info["gateway"], d
    assert m.rpc.view(m.contracts["Vault"], "domainSeparator()")[0] == int.from_bytes(m.domain.separator, "big")


@case
def keys(m):
    new = m.issue(bytes.fromhex(m.info["requester"][2:]), "second")
    assert new["object"] == "api_key" and new["key"].startswith("sk-assay-") and len(new["key"]) == 52, new
    second = Client(m.base_url, new["key"])
    assert second.credit()["account"] == m.info["requester"] and second.chat().status == 200
    assert m.admin.request("DELETE", f"/admin/keys/{new['id']}").status == 200
    assert m.admin.request("DELETE", "/admin/keys/999999").status == 404
    for c in (second, Client(m.base_url, "sk-assay-" + "A" * 43), Client(m.base_url, "x"), Client(m.base_url, ""), Client(m.base_url, "y" * 8000)):
        r = c.chat()
        assert r.status == 401 and r.error["code"] == "invalid_api_key" and r.error["type"] == "authentication_error", r
        assert len(r.headers["x-request-id"]) == 32 and "x-assay-job-id" not in r.headers, r
    nobody = Client(m.base_url)
    for path in ("/v1/jobs", "/v1/credit", "/v1/usage", "/v1/receipts/0x" + "0" * 64):
        r = nobody.get(path)
        assert r.status == 401 and r.error["code"] == "invalid_api_key", (path, r)
    assert nobody.request("GET", "/v1/credit", headers={"Authorization": "Basic abc"}).status == 401
    for c in (nobody, m.client, second):  # an API key is no admin token, and the other way round
        assert c.post("/admin/keys", {"account": m.info["requester"]}).status == 401
        assert c.post("/admin/settle", {}).status == 401
    assert m.admin.get("/v1/credit").status == 401
    for body, param in (({}, "account"), ({"account": "0x12"}, "account"), ({"account": m.info["requester"], "x": 1}, "x"),
                        ({"account": m.info["requester"], "label": 5}, "label"), ([], None)):
        r = m.admin.post("/admin/keys", body)
        assert r.status == 400 and r.error["param"] == param, (body, r)


@case
def routes(m):
    for method, path in (("GET", "/"), ("GET", "/v2/models"), ("POST", "/v1/completions"), ("GET", "/v1/chat/completions"),
                         ("PUT", "/v1/models"), ("DELETE", "/v1/jobs"), ("OPTIONS", "/v1/models"), ("POST", "/v1/embeddings"),
                         ("GET", "/v1/settlement/x"), ("GET", "/v1/settlement/99999")):
        r = m.client.request(method, path)
        assert r.status in (404, 405) and r.error and len(r.headers["x-request-id"]) == 32, (method, path, r)
    assert m.admin.get("/admin/nothing").status == 404
    head = m.client.request("HEAD", "/v1/models")
    assert head.status == 200 and head.body == b"", head


@case
def settlement_is_shown_to_its_owner(m):
    c = m.account("1")
    job = c.chat("settle me").headers["x-assay-job-id"]
    m.admin.post("/admin/settle", {})
    place = eventually("the job is settled", lambda: (s := c.receipt(job)["segments"][0]["settlement"]) and s["confirmed"] and s)
    number, lane = place["number"], place["entry"]["lane"]
    batch = Client(m.base_url).get(f"/v1/settlement/{number}")
    assert batch.status == 200 and batch.json["root"] == place["root"] and batch.json["state"] in ("confirmed", "final"), batch
    path = f"/v1/settlement/{number}/lanes/{lane}"
    for who in (c, m.admin):
        r = who.get(path)
        assert r.status == 200 and r.json["leaves"][0]["laneSeq"] == 0 and r.json["root"] == place["root"], r
    for who in (m.client, Client(m.base_url)):
        assert who.get(path).status == 401
    assert c.get(f"/v1/settlement/{number + 1000}/lanes/{lane}").status == 404
    assert m.admin.get(f"/v1/settlement/{number}/lanes/9999").status == 404


main(lambda: Market("--model", "echo", "--nodes", "2", "--slots", "8"))
