"""The commands of the client, as a person or a script uses them: what they print, where, and with which exit status."""
# timeout: 180
import stat

from lib import *

COMMANDS = ("up", "chat", "models", "nodes", "jobs", "job", "receipt", "exact", "verify", "credit", "usage", "wallet", "gateway", "node", "admin")
NO_JOB = "0x" + "0" * 64


class Result:
    def __init__(self, done):
        self.status, self.out, self.err = done.returncode, done.stdout.decode(), done.stderr.decode()

    @property
    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"exit {self.status}\n{self.out}\n{self.err}"


def run(*args, status=0, stdin=b"", **variables):
    """Runs assay with nothing of this process's settings but those given; the exit status must be `status`."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("ASSAY_") or k == "ASSAY_TEST_RUN"}
    done = subprocess.run([ASSAY, *args], input=stdin, capture_output=True, timeout=60 * PATIENCE, check=False,
                          env={**env, "LC_ALL": "C", "TZ": "UTC", **variables})
    r = Result(done)
    assert r.status == status, (args, r)
    if status != 0 and not (args[0] == "verify" and status == 1):  # there the verdict is the output
        assert r.err.startswith("assay"), (args, r)
    return r


def as_client(m, *args, **more):
    return run(*args, ASSAY_BASE_URL=m.base_url, ASSAY_API_KEY=m.client.key, **more)


def as_admin(m, *args, **more):
    return run("admin", "--admin-token-file", m.info["admin_token_file"], "--base-url", m.base_url, *args, **more)


def chat_job(m, text, *args):
    """Asks, and returns the id of the job."""
    r = as_client(m, "chat", "-v", *args, text)
    assert r.out == text + "\n", r
    return r.err.split("\njob ")[1].strip()


def path(m, name, content=None):
    full = os.path.join(m.data, name)
    if content is not None:
        with open(full, "wb") as f:
            f.write(content if isinstance(content, bytes) else content.encode())
    return full


def settled_receipt(m, job):
    """The receipt once its batch is confirmed."""
    as_admin(m, "settle")
    return eventually("the job is settled", lambda: (d := m.client.receipt(job)) and (s := d["segments"][0]["settlement"])
                      and s["confirmed"] and d)


def tampered(document, *keys, by):
    """A copy in which the member below keys is by(old)."""
    copy = json.loads(json.dumps(document))
    at = copy
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = by(at[keys[-1]])
    return json.dumps(copy)


@case
def help_of_everything(m):
    r = run("--help")
    listed = [line.split()[0] for line in r.out.splitlines() if line.startswith("  ")]
    assert sorted(listed) == sorted(COMMANDS), listed
    assert run("help").out == run("-h").out == r.out
    for name in COMMANDS:
        r = run(name, "--help")
        assert f"assay {name}" in r.out and not r.err and len(r.out.splitlines()) > 5, r
    for name in ("new", "show", "sign-cap", "deposit", "withdraw", "balance"):
        assert name in run("wallet", name, "--help").out
    for words in (("models", "convert"), ("models", "report"), ("models", "check"), ("exact", "ppl")):
        assert f"assay {' '.join(words)}" in run(*words, "--help").out


@case
def wrong_command_lines(m):
    """Exit status 2, nothing on standard output, and the word at fault on standard error."""
    done = Result(subprocess.run([ASSAY], capture_output=True, check=False))
    assert done.status == 2 and "usage: assay" in done.err and not done.out, done
    wrong = [(("frobnicate",), "frobnicate")]
    wrong += [((name, "--zebra"), "--zebra") for name in COMMANDS]
    wrong += [((name, "--base-url"), "--base-url") for name in ("chat", "models", "nodes", "jobs", "job", "receipt", "credit", "usage", "admin")]
    wrong += [((name, "surplus"), "surplus") for name in ("up", "gateway", "node", "models", "nodes", "jobs", "credit", "usage")]
    wrong += [
        (("up", "--port", "65536"), "--port"), (("up", "--nodes", "0"), "--nodes"), (("up", "--data"), "--data"),
        (("gateway", "--port", "x"), "--port"), (("gateway",), "data"), (("node",), "data"), (("node", "--slots", "0"), "--slots"),
        (("jobs", "--limit", "0"), "--limit"), (("jobs", "--limit", "201"), "--limit"), (("jobs", "--limit", "x"), "--limit"),
        (("models", "convert"), "GGUF"), (("models", "convert", "a", "b", "--threads", "0"), "--threads"),
        (("models", "convert", "a", "b", "--residual-bits", "25"), "--residual-bits"), (("models", "report", "a"), "GGUF"),
        (("exact",), "assay exact"), (("exact", "ppl"), "--model"), (("exact", "ppl", "--kernel", "x"), "`x`"), (("exact", "zebra"), "zebra"),
        (("job",), "job"), (("job", "0x12"), "job id"), (("job", NO_JOB, NO_JOB), "one job"), (("receipt", "chatcmpl-1"), "job id"),
        (("chat", "--temperature", "hot", "x"), "--temperature"), (("chat", "--seed", "1.5", "x"), "--seed"),
        (("chat", "--max-tokens", "0x10", "x"), "--max-tokens"), (("chat", "--model"), "--model"), (("chat", "-x", "hi"), "-x"),
        (("verify", "--rpc", "http://127.0.0.1:1"), "--vault"), (("verify", "--vault", "0x12"), "--vault"),
        (("verify", "--vault", "0x12", "--chain-id", "1"), "--vault"), (("verify", "a", "b"), "one document"),
        (("verify", "--vault", "0x" + "1" * 40, "--chain-id", "x"), "--chain-id"),
        (("wallet",), "wallet"), (("wallet", "burn"), "wallet"), (("wallet", "new"), "file"), (("wallet", "new", "f"), "--password-file"),
        (("wallet", "new", "f", "g"), "`g`"), (("wallet", "show"), "file"), (("wallet", "sign-cap"), "--key"),
        (("wallet", "deposit", "1"), "--key"), (("wallet", "withdraw", "1"), "--key"), (("wallet", "balance"), "--rpc"),
        (("admin", "settle"), "--admin-token-file"),
    ]
    for args, names in wrong:
        r = run(*args, status=2, ASSAY_API_KEY="sk-assay-x", ASSAY_BASE_URL="http://127.0.0.1:1/v1")
        assert names in r.err and not r.out, (args, r)
    for name in ("chat", "jobs", "credit", "usage"):
        assert "ASSAY_API_KEY" in run(name, *(("x",) if name == "chat" else ()), status=2).err
    assert "ASSAY_API_KEY" in run("receipt", NO_JOB, status=2).err


@case
def chat(m):
    r = as_client(m, "chat", "Hello", "world")
    assert r.out == "Hello world\n" and not r.err, r
    whole, parts = as_client(m, "chat", "-v", "grüße, 世界 🎈"), as_client(m, "chat", "-v", "--stream", "grüße, 世界 🎈")
    assert whole.out == parts.out == "grüße, 世界 🎈\n"
    for r in (whole, parts):
        assert "model echo, finish stop" in r.err and "prompt tokens (0 cached)" in r.err, r
        job = m.client.job(r.err.split("\njob ")[1].strip())
        assert f"{job['prompt_tokens']} prompt tokens" in r.err and f"{job['completion_tokens']} completion tokens" in r.err
        assert f"request {job['request_id']}" in r.err
    for args in ((), ("-",), ("--stream",)):
        assert as_client(m, "chat", *args, stdin=b"line 1\nline 2\n").out == "line 1\nline 2\n"
    cut = as_client(m, "chat", "-v", "--max-tokens", "2", "--temperature", "0.5", "--seed", "-7", "--model", "echo", "abcdefghi")
    assert cut.out == "abcdef\n" and "finish length" in cut.err, cut

    answer = as_client(m, "chat", "--json", "raw").json
    assert answer["choices"][0]["message"]["content"] == "raw" and answer["assay"]["job_id"], answer
    events = [line[6:] for line in as_client(m, "chat", "--json", "--stream", "raw").out.splitlines() if line]
    assert events[-1] == "[DONE]" and json.loads(events[-2])["usage"], events

    for stdin in (b"", b"\n", b"\xff\xfe"):
        r = as_client(m, "chat", stdin=stdin, status=2)
        assert "UTF-8" in r.err and not r.out, r


@case
def chat_fails(m):
    r = as_client(m, "chat", "--model", "nothing", "x", status=1)
    assert "model_not_found" in r.err and "assay models" in r.err and not r.out, r
    r = as_client(m, "chat", "--temperature", "3", "x", status=1)
    assert "temperature" in r.err and not r.out, r
    r = run("chat", "x", "--model", "echo", status=1, ASSAY_BASE_URL=m.base_url, ASSAY_API_KEY="sk-assay-wrong")
    assert "invalid_api_key" in r.err and "--api-key-file" in r.err and not r.out, r
    with socket.socket() as s:  # a port that is taken, where nobody answers a connect
        s.bind(("127.0.0.1", 0))
        r = run("chat", "x", status=1, ASSAY_BASE_URL=f"http://127.0.0.1:{s.getsockname()[1]}/v1", ASSAY_API_KEY="sk-assay-x")
    assert "assay up" in r.err and not r.out, r
    for base_url in (m.base_url[:-3], m.base_url + "/", m.info["rpc_url"]):
        right = base_url != m.info["rpc_url"]
        r = run("models", "--base-url", base_url, status=0 if right else 1)
        assert ("echo" in r.out) == right, r
    # a key in a file; the environment's is not looked at then
    file = path(m, "my-key", m.client.key + "\n")
    assert run("chat", "--api-key-file", file, "--base-url", m.base_url, "hi", ASSAY_API_KEY="sk-assay-wrong").out == "hi\n"
    assert "missing" in run("chat", "--api-key-file", path(m, "missing"), "hi", status=2).err
    run("chat", "--api-key-file", path(m, "two-words", "a b"), "hi", status=2)


@case
def lists(m):
    """People get tables, scripts get the gateway's documents."""
    chat_job(m, "to be listed")
    for name, route in (("models", "/v1/models"), ("nodes", "/v1/nodes"), ("credit", "/v1/credit"), ("usage", "/v1/usage")):
        assert as_client(m, name, "--json").json == m.client.get(route).json, name
    r = as_client(m, "models").out.splitlines()
    assert r[0].split()[0] == "MODEL" and r[1].split() == ["echo", "65536", "1", "0.01", "0.04", "echo/1"], r
    r = as_client(m, "nodes").out.splitlines()
    assert len(r) == 2 and r[1].split()[:2] == [m.info["nodes"][0], "yes"] and r[1].split()[-1] == "echo", r
    assert run("models", "--base-url", m.base_url).out and run("nodes", "--base-url", m.base_url).out  # no key needed

    credit = m.client.credit()
    r = as_client(m, "credit").out
    assert m.info["requester"] in r and f"{credit['headroom']} USD  can be spent now" in r and f"{credit['spent']} USD  spent so far" in r, r
    usage = m.client.get("/v1/usage").json
    assert as_client(m, "usage").out == (f"{usage['jobs']} jobs, {usage['prompt_tokens']} prompt tokens, "
                                         f"{usage['completion_tokens']} completion tokens: {usage['spent']} USD\n")

    jobs = m.client.get("/v1/jobs?limit=2").json
    assert as_client(m, "jobs", "--json", "--limit", "2").json == jobs
    rows = as_client(m, "jobs", "--limit", "2").out.splitlines()
    assert [row.split()[0] for row in rows] == ["JOB"] + [j["id"] for j in jobs["data"]], rows
    job = jobs["data"][0]
    assert as_client(m, "job", "--json", job["id"]).json["data"] == [job]
    shown = dict(line.split(None, 1) for line in as_client(m, "job", job["id"]).out.splitlines())
    assert shown["id"] == job["id"] and shown["status"] == "done" and shown["amount"] == job["amount"], shown
    r = as_client(m, "job", NO_JOB, status=1)
    assert "not_found" in r.err and "assay jobs" in r.err, r


@case
def receipt(m):
    job = chat_job(m, "prove it")
    settled = settled_receipt(m, job)
    r = as_client(m, "receipt", job)
    assert "signed by the node" in r.out and settled["segments"][0]["settlement"]["tx"] in r.out, r
    file = path(m, "receipt.json")
    assert as_client(m, "receipt", job, "-o", file).out == ""
    with open(file, encoding="utf-8") as f:
        document = json.load(f)
    assert document["segments"][0]["receipt"] == settled["segments"][0]["receipt"]
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    r = as_client(m, "receipt", job, "--verify")
    assert r.out.splitlines()[-1].startswith("good: 9 passed") and "FAIL" not in r.out, r
    assert as_client(m, "receipt", job, "--verify", "--json").json["good"] is True
    assert as_client(m, "receipt", job, "--json").json["id"] == job
    r = as_client(m, "receipt", NO_JOB, status=1)
    assert "not_found" in r.err and not r.out, r
    assert "no-such-folder" in as_client(m, "receipt", job, "-o", path(m, "no-such-folder/x"), status=1).err


@case
def verify_receipts(m):
    document = settled_receipt(m, chat_job(m, "check it"))
    good = json.dumps(document)
    vault, rpc = m.info["contracts"]["Vault"], m.info["rpc_url"]
    file = path(m, "good.json", good)
    on_chain = ("--rpc", rpc, "--vault", vault)
    r = run("verify", file)
    assert "- " in r.out and r.out.splitlines()[-1].startswith("good: 9 passed, 2 had nothing"), r
    for args in ((), ("-",)):
        assert run("verify", *args, stdin=good.encode()).out == r.out
    r = run("verify", file, *on_chain)
    assert r.out.splitlines()[-1] == "good: 12 passed, 0 had nothing to check", r
    assert run("verify", file, "--vault", vault, "--chain-id", str(m.info["chain_id"])).out.splitlines()[-1].startswith("good: 10 passed")
    result = run("verify", "--json", file, *on_chain).json
    assert result["good"] and result["job_id"] == document["id"] and result["chain_id"] == m.info["chain_id"], result
    states = {c["check"]: c["state"] for c in result["checks"] + result["segments"][0]["checks"]}
    assert set(states) == {"domain", "job", "status", "receipt", "sampling", "signature", "place", "leaf", "sum", "entry", "chain", "tx"}
    assert set(states.values()) == {"passed"}, states

    more = lambda text: str(int(text) + 1)
    flip = lambda text: text[:-1] + ("0" if text[-1] != "0" else "1")
    segment, settlement = ("segments", 0), ("segments", 0, "settlement")
    for keys, by, failing, chain in (
        ((*segment, "receipt", "amount"), more, "receipt", False),
        ((*segment, "receipt", "outTokens"), lambda n: n + 1, "receipt", False),
        ((*segment, "receipt", "output"), flip, "place", False),
        ((*segment, "terms", "priceOut"), more, "receipt", False),
        ((*segment, "sampling", "judge"), lambda who: {"contract": "replay", "replay": "contract"}[who], "sampling", False),
        ((*segment, "sampling", "seed"), flip, "sampling", False),
        ((*segment, "terms", "node"), lambda a: a.lower()[:-1] + ("0" if a[-1] != "0" else "1"), "receipt", False),
        ((*segment, "checkpoint", "signature"), lambda s: s[:20] + flip(s[20]) + s[21:], "signature", False),
        ((*segment, "checkpoint", "body", "root"), flip, "place", False),
        ((*settlement, "entry", "spent"), more, "sum", False),
        ((*settlement, "entry", "tree"), flip, "leaf", False),
        ((*settlement, "root"), flip, "entry", False),
        ((*settlement, "block"), lambda n: n + 1, "tx", True),  # only the chain can tell these
        ((*settlement, "number"), lambda n: n + 100, "chain", True),
    ):
        bad = tampered(document, *keys, by=by)
        r = run("verify", "--json", *(on_chain if chain else ()), stdin=bad.encode(), status=1)
        failed = [c["check"] for s in r.json["segments"] for c in s["checks"] if c["state"] == "failed"]
        assert not r.json["good"] and failing in failed, (keys, failed, r)
    assert "good:" in run("verify", stdin=bad.encode()).out  # the last one: offline nothing is wrong with it
    r = run("verify", *on_chain, stdin=bad.encode(), status=1)
    assert "FAIL chain" in r.out and r.out.splitlines()[-1].startswith("NOT GOOD: "), r


@case
def verify_refuses(m):
    """What cannot be read is neither good nor bad: exit status 2."""
    document = m.client.receipt(chat_job(m, "to be spoilt"))
    good = json.dumps(document)
    vault = m.info["contracts"]["Vault"]
    for text in ("", "garbage", "[]", "{}", "{\"object\":\"cake\"}", good[:-2], good + "x", good.replace('"terms"', '"words"', 1),
                 json.dumps({**document, "extra": 1}), json.dumps({**document, "segments": []}), "\0", "\xff"):
        r = run("verify", stdin=text.encode("latin-1"), status=2)
        assert not r.out, (text[:40], r)
    assert "missing.json" in run("verify", path(m, "missing.json"), status=2).err
    run("verify", "--rpc", "http://127.0.0.1:1", "--vault", vault, stdin=good.encode(), status=2)
    run("verify", "--rpc", m.info["rpc_url"], "--vault", "0x" + "1" * 40, stdin=good.encode(), status=2)  # no contract there
    r = run("verify", "--rpc", m.info["rpc_url"], "--vault", vault, "--chain-id", "1", stdin=good.encode(), status=2)
    assert str(m.info["chain_id"]) in r.err, r
    # a market that was not meant is a failed check
    for args in (("--chain-id", "1", "--vault", vault), ("--chain-id", str(m.info["chain_id"]), "--vault", "0x" + "1" * 40)):
        r = run("verify", *args, stdin=good.encode(), status=1)
        assert "FAIL domain" in r.out, r


@case
def verify_lanes(m):
    place = settled_receipt(m, chat_job(m, "a lane"))["segments"][0]["settlement"]
    r = m.client.get(f"/v1/settlement/{place['number']}/lanes/{place['entry']['lane']}")
    assert r.status == 200, r
    document = r.json
    on_chain = ("--rpc", m.info["rpc_url"], "--vault", m.info["contracts"]["Vault"])
    r = run("verify", stdin=json.dumps(document).encode())
    assert f"lane {place['entry']['lane']} in batch {place['number']}" in r.out and r.out.splitlines()[-1].startswith("good:"), r
    result = run("verify", "--json", *on_chain, stdin=json.dumps(document).encode()).json
    assert result["good"] and result["document"] == "lane_entry" and result["leaves"] == len(document["leaves"]), result
    assert {c["state"] for c in result["checks"]} == {"passed"}, result
    for keys, by in ((("leaves", 0, "amount"), lambda s: str(int(s) + 1)), (("entry", "before"), lambda s: str(int(s) + 1)),
                     (("leaves", 0, "receiptHash"), lambda s: s[:-4] + "0000")):
        run("verify", stdin=tampered(document, *keys, by=by).encode(), status=1)


@case
def admin(m):
    r = as_admin(m, "key", m.info["requester"], "--label", "a label")
    key, number = r.out.strip(), r.err.split()[1]
    assert r.out.startswith("sk-assay-") and "not shown again" in r.err and key not in r.err, r
    assert run("credit", "--json", "--base-url", m.base_url, ASSAY_API_KEY=key).json["account"] == m.info["requester"]
    assert "revoked" in as_admin(m, "revoke", number).out
    run("credit", "--base-url", m.base_url, ASSAY_API_KEY=key, status=1)
    assert "not_found" in as_admin(m, "revoke", "999999", status=1).err
    assert as_admin(m, "--json", "key", m.info["requester"]).json["account"] == m.info["requester"]
    before = m.metric("batches_posted_total")
    chat_job(m, "to be settled now")
    assert as_admin(m, "settle").out and as_admin(m, "settle", "--json").json == {"settling": True}
    eventually("a batch is posted", lambda: m.metric("batches_posted_total") > before)
    for words in (("key",), ("key", "0x12"), ("revoke", "one"), ("settle", "now"), ("dance",), ()):
        as_admin(m, *words, status=2)
    r = run("admin", "--admin-token-file", path(m, "wrong-token", "wrong"), "--base-url", m.base_url, "settle", status=1)
    assert "token" in r.err and not r.out, r
    run("admin", "--admin-token-file", path(m, "missing"), "--base-url", m.base_url, "settle", status=2)


@case
def one_program_per_folder(m):
    """A second gateway or node on the folder of one that runs would sell the same sequence numbers again."""
    common = ("--key", path(m, "keys/gateway.key"), "--password", path(m, "password"), "--rpc", m.info["rpc_url"], "--market", path(m, "market.json"))
    r = run("gateway", "--data", path(m, "gateway"), "--port", "0", "--profile", os.path.join(ROOT, "profiles/infera.ini"), *common, status=1)
    assert "is used by a running program" in r.err, r
    r = run("node", "--data", path(m, "node-1"), "--gateway-url", "ws://127.0.0.1:1/link", "--gateway", m.info["gateway"], "--model", "echo",
            "--encryption-key", path(m, "keys/node-1-x25519.key"), *common, status=1)
    assert "is used by a running program" in r.err, r
    assert chat_job(m, "still serving")


@case
def a_new_customer(m):
    """A key, money, an API key, a cap, an answer, and the rest of the money back: by commands alone."""
    password, wrong = path(m, "secret", "correct horse\n"), path(m, "wrong-secret", "battery staple\n")
    key, market = path(m, "customer.key"), path(m, "market.json")
    chain = ("--rpc", m.info["rpc_url"], "--market", market)
    mine = ("--key", key, "--password-file", password)
    account = run("wallet", "new", key, "--password-file", password).out.strip()
    assert len(account) == 42 and stat.S_IMODE(os.stat(key).st_mode) == 0o600
    with open(key, "rb") as f:
        sealed = f.read()
    run("wallet", "new", key, "--password-file", password, status=1)  # never replaced
    run("wallet", "new", path(m, "other.key"), "--password-file", path(m, "empty", ""), status=1)
    assert not os.path.exists(path(m, "other.key"))
    with open(key, "rb") as f:
        assert f.read() == sealed
    assert run("wallet", "show", key).out.strip() == run("wallet", "show", key, "--password-file", password).out.strip() == account
    assert "wrong-secret" in run("wallet", "show", key, "--password-file", wrong, status=1).err
    run("wallet", "show", password, status=1)
    sealing, other = path(m, "x25519.key"), path(m, "neither.key")
    public = run("wallet", "new", sealing, "--password-file", password, "--type", "x25519").out.strip()
    assert len(public) == 66 and run("wallet", "show", sealing, "--password-file", password).out.strip() == public
    assert "--type" in run("wallet", "new", other, "--password-file", password, "--type", "rsa", status=2).err
    run("wallet", "balance", "--key", sealing, *chain, status=1)  # no account

    def balance(*args):
        return run("wallet", "balance", *chain, *(args or ("--key", key))).out

    r = run("wallet", "deposit", *mine, *chain, "1", status=1)
    assert "0 USD only" in r.err, r
    holder = bytes.fromhex(account[2:])
    m.rpc("anvil_setBalance", account, hex(10**18))
    m.mined(m.rpc.start(m.gateway, m.contracts["USD"], eth.call_data("mint(address,uint256)", holder, 5_000_000)))
    assert "5 USD in its own hands" in balance() and "0 USD in the vault" in balance() and "1 of the chain's coin" in balance(), balance()
    assert run("wallet", "deposit", *mine, *chain, "3.25").out == "deposited 3.25 USD\n"
    assert "1.75 USD in its own hands" in balance() and "3.25 USD in the vault" in balance()
    assert balance("--account", account).splitlines()[1:3] == balance().splitlines()[1:3]
    assert "no lane" in balance("--account", account, "--gateway", m.info["gateway"])
    assert run("wallet", "deposit", *mine, *chain, "0.5", "--to", m.info["requester"]).out == "deposited 0.5 USD\n"
    for amount in ("0", "-1", "x", "0.0000001", "1e3"):
        run("wallet", "deposit", *mine, *chain, "--", amount, status=2)
    run("wallet", "withdraw", *mine, *chain, "1", "--to", m.info["requester"], status=2)

    api_key = as_admin(m, "key", account).out.strip()
    customer = dict(ASSAY_BASE_URL=m.base_url, ASSAY_API_KEY=api_key)
    assert "spending cap" in run("chat", "too early", status=1, **customer).err
    cap = ["wallet", "sign-cap", *mine, "--gateway", m.info["gateway"], "--market", market, "--max-spend", "2", "--max-locked", "1",
           "--max-price-in", "0.5", "--max-price-out", "0.5", "--deadline", "24h", "--nonce", "1"]
    signed = run(*cap).json
    assert eth.from_json("SpendingCap", signed["cap"])["maxSpend"] == 2 * PICO and signed["cap"]["requester"] == account
    other = [a for a in cap if a not in ("--market", market)] + ["--chain-id", str(m.info["chain_id"]), "--vault", m.info["contracts"]["Vault"]]
    assert run(*other).json["cap"]["gateway"] == m.info["gateway"]
    for option in ("--gateway", "--max-spend", "--max-locked", "--max-price-in", "--max-price-out", "--deadline", "--nonce"):
        at = cap.index(option)
        assert option in run(*cap[:at], *cap[at + 2:], status=2).err
        assert option in run(*cap[:at], option, "0x12", *cap[at + 2:], status=2).err
    run(*cap, "--vault", m.info["contracts"]["Vault"], status=2)
    r = run(*cap, "--register", m.base_url, ASSAY_API_KEY=m.client.key, status=1)  # another account's key
    assert "forbidden" in r.err, r
    r = run(*cap, "--register", m.base_url, **customer)
    assert "registered" in r.err and r.json["cap"]["nonce"] == 1, r
    assert "conflict" in run(*cap, "--register", m.base_url, status=1, **customer).err  # a cap is replaced by a higher nonce only

    eventually("the lane has money", lambda: pico(run("credit", "--json", **customer).json["headroom"]) > 0)
    assert run("chat", "my own money", **customer).out == "my own money\n"
    job = run("jobs", "--json", **customer).json["data"][0]
    assert run("receipt", job["id"], "--verify", **customer).status == 0
    assert "USD in lane" in balance("--key", key, "--gateway", m.info["gateway"])

    free = run("credit", "--json", **customer).json["free"]
    r = run("wallet", "withdraw", *mine, *chain, "100", status=1)
    assert "are free" in r.err, r
    assert run("wallet", "withdraw", *mine, *chain, "0.25").out == "withdrew 0.25 USD\n"
    r = run("wallet", "withdraw", *mine, *chain, "all")
    assert pico(r.out.split()[1]) == pico(free) - PICO // 4, (free, r)
    assert "0 USD in the vault" in balance()
    run("wallet", "withdraw", *mine, *chain, "all", status=1)

    lane = ["wallet", "close-lane", *mine, *chain, "--gateway", m.info["gateway"]]
    assert "no lane" in run("wallet", "close-lane", *mine, *chain, "--gateway", account, status=1).err
    assert "notice given" in run(*lane).out
    assert "can be closed in" in run(*lane, status=1).err
    assert "can be closed from" in balance("--key", key, "--gateway", m.info["gateway"])
    m.rpc("evm_increaseTime", 24 * 3600 + 1)
    m.rpc("evm_mine")
    assert "is closed" in run(*lane).out
    assert run("wallet", "withdraw", *mine, *chain, "all").out.startswith("withdrew ")
    assert "no lane" in run(*lane, status=1).err


main(lambda: Market("--model", "echo"))
