"""A real model: answers come from it, seeds repeat them, and its worker may die. The cases of test_model and test_model_llama."""
import glob

from lib import *

if not glob.glob(os.path.join(ROOT, ".deps/models/*.gguf")):
    skip("the model is missing: tools/setup run")
if not os.path.exists(os.path.join(os.path.dirname(os.path.realpath(ASSAY)), "../lib/assay-llama.so")):
    skip("this build has no llama.cpp plugin")

MODEL = "smollm2-135m-instruct"
EXPECTED = []  # tier, and how the engine's name begins
FRANCE = "What is the capital of France? Answer in one word."


def say(m, text, **fields):
    r = m.client.chat(text, model=MODEL, **{"max_tokens": 24, **fields})
    assert r.status == 200, r
    return r.json["choices"][0]["message"]["content"]


@case
def it_knows_something(m):
    assert "Paris" in say(m, FRANCE, temperature=0)
    assert "4" in say(m, "What is 2 + 2? Answer with a number only.", temperature=0)


@case
def the_conversation_counts(m):
    messages = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "My name is Grizelda."},
                {"role": "assistant", "content": "Nice to meet you, Grizelda!"}, {"role": "user", "content": "What is my name?"}]
    r = m.client.post("/v1/chat/completions", {"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": 24})
    assert r.status == 200 and "Grizelda" in r.json["choices"][0]["message"]["content"], r


@case
def temperature_zero_is_deterministic(m):
    texts = {say(m, "Tell me about the sea.", temperature=0, seed=i) for i in range(3)}
    assert len(texts) == 1 and len(texts.pop()) > 30


@case
def seeds(m):
    ask = "Write the first line of a story about a dog."
    first = say(m, ask, temperature=1, seed=1)
    assert first == say(m, ask, temperature=1, seed=1), "the same seed gives the same answer"
    assert len({first, *(say(m, ask, temperature=1, seed=s) for s in (2, 3, -4))}) >= 3, "different seeds differ"
    assert len({say(m, ask, temperature=1) for _ in range(3)}) >= 2, "without a seed every job is another"
    s = m.client.stream(ask, model=MODEL, max_tokens=24, temperature=1, seed=1).read()
    assert s.text == first, "streamed or not is the same answer"


@case
def limits(m):
    r = m.client.chat("Count from one to one hundred.", model=MODEL, temperature=0, max_tokens=5)
    assert r.json["choices"][0]["finish_reason"] == "length" and r.json["usage"]["completion_tokens"] == 5, r
    whole = say(m, "Count from one to ten in words.", temperature=0, max_tokens=40)
    word = whole.split()[3]
    assert say(m, "Count from one to ten in words.", temperature=0, max_tokens=40, stop=word) == whole[:whole.index(word)]
    r = m.client.chat("word " * 5000, model=MODEL)
    assert r.status == 400 and r.error, r
    assert m.client.chat("x", model=MODEL, max_tokens=100_000).status == 400


@case
def the_receipt_is_of_the_model(m):
    r = m.client.chat("Hi!", model=MODEL, max_tokens=8)
    c = m.client
    segment = eventually("the receipt is signed", lambda: (s := c.receipt(r.headers["x-assay-job-id"])["segments"][0])["checkpoint"] and s)
    terms = eth.from_json("Terms", segment["terms"])
    [model] = [x for x in c.get("/v1/nodes").json["data"][0]["models"] if x["name"] == MODEL]
    assert "0x" + terms["model"].hex() == model["digest"]
    tier, engine = EXPECTED
    assert terms["tier"] == tier and model["engine"].startswith(engine), (terms["tier"], model)
    assert segment["receipt"]["inTokens"] == r.json["usage"]["prompt_tokens"]


@case
def four_at_once(m):
    topics = ["rivers", "mountains", "bread", "the moon"]
    streams = at_once(4, lambda i: m.client.stream(f"Tell me about {topics[i]}.", model=MODEL, max_tokens=40, temperature=0,
                                                   stream_options={"include_usage": True}).read())
    for s in streams:
        assert s.done and len(s.text) > 40 and 0 < s.usage["completion_tokens"] <= 40, s.text
    assert len({s.text for s in streams}) == 4
    more = at_once(8, lambda i: say(m, f"Say something about {topics[i % 4]}.", temperature=0))  # more than there are slots: they wait
    assert all(more)


@case
def the_worker_is_killed(m):
    """In the middle of an answer: a clean error, nothing charged, the node stays up, the next request is served."""
    node = m.child("node")

    def worker():
        return [pid for pid, argv in children(node) if "engine-worker" in argv]

    before = m.client.spent()
    for streaming in (True, False):
        [old] = eventually("the worker runs", worker)
        if streaming:
            s = m.client.stream("Write a very long story about a king.", model=MODEL, max_tokens=800).upto(20)
            os.kill(old, signal.SIGKILL)
            s.read()
            assert s.error and s.error["code"] == "peer" and not s.done, s.error
            job = m.client.ended(s.job_id)
            assert job["status"] == "failed", job
        else:
            started = m.metric("tokens_out_total")
            ask = background(lambda: m.client.chat("Write a very long story about a queen.", model=MODEL, max_tokens=800))
            eventually("it runs", lambda: m.metric("tokens_out_total") > started)
            os.kill(old, signal.SIGKILL)
            r = ask()
            assert r.status in (502, 503) and r.error, r
        eventually("another worker runs", lambda old=old: worker() and worker() != [old])
        m.up()
    assert m.client.spent() == before and m.child("node") == node, "the node itself went on"
    r = eventually("it answers again", lambda: (r := m.client.chat(FRANCE, model=MODEL, temperature=0, max_tokens=16)).status == 200 and r, 60)
    assert "Paris" in r.json["choices"][0]["message"]["content"]


@case
def what_a_requester_asked_before_is_cached(m):
    """The exact engine: a prompt that begins like an earlier one of the same requester costs the cached price, and gets the same answer."""
    if EXPECTED[1] != "exact/1":
        return
    other = m.account("5")
    text = "Here is a list of words: " + "stone river tree " * 60 + "Which word comes first?"

    def ask(client):
        r = client.chat(text, model=MODEL, temperature=0, max_tokens=12)
        assert r.status == 200, r
        return r.json["choices"][0]["message"]["content"], r.json["usage"]["prompt_tokens_details"]["cached_tokens"], r.json["usage"]["prompt_tokens"]

    first, cached, total = ask(m.client)
    assert cached < total / 2, (cached, total)
    again, cached, total = ask(m.client)
    assert again == first and cached == total - 1, (again, first, cached, total)
    stranger, cached, total = ask(other)
    assert stranger == first and cached == 0, "another requester's prompts are not shared"


def run(engine, *expected):
    EXPECTED[:] = expected
    main(lambda: Market("--model", MODEL, "--engine", engine))
