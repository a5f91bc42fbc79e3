"""The gateway is killed with SIGKILL at many random points with jobs in flight, nodes now and then too. Nothing that was answered is lost,
nobody is charged twice, and the books balance with the chain to the last pico-dollar. KILLS=n changes how many (200)."""
# timeout: 290
# serial
import random

import books
from lib import *

KILLS = int(os.environ.get("KILLS", "200"))
SEED = int(os.environ.get("SEED", time.time_ns() % 10**6))
READERS = 8


class Traffic:
    """Clients that ask without a pause, and write down what they were answered."""

    def __init__(self, m, clients, rng):
        self.m, self.clients = m, clients
        self.answered, self.broken, self.refused = [], 0, 0
        self.events = 0
        self.moved = threading.Condition()
        self.over = False
        self.threads = [threading.Thread(target=self.run, args=(i, random.Random(rng.random())), daemon=True) for i in range(READERS)]
        self.failure = None
        for t in self.threads:
            t.start()

    def count(self):
        with self.moved:
            self.events += 1
            self.moved.notify_all()

    def wait_events(self, n, seconds):
        """Returns once n more events have come, or the time is over."""
        with self.moved:
            goal = self.events + n
            self.moved.wait_for(lambda: self.events >= goal or self.failure, seconds)

    def run(self, i, rng):
        try:
            while not self.over:
                self.ask(self.clients[i % len(self.clients)], rng)
        except BaseException as e:  # told at the end
            self.failure = e

    def ask(self, c, rng):
        text = "".join(rng.choice("abcdefghij ") for _ in range(rng.choice((3, 30, 300))))
        s = None
        try:
            s = c.stream(text, max_tokens=rng.choice((5, 200)))
            if s.status != 200:
                assert s.status in (502, 503, 504), (s.status, s.response.read())
                self.refused += 1
                with self.moved:
                    self.moved.wait(0.05)  # no node yet: until something moves
                return
            for _ in s:
                self.count()
            s.conn.close()
        except (OSError, http.client.HTTPException):
            self.broken += s is not None
            self.refused += s is None
            with self.moved:
                self.moved.wait(0.02)
            return
        if s.done:
            whole = s.finish == "stop"
            assert s.text == text if whole else text.startswith(s.text), "a wrong answer"
            self.answered.append((c, s.job_id, len(s.text), whole))
        else:
            self.broken += 1

    def end(self):
        self.over = True
        for t in self.threads:
            t.join(60 * PATIENCE)
            assert not t.is_alive(), "a client hangs"
        if self.failure:
            raise self.failure


def settle_soon(m):
    """Asks for a batch now; the gateway may be dead before it answers."""
    try:
        m.admin.post("/admin/settle", {})
    except (OSError, http.client.HTTPException):
        pass


def replaced(m, command, old):
    """Waits for the process that takes the place of a killed one."""
    return eventually(f"{command} is started again", lambda: (now := set(m.children(command)) - {old}) and max(now), 30)


@case
def killed_at_random_points(m):
    rng = random.Random(SEED)
    print(f"SEED={SEED} KILLS={KILLS}", flush=True)
    clients = [m.client, m.account("5")]
    traffic = Traffic(m, clients, rng)
    traffic.wait_events(50, 20)
    gateway, told = m.child("gateway"), time.monotonic()
    nodes_killed = 0
    for k in range(KILLS):
        # how far the market gets before the next kill: not at all, into its first answers, or well into its stride
        traffic.wait_events(rng.choice((0, 1, rng.randrange(1, 30), rng.randrange(30, 300))), 3)
        if rng.random() < 0.08:
            victim = rng.choice(m.children("node") or [0])
            if victim:
                os.kill(victim, signal.SIGKILL)
                nodes_killed += 1
        if rng.random() < 0.1:
            settle_soon(m)
        os.kill(gateway, signal.SIGKILL)
        gateway = replaced(m, "gateway", gateway)
        if time.monotonic() - told > 5:
            told = time.monotonic()
            print(f"{k + 1} kills, {len(traffic.answered)} answered, {traffic.broken} broken off", flush=True)
        if traffic.failure:
            break
    traffic.end()
    print(f"{KILLS} kills of the gateway, {nodes_killed} of nodes: {len(traffic.answered)} answered, {traffic.broken} broken off, "
          f"{traffic.refused} refused", flush=True)
    m.up()
    assert len(traffic.answered) >= KILLS and traffic.broken >= KILLS // 4, "too little happened for this to mean anything"

    # every ticket ends: by its receipt, sent again, or at its deadline
    for c in clients:
        eventually("no ticket is open", lambda c=c: not [j for j in c.jobs() if j["status"] == "running"], 40)
        assert pico(c.credit()["reserved"]) == 0
    jobs = {c: {j["id"]: j for j in c.jobs()} for c in clients}
    for c, job_id, text_len, whole in traffic.answered:
        job = jobs[c].get(job_id)
        assert job is not None and job["status"] == "done" and "amount" in job, f"an answer without a receipt: {job_id} {job}"
        assert job["completion_tokens"] == -(-text_len // 3) + whole, job
    assert len({job_id for _, job_id, _, _ in traffic.answered}) == len(traffic.answered)

    m.settled(*clients)
    chain, ledger = books.audit(m)
    assert ledger.everything_is_settled() and len(chain.roots) > 3
    paid = sum(1 for _, _, r in ledger.tickets.values() if r is not None)
    print(f"{len(ledger.tickets)} tickets, {paid} paid, {len(chain.roots)} batches, {chain.debited} pico-dollars on chain", flush=True)
    r = m.client.chat("all is well")
    assert r.status == 200 and r.json["choices"][0]["message"]["content"] == "all is well"


main(lambda: Market("--model", "echo", "--nodes", "2", "--slots", "16", "--echo-rate", "1000", "--batch-interval", "1s", "--ticket-life", "8s"))
