"""A market is stopped and started again: same keys, accounts, chain and ledger. And every profile works."""
# timeout: 240
import books
from lib import *


def verify(m, receipt):
    path = os.path.join(tempfile.gettempdir(), "receipt.json")
    with open(path, "wb") as f:
        f.write(receipt)
    done = subprocess.run([ASSAY, "verify", path, "--rpc", m.info["rpc_url"], "--vault", m.info["contracts"]["Vault"]], capture_output=True, text=True,
                          timeout=30 * PATIENCE, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def pids(m):
    return [m.info["pids"]["anvil"], m.info["pids"]["gateway"], *m.info["pids"]["nodes"]]


def refused(*args, status=None, words=()):
    done = subprocess.run([ASSAY, "up", "--no-self-test", *args], capture_output=True, text=True, timeout=30 * PATIENCE, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == status if status else done.returncode not in (0, -6, -11), done
    assert all(w in done.stderr for w in words), done.stderr


@case
def goes_on_where_it_stopped(m):
    other = m.account("1")
    answers = [c.chat(f"before {i}") for i, c in enumerate((m.client, other, m.client))]
    m.settled(m.client, other)
    last = m.client.chat("not settled yet")
    receipts = {r.headers["x-assay-job-id"]: c.get(f"/v1/receipts/{r.headers['x-assay-job-id']}").body
                for r, c in zip(answers, (m.client, other, m.client))}
    jobs, credit, other_jobs = m.client.jobs(), m.client.credit(), other.jobs()
    info, running = m.info, pids(m)
    assert not any(gone(pid) for pid in running)

    started = time.monotonic()
    status, more = m.stop(signal.SIGINT)
    assert status == 0 and more == b"", (status, more)
    print(f"stopped after {time.monotonic() - started:.2f} s")
    assert all(gone(pid) for pid in running), "something is left running"

    m.start()
    print(f"ready again after {m.ready_s:.2f} s")
    same = ("api_key", "chain_id", "contracts", "gateway", "requester", "nodes", "model", "base_url")
    assert {k: m.info[k] for k in same} == {k: info[k] for k in same}
    other.at = m.client.at
    assert other.jobs() == other_jobs and m.client.jobs() == jobs
    assert {k: m.client.credit()[k] for k in ("spent", "lane", "cap_hash")} == {k: credit[k] for k in ("spent", "lane", "cap_hash")}
    for job, receipt in receipts.items():
        verify(m, receipt)
        now = (other if job == other_jobs[0]["id"] else m.client).receipt(job)
        assert now["segments"][0]["receipt"] == json.loads(receipt)["segments"][0]["receipt"]
    r = m.client.chat("after")
    assert r.status == 200 and m.client.job(r.headers["x-assay-job-id"])["lane_seq"] == jobs[0]["lane_seq"] + 1
    m.settled(m.client)
    assert m.client.receipt(last.headers["x-assay-job-id"])["segments"][0]["settlement"]["confirmed"]
    chain, _ = books.audit(m)
    assert len(chain.roots) >= 2


@case
def stops_with_jobs_running(m):
    streams = [m.client.stream("x" * 3000, max_tokens=2000).upto(3) for _ in range(5)]
    started = time.monotonic()
    status, _ = m.stop(signal.SIGTERM)
    assert status == 0
    print(f"stopped after {time.monotonic() - started:.2f} s")
    for s in streams:  # finished, or told that it is over
        try:
            s.read()
        except (OSError, http.client.HTTPException):
            raise AssertionError("a stream ended without a word") from None
        assert s.done or s.error, s.text
    m.start()
    for s in streams:
        job = m.client.ended(s.job_id)
        assert job["status"] == "done" or s.error, job
    m.settled(m.client)
    books.audit(m)


@case
def survives_its_own_death(m):
    """`assay up` killed outright: its children end with it, and the next start repairs what the chain's last seconds lost."""
    jobs = [m.client.chat(f"job {i}").headers["x-assay-job-id"] for i in range(3)]
    m.settled(m.client)
    jobs.append(m.client.chat("job 3").headers["x-assay-job-id"])
    running = pids(m)
    m.process.kill()
    m.process.wait()
    eventually("its children end", lambda: all(gone(pid) for pid in running), 20)
    m.start()
    assert [j["id"] for j in m.client.jobs()][:4] == jobs[::-1]
    eventually("the lane is open", lambda: m.client.credit()["cap_open"])
    assert m.client.chat("goes on").status == 200
    m.settled(m.client)
    books.audit(m)


@case
def one_at_a_time(m):
    refused("--data", m.data, "--model", "echo", words=["another"])
    assert m.client.chat().status == 200


@case
def bad_settings(m):
    empty = tempfile.mkdtemp()
    for args, words in ((("--profile", "nothing"), ["nothing", "querais", "decentral", "qvac", "infera"]), (("--profile", "./no/such.ini"), ["such.ini"]),
                        (("--model", "gpt-9"), ["gpt-9"]), (("--nodes", "0"), ["nodes"]), (("--nodes", "x"), ["nodes"]), (("--zebra", "1"), ["zebra"]),
                        (("--ticket-life", "1s"), ["ticket"]), (("--ticket-life", "9h"), ["ticket"]), (("--port", "70000"), ["port"]),
                        (("--chain", "http://127.0.0.1:1"), []), (("--chain", "nonsense"), []), (("stray",), ["stray"])):
        refused("--data", os.path.join(empty, "d"), "--model", "echo", *args, words=words)
    shutil.rmtree(empty)


@case
def another_profile_on_the_same_data(m):
    """The contracts stand with one profile's fees; starting them with another is refused, not ignored."""
    m.stop()
    refused("--data", m.data, "--model", "echo", "--profile", "qvac", words=["profile"])
    m.start()
    assert m.client.chat().status == 200


def works(profile, fee):
    def run(m):
        own = Market("--model", "echo", "--profile", profile, "--batch-interval", "1s")
        try:
            assert own.client.get("/v1/domain").json["profile"] == profile
            for i in range(3):
                assert own.client.chat(f"under {profile} {i}").status == 200
            node = eventually("a node is linked", lambda: own.client.get("/v1/nodes").json["data"][0]["link"])
            own.settled(own.client)
            chain, _ = books.audit(own)
            assert chain.share[node] in fee, chain.share
        finally:
            status, _ = own.stop()
            assert status == 0
    run.__name__ = f"profile_{profile}"
    case(run)


for name, shares in (("querais", (9500,)), ("decentral", (7500, 8500)), ("qvac", (10_000,)), ("infera", (9700,))):
    works(name, shares)

main(lambda: Market("--model", "echo", "--echo-rate", "300"))
