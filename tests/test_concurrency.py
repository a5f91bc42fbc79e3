"""Many at once: two nodes, two accounts, 200 streams; nothing is dropped, reordered or mixed up, and the sums agree."""
# timeout: 180
from lib import *

STREAMS = 200


def text_of(i):
    """A text that no other stream has any piece of: every word names its stream and its place."""
    return " ".join(f"s{i:03d}w{n:03d}" for n in range(40 + i % 50))


def check_books(m, c, done):
    """The account's totals are the sums of its receipts; every stream has its own."""
    jobs = {j["id"]: j for j in c.jobs()}
    assert len(done) == len({s.job_id for s in done}) and set(jobs) == {s.job_id for s in done}
    assert sorted(j["lane_seq"] for j in jobs.values()) == list(range(len(jobs)))
    for s in done:
        job = jobs[s.job_id]
        assert job["status"] == "done" and job["finish"] == "stop"
        assert (job["prompt_tokens"], job["completion_tokens"]) == (s.usage["prompt_tokens"], s.usage["completion_tokens"]), job
    usage = c.get("/v1/usage").json
    assert usage["jobs"] == len(jobs) and usage["completion_tokens"] == sum(s.usage["completion_tokens"] for s in done)
    assert usage["prompt_tokens"] == sum(s.usage["prompt_tokens"] for s in done)
    total = sum(pico(j["amount"]) for j in jobs.values())
    credit = c.credit()
    assert pico(usage["spent"]) == pico(credit["spent"]) == total and pico(credit["reserved"]) == 0
    return total


@case
def two_hundred_streams(m):
    accounts = [m.account("2"), m.account("2")]
    gate = threading.Barrier(STREAMS)

    def run(i):
        gate.wait(60 * PATIENCE)
        return accounts[i % 2].stream(text_of(i), stream_options={"include_usage": True}).read()

    begun = threading.Event()
    most = []

    def watch():
        while not begun.is_set():
            most.append(m.metric("jobs_inflight"))

    watcher = background(watch)
    results = at_once(STREAMS, run)
    begun.set()
    watcher()
    for i, s in enumerate(results):
        assert s.done and s.finish == "stop" and s.error is None
        assert s.text == text_of(i), (i, s.text[:100])
        assert s.usage["completion_tokens"] == -(-len(text_of(i)) // 3) + 1
        assert {c["id"] for c in s.chunks} == {"chatcmpl-" + s.job_id[2:34]}, "a chunk of another stream"
    assert max(most) > 100, f"never more than {max(most)} at once: this tests nothing"
    total = sum(check_books(m, c, results[i::2]) for i, c in enumerate(accounts))

    nodes = m.client.get("/v1/nodes").json["data"]
    assert len(nodes) == 2 and all(n["jobs_done"] > STREAMS // 10 and n["jobs_failed"] == 0 and n["running"] == 0 for n in nodes), nodes
    # every account reads its own jobs only
    for mine, other in (accounts, accounts[::-1]):
        assert not {j["id"] for j in mine.jobs()} & {j["id"] for j in other.jobs()}
    # and the chain says the same
    for c in accounts:
        def settled():
            assert m.admin.post("/admin/settle", {}).status == 200
            lane = m.rpc.view(m.contracts["Vault"], "laneAt(address,uint32)", m.gateway, c.credit()["lane"])
            return lane[1] == c.spent() and lane[2] == STREAMS // 2
        eventually("the lane's total stands on chain", settled)
    links = [m.rpc.view(m.contracts["Vault"], "linkAt(address,uint32)", m.gateway, n["link"])[0] for n in nodes]
    assert sum(links) == total, (links, total)


@case
def slow_and_leaving_readers_do_not_disturb(m):
    """Some read slowly, some leave in the middle, the others get every byte in order."""
    c = m.account("2")
    long_text = "".join(chr(0x4e00 + i % 5000) for i in range(4000))

    def run(i):
        if i % 4 == 0:  # leaves
            s = c.stream(text_of(i) * 20, max_tokens=8000)
            s.upto(100)
            s.hang_up()
            return s
        if i % 4 == 1:  # a long answer whose reader stops for a while: its node is paused, not the others
            s = c.stream(long_text, window=4096, max_tokens=5000, stream_options={"include_usage": True})
            others_done.wait(60 * PATIENCE)
            return s.read()
        s = c.stream(text_of(i), stream_options={"include_usage": True}).read()
        with lock:
            left.append(i)
            if len(left) == 20:
                others_done.set()
        return s

    others_done, lock, left = threading.Event(), threading.Lock(), []
    results = at_once(40, run)
    for i, s in enumerate(results):
        job = c.ended(s.job_id)
        assert job["status"] == "done", job
        if i % 4 == 0:
            assert job["finish"] == "cancelled" or job["completion_tokens"] == -(-len(text_of(i)) * 20 // 3) + 1, job
        else:
            assert s.done and s.text == (long_text if i % 4 == 1 else text_of(i)), i
            assert job["completion_tokens"] == s.usage["completion_tokens"]
    assert pico(c.credit()["reserved"]) == 0 and c.spent() == sum(pico(j["amount"]) for j in c.jobs())


@case
def more_than_there_are_slots(m):
    """400 requests on 240 slots: those that find no slot wait for one, and all are served."""
    c = m.account("2")
    results = at_once(400, lambda i: c.chat(f"number {i}"))
    assert [r.json["choices"][0]["message"]["content"] for r in results] == [f"number {i}" for i in range(400)]
    assert c.get("/v1/usage").json["jobs"] == 400


main(lambda: Market("--model", "echo", "--nodes", "2", "--slots", "120", "--echo-rate", "600", "--echo-first-ms", "1000"))
