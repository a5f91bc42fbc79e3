"""The official OpenAI client for Python against a market: what it expects of the API is what the gateway does."""
# timeout: 180
from lib import *

try:
    import openai
except ImportError:
    skip("the openai package for Python is missing: tools/setup check")


def client(m, key=None):
    return openai.OpenAI(base_url=m.base_url, api_key=key or m.info["api_key"], max_retries=0, timeout=40 * PATIENCE)


def refused(kind, call):
    try:
        call()
    except openai.APIStatusError as e:
        assert type(e) is kind, repr(e)
        assert e.request_id is None or len(e.request_id) == 32
        return e
    raise AssertionError(f"no {kind.__name__}")


SAY = [{"role": "user", "content": "Hello, open market"}]


@case
def chat(m):
    a = client(m).chat.completions.create(model="echo", messages=SAY, max_tokens=100, temperature=0.5, top_p=0.9, seed=7, user="me", stop=["zzz"])
    assert a.choices[0].message.content == "Hello, open market" and a.choices[0].message.role == "assistant"
    assert a.choices[0].finish_reason == "stop" and a.usage.total_tokens == a.usage.prompt_tokens + a.usage.completion_tokens
    assert a.object == "chat.completion" and a.model == "echo" and len(a._request_id) == 32
    assert a.assay["receipt"] if isinstance(a.assay, dict) and "receipt" in a.assay else a.assay, "our own object passes through"


@case
def headers_of_an_answer(m):
    raw = client(m).chat.completions.with_raw_response.create(model="echo", messages=SAY)
    assert len(raw.headers["x-assay-job-id"]) == 66 and raw.parse().choices[0].message.content == "Hello, open market"


@case
def streaming(m):
    text, finish, usage, count = "", None, None, 0
    for chunk in client(m).chat.completions.create(model="echo", messages=SAY, stream=True, stream_options={"include_usage": True}):
        count += 1
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
        usage = chunk.usage or usage
    assert text == "Hello, open market" and finish == "stop" and count >= 3
    assert usage.completion_tokens == len(text) // 3 + 1, usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    chunks = list(client(m).chat.completions.create(model="echo", messages=SAY, stream=True))
    assert all(c.usage is None for c in chunks)


@case
def streaming_helper(m):
    with client(m).chat.completions.stream(model="echo", messages=SAY) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "Hello, open market" and final.choices[0].finish_reason == "stop"


@case
def asynchronous(m):
    import asyncio

    async def ask(c, i):
        stream = await c.chat.completions.create(model="echo", messages=[{"role": "user", "content": f"number {i}"}], stream=True)
        return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

    async def run():
        async with openai.AsyncOpenAI(base_url=m.base_url, api_key=m.info["api_key"], max_retries=0) as c:
            return await asyncio.gather(*(ask(c, i) for i in range(20)))

    assert asyncio.run(run()) == [f"number {i}" for i in range(20)]


@case
def models(m):
    listed = list(client(m).models.list())
    assert "echo" in [x.id for x in listed] and client(m).models.retrieve("echo").id == "echo"
    refused(openai.NotFoundError, lambda: client(m).models.retrieve("nothing"))


@case
def errors(m):
    c = client(m)
    e = refused(openai.AuthenticationError, lambda: client(m, "sk-wrong").chat.completions.create(model="echo", messages=SAY))
    assert e.status_code == 401 and e.code == "invalid_api_key", e
    e = refused(openai.NotFoundError, lambda: c.chat.completions.create(model="gpt-nothing", messages=SAY))
    assert e.status_code == 404 and e.code == "model_not_found" and e.param == "model", e
    e = refused(openai.BadRequestError, lambda: c.chat.completions.create(model="echo", messages=SAY, temperature=9))
    assert e.status_code == 400 and e.param == "temperature" and "temperature" in e.message, e
    e = refused(openai.BadRequestError, lambda: c.chat.completions.create(model="echo", messages=SAY, extra_body={"zebra": 1}))
    assert e.param == "zebra", e
    e = refused(openai.BadRequestError, lambda: c.chat.completions.create(model="echo", messages=SAY, n=2))
    assert e.param == "n", e


@case
def no_headroom(m):
    poor = m.account("0.000010")  # 250 tokens' worth
    e = refused(openai.APIStatusError, lambda: client(m, poor.key).chat.completions.create(model="echo", messages=SAY, max_tokens=1000))
    assert e.status_code == 402 and e.code == "insufficient_credit" and e.type == "insufficient_quota", e
    a = client(m, poor.key).chat.completions.create(model="echo", messages=SAY, max_tokens=20)
    assert a.choices[0].message.content == "Hello, open market", "what still fits is served"
    assert len(poor.jobs()) == 1


@case
def abort_in_mid_stream(m):
    """The node is told at once; the receipt covers what was relayed, and no more."""
    text = "0123456789ab" * 100  # 400 tokens, at 100 a second
    node_jobs = m.client.get("/v1/nodes").json["data"][0]["running"]
    with client(m).chat.completions.with_streaming_response.create(model="echo", messages=[{"role": "user", "content": text}], stream=True,
                                                                   max_tokens=500) as raw:
        job_id = raw.headers["x-assay-job-id"]
        got, seen = raw.iter_lines(), 0
        for line in got:
            if line.startswith("data: {"):
                seen += len((json.loads(line[6:])["choices"] or [{"delta": {}}])[0]["delta"].get("content") or "")
            if seen >= 60:
                break
    job = m.client.ended(job_id)
    assert job["status"] == "done" and job["finish"] == "cancelled", job
    assert seen // 3 <= job["completion_tokens"] < 200, (seen, job)
    receipt = eth.from_json("Receipt", m.client.receipt(job_id)["segments"][0]["receipt"])
    assert receipt["outTokens"] == job["completion_tokens"]
    eventually("the slot is free again", lambda: m.client.get("/v1/nodes").json["data"][0]["running"] == node_jobs)


@case
def no_node(m):
    """A known model whose nodes are all gone: 503, and the market recovers."""
    with m.without_nodes():
        e = refused(openai.InternalServerError, lambda: client(m).chat.completions.create(model="echo", messages=SAY))
        assert e.status_code == 503 and e.code == "no_node_available", e
        assert int(e.response.headers["retry-after"]) > 0
    assert client(m).chat.completions.create(model="echo", messages=SAY).choices[0].message.content == "Hello, open market"


main(lambda: Market("--model", "echo", "--slots", "32", "--echo-rate", "100"))
