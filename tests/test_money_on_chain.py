"""Jobs over several batches; then an independent audit: chain events and calldata, the journal and the receipts, to the pico-dollar."""
# timeout: 240
import random

import books
from lib import *

DONE = []      # (client, stream or response) of what was answered
CLIENTS = []


@case
def jobs_over_several_batches(m):
    rng = random.Random(7)
    CLIENTS[:] = [m.client, m.account("3"), m.account("3")]
    node = m.join(m.node(link.model("python", price_in=12_347, price_cached=9, price_out=33_331), slots=8), "python")
    for round_ in range(4):
        before = m.rpc.view(m.contracts["Vault"], "gatewayOf(address)", m.gateway)[2]

        def run(i):
            c = CLIENTS[i % 3]
            text = "word " * rng.randrange(1, 200)
            if i % 10 == 9:  # leaves in the middle
                s = c.stream(text * 40, max_tokens=4000).upto(30)
                s.hang_up()
                return c.ended(s.job_id) and s
            return c.stream(text, max_tokens=rng.randrange(1, 400)).read()

        DONE.extend(zip(CLIENTS * 8, at_once(24, run)))
        # a node with odd prices, an empty answer, and a receipt that is refused
        for text, change in (("an answer", {}), ("", {}), ("refused", {"amount": 1})):
            ask = background(lambda: CLIENTS[1].stream("x", model="python").read())
            offer = node.offer()
            node.accept(offer)
            if text:
                node.say(offer, text)
            node.done(offer, offer.receipt(**change))
            node.checkpoint()
            ask()
        if round_ % 2:
            m.admin.post("/admin/settle", {})
        eventually("a batch is posted", lambda before=before: m.rpc.view(m.contracts["Vault"], "gatewayOf(address)", m.gateway)[2] > before)
    m.settled(*CLIENTS)
    node.wait("batch_proof")
    node.close()


@case
def the_books_agree(m):
    chain, ledger = books.audit(m)
    assert len(chain.roots) >= 4 and len(chain.entries) >= 8, (len(chain.roots), len(chain.entries))
    assert len(chain.node) == 3 and all(chain.cum[n] > 0 for n in chain.node), chain.cum
    states = [row["state"] for row, _, _ in ledger.tickets.values()]
    assert states.count(books.PAID) >= 100 and states.count(books.VOID) >= 4 and states.count(0) == 0
    assert ledger.everything_is_settled()
    assert any(r is not None and r["finish"] == 3 for _, _, r in ledger.tickets.values()), "no job was cut off"
    assert chain.fees > 0 and chain.debited == chain.credited


@case
def the_api_says_the_same(m):
    _, ledger = books.audit(m)
    for c in CLIENTS:
        lane = c.credit()["lane"]
        assert c.spent() == ledger.paid_of_lane[lane]
        jobs = c.jobs()
        assert len(jobs) == sum(1 for place in ledger.tickets if place[0] == lane)
        for job in jobs:
            row, terms, receipt = ledger.tickets[lane, job["lane_seq"]]
            assert job["id"] == "0x" + terms["jobId"].hex() and job["status"] == {1: "done", 2: "failed"}[row["state"]]
            if receipt:
                assert pico(job["amount"]) == receipt["amount"] and job["completion_tokens"] == receipt["outTokens"]


def verify(m, text, *args):
    path = os.path.join(tempfile.gettempdir(), "receipt.json")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    done = subprocess.run([ASSAY, "verify", path, "--json", *args], capture_output=True, text=True, timeout=30 * PATIENCE, stdin=subprocess.DEVNULL,
                          check=False)
    return done.returncode, done.stdout + done.stderr


@case
def receipts_verify(m):
    """`assay verify` accepts every receipt, offline and against the chain; and none that was changed anywhere."""
    chain_args = ["--rpc", m.info["rpc_url"], "--vault", m.info["contracts"]["Vault"]]
    everyone = [(c, job) for c in CLIENTS for job in c.jobs()]
    for c, job in everyone[::4]:
        text = c.get(f"/v1/receipts/{job['id']}").body.decode()
        code, out = verify(m, text)
        assert code == 0, (job, out)
        code, out = verify(m, text, *chain_args)
        assert code == 0, (job, out)
    c, job = next((c, j) for c, j in everyone if j["status"] == "done" and c is not m.client)
    text = c.get(f"/v1/receipts/{job['id']}").body.decode()
    code, out = verify(m, text, "--vault", m.info["contracts"]["Court"], "--chain-id", str(m.info["chain_id"]))
    assert code == 1, out

    def paths(value, at=()):
        if isinstance(value, (dict, list)):
            for key, inner in (value.items() if isinstance(value, dict) else enumerate(value)):
                yield from paths(inner, (*at, key))
        else:
            yield at

    document = json.loads(text)
    # what no signature and no hash covers: names, where the gateway says that the batch stands, and the digest of the prompt, which needs
    # the tokens to be checked
    free = {("object",), ("id",), ("segments", 0, "status"), ("segments", 0, "promptDigest"), *(("segments", 0, "settlement", k) for k in ("confirmed", "final", "tx", "block", "number"))}
    accepted = []
    for at in paths(document):
        changed = json.loads(text)
        place = changed
        for key in at[:-1]:
            place = place[key]
        old = place[at[-1]]
        if isinstance(old, bool) or old is None:
            place[at[-1]] = not old
        elif isinstance(old, int):
            place[at[-1]] = old + 1
        elif old.startswith("0x"):
            last = old[-1].lower()
            place[at[-1]] = old[:-1] + ("1" if last != "1" else "2")
        else:
            place[at[-1]] = str(int(old) + 1) if old.isdigit() else old + "x"
        code, out = verify(m, json.dumps(changed))
        assert code in (0, 1, 2), (at, code, out)
        if code == 0:
            accepted.append(at)
    assert set(accepted) <= free, set(accepted) - free
    # the chain knows better than the document where the batch stands
    changed = json.loads(text)
    changed["segments"][0]["settlement"]["number"] += 1
    code, out = verify(m, json.dumps(changed), *chain_args)
    assert code == 1, out


@case
def models_are_registered(m):
    """What the receipts of the market's own nodes name as their model stands in ModelRegistry."""
    registry = m.contracts["ModelRegistry"]
    job = next(job for job in m.client.jobs() if job["status"] == "done" and job["model"] == "echo")
    segment = json.loads(m.client.get(f"/v1/receipts/{job['id']}").body)["segments"][0]
    digest = int(segment["terms"]["model"], 16)
    count = m.rpc.view(registry, "count()")[0]
    assert [m.rpc.view(registry, "digestAt(uint256)", i)[0] for i in range(count)] == [digest]


@case
def a_lane_verifies(m):
    for c in CLIENTS[1:]:
        place = c.receipt(c.jobs()[-1]["id"])["segments"][0]["settlement"]
        r = c.get(f"/v1/settlement/{place['number']}/lanes/{place['entry']['lane']}")
        code, out = verify(m, r.body.decode(), "--rpc", m.info["rpc_url"], "--vault", m.info["contracts"]["Vault"])
        assert code == 0, out
        changed = r.json
        changed["leaves"].pop()
        assert verify(m, json.dumps(changed))[0] != 0


@case
def nodes_claim_their_pay(m):
    """After the hold, the nodes take what they earned: their share, in whole units, and never more."""
    usd, vault = m.contracts["USD"], m.contracts["Vault"]
    hold = m.rpc.view(vault, "profile()")[2]
    m.rpc("evm_increaseTime", 2 * hold + 1)
    m.rpc("evm_mine")
    chain = books.Chain(m)
    mine = {linked: node for linked, node in chain.node.items() if "0x" + node.hex() in [n.lower() for n in m.info["nodes"]]}
    assert len(mine) == 2

    def claimed():
        c = books.Chain(m)
        return c if all(c.claimed[linked] > 0 for linked in mine) else None

    chain = eventually("both nodes have claimed", claimed, 30)
    for linked, node in mine.items():
        net = chain.cum[linked] * chain.share[linked] // 10_000
        assert chain.claimed[linked] == net // 10**6 * 10**6, (chain.claimed[linked], net)
        assert m.rpc.view(usd, "balanceOf(address)", node)[0] * 10**6 == chain.claimed[linked]
    books.audit(m)
    r = m.client.chat("after the jump in time")
    assert r.status == 200
    m.settled(*CLIENTS)
    books.audit(m)


@case
def fees_are_split(m):
    vault = m.contracts["Vault"]
    chain = books.Chain(m)
    profile = m.rpc.view(vault, "profile()")
    node_bps, gateway_bps, treasury = profile[6], profile[7], profile[14].to_bytes(20, "big")
    before = {who: m.rpc.view(vault, "free(address)", who)[0] for who in (m.gateway, treasury)}
    m.mined(m.rpc.start(m.gateway, vault, eth.call_data("collectFees(address)", m.gateway)))
    to_gateway = chain.fees * gateway_bps // (10_000 - node_bps)
    assert m.rpc.view(vault, "free(address)", m.gateway)[0] - before[m.gateway] == to_gateway
    assert m.rpc.view(vault, "free(address)", treasury)[0] - before[treasury] == chain.fees - to_gateway
    assert m.rpc.view(vault, "gatewayOf(address)", m.gateway)[4] == 0


os.environ["ASSAY_NODE_MIN_CLAIM"] = "0.000001"
main(lambda: Market("--model", "echo", "--nodes", "2", "--batch-interval", "2s", "--echo-rate", "3000"))
