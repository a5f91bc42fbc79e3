"""What the black-box tests share: a market in a folder of its own, HTTP, and a runner of cases.

A test file starts one market and shares it between its cases:

    from lib import *

    @case
    def answers(m): ...

    main(lambda: Market("--model", "echo"))

Nothing here sleeps for a time that was guessed: `eventually` waits for a condition, up to a deadline.
"""
import atexit
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse

import eth
import link

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ASSAY = os.environ.get("ASSAY_BIN") or os.path.join(ROOT, "build/assay")
PATIENCE = float(os.environ.get("ASSAY_TEST_PATIENCE", "1"))  # multiplies every deadline: for sanitizers and slow machines
PICO = 10**12


def eventually(what, probe, seconds=20):
    """Waits until probe() gives something true, and returns it."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        got = probe()
        if got:
            return got
        if time.monotonic() > deadline:
            raise AssertionError(f"not in {seconds * PATIENCE:.0f} s: {what}")
        time.sleep(0.02)


def pico(text):
    """Pico-dollars of a decimal string."""
    whole, _, rest = text.partition(".")
    assert len(rest) <= 12 and whole.isdigit() and (not rest or rest.isdigit()), text
    return int(whole) * PICO + int(rest.ljust(12, "0"))


# ---- HTTP ---------------------------------------------------------------------------------------------------------------

class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """The error's envelope, which must have exactly its four fields."""
        error = self.json["error"]
        assert list(self.json) == ["error"] and set(error) == {"message", "type", "param", "code"}, self.body
        assert error["message"] and error["type"] and error["code"], self.body
        return error

    def __repr__(self):
        return f"{self.status} {self.body[:400]!r}"


class Client:
    """Requests with one API key."""

    def __init__(self, base_url, key=None, timeout=40):
        self.at = urllib.parse.urlsplit(base_url)
        self.key, self.timeout = key, timeout * PATIENCE

    def open(self, method, path, body=None, headers=None, window=None):
        """Sends a request. window: bytes of the kernel's input buffer, for readers that mean to fall behind."""
        conn = http.client.HTTPConnection(self.at.hostname, self.at.port, timeout=self.timeout)
        if window:
            conn.sock = socket.socket()
            conn.sock.settimeout(self.timeout)
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
            conn.sock.connect((self.at.hostname, self.at.port))
        head = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        if body is not None:
            head["Content-Type"] = "application/json"
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        conn.request(method, path, body, {**head, **(headers or {})})
        return conn

    def request(self, method, path, body=None, headers=None):
        conn = self.open(method, path, body, headers)
        try:
            r = conn.getresponse()
            return Response(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
        finally:
            conn.close()

    def get(self, path):
        return self.request("GET", path)

    def post(self, path, body):
        return self.request("POST", path, body)

    def chat(self, text="Hello", model="echo", **fields):
        return self.post("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": text}], **fields})

    def stream(self, text="Hello", model="echo", window=None, **fields):
        return Stream(self, {"model": model, "messages": [{"role": "user", "content": text}], "stream": True, **fields}, window)

    def jobs(self, limit=200):
        """All of the account's jobs, newest first, page by page."""
        out, before = [], None
        while True:
            page = self.get(f"/v1/jobs?limit={limit}" + ("" if before is None else f"&before={before}"))
            assert page.status == 200, page
            out += page.json["data"]
            if len(page.json["data"]) < limit:
                return out
            before = page.json["data"][-1]["lane_seq"]

    def job(self, job_id):
        """The one segment of a job that has one."""
        r = self.get(f"/v1/jobs/{job_id}")
        assert r.status == 200 and len(r.json["data"]) == 1, r
        return r.json["data"][0]

    def ended(self, job_id):
        """The job once it does not run any more."""
        return eventually(f"job {job_id} ends", lambda: (j := self.job(job_id))["status"] != "running" and j)

    def receipt(self, job_id):
        r = self.get(f"/v1/receipts/{job_id}")
        assert r.status == 200, r
        return r.json

    def credit(self):
        r = self.get("/v1/credit")
        assert r.status == 200, r
        return r.json

    def spent(self):
        return pico(self.credit()["spent"])


class Stream:
    """A streamed chat, event by event. After the end: text, finish, usage, error, done ([DONE] was seen)."""

    def __init__(self, client, body, window=None):
        self.conn = client.open("POST", "/v1/chat/completions", body, window=window)
        self.response = self.conn.getresponse()
        self.status = self.response.status
        self.job_id = self.response.headers.get("x-assay-job-id")
        self.request_id = self.response.headers.get("x-request-id")
        self.text, self.finish, self.usage, self.error, self.done = "", None, None, None, False
        self.chunks = []

    def __iter__(self):
        """The decoded events. Ends at [DONE], at an error event, or raises what broke the connection."""
        while True:
            line = self.response.readline()
            if not line:
                return
            line = line.rstrip(b"\r\n")
            if not line:
                continue
            assert line.startswith(b"data: "), line
            assert not self.done and self.error is None, f"something follows the end: {line!r}"
            if line == b"data: [DONE]":
                self.done = True
                continue
            event = json.loads(line[6:])
            if "error" in event:
                self.error = event["error"]
                assert set(self.error) == {"message", "type", "param", "code"}, event
            else:
                self.chunks.append(event)
                for choice in event["choices"]:
                    self.text += choice["delta"].get("content") or ""
                    self.finish = choice["finish_reason"] or self.finish
                self.usage = event.get("usage") or self.usage
            yield event

    def read(self):
        assert self.status == 200, (self.status, self.response.read())
        for _ in self:
            pass
        self.conn.close()
        return self

    def upto(self, text_len):
        """Reads until at least that much text has come."""
        assert self.status == 200, (self.status, self.response.read())
        for _ in self:
            if len(self.text) >= text_len:
                return self
        raise AssertionError(f"the stream ended after {len(self.text)} characters: {self.error}")

    def hang_up(self):
        """Leaves, the hard way: the other end sees a reset."""
        sock = self.response.fp.raw._sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.response.close()
        self.conn.close()
        sock.close()


def at_once(count, work):
    """work(i) in `count` threads; their results in order. The first failure is raised here."""
    results, failures = [None] * count, []

    def run(i):
        try:
            results[i] = work(i)
        except BaseException as e:  # told in the main thread
            failures.append(e)

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120 * PATIENCE)
        assert not t.is_alive(), "a request hangs"
    if failures:
        raise failures[0]
    return results


def background(work):
    """Starts work() in a thread; calling what is returned waits for it and gives its result."""
    box = []

    def run():
        try:
            box.append((work(), None))
        except BaseException as e:  # told in the main thread
            box.append((None, e))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def join():
        thread.join(120 * PATIENCE)
        assert not thread.is_alive(), "a request hangs"
        if box[0][1] is not None:
            raise box[0][1]
        return box[0][0]

    return join


# ---- processes -------------------------------------------------------------------------------------------------------------

def children(pid):
    """(pid, arguments) of the direct children that run."""
    out = []
    for other in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{other}/stat", "rb") as f:
                state, parent = f.read().rsplit(b")", 1)[1].split()[:2]
            if int(parent) == pid and state not in (b"Z", b"X"):
                with open(f"/proc/{other}/cmdline", "rb") as f:
                    out.append((int(other), f.read().decode("utf-8", "replace").split("\0")))
        except OSError:
            pass
    return out


def gone(pid):
    """Has the process ended (a zombie has)?"""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return f.read().rsplit(b")", 1)[1].split()[0] in (b"Z", b"X")
    except OSError:
        return True


class Market:
    """`assay up` with a folder of its own, ready to be used. With a folder given, that one, and it is left."""

    def __init__(self, *args, data=None, settled=True):
        self.own = None if data else tempfile.mkdtemp(prefix="market-")
        self.data = data or self.own
        self.args = args
        self.process = None
        self.log = self.data.rstrip("/") + ".log"
        atexit.register(self.discard)
        self.start()
        if settled:
            eventually("the account can pay", lambda: pico(self.client.credit()["headroom"]) > 0)
            eventually("all nodes are ready", lambda: [n["ready"] for n in self.client.get("/v1/nodes").json["data"]]
                       == [True] * len(self.info["nodes"]))

    def start(self):
        started = time.monotonic()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([ASSAY, "up", "--data", self.data, "--json", "--port", "0", "--no-self-test", *self.args],
                                            stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL)
        killer = threading.Timer(90 * PATIENCE, self.process.kill)
        killer.start()
        line = self.process.stdout.readline()
        killer.cancel()
        assert line, f"assay up ended before it was ready: {self.process.wait()}"
        self.ready_s = time.monotonic() - started
        self.info = json.loads(line)
        self.base_url = self.info["base_url"]
        assert self.base_url.endswith("/v1"), self.base_url
        self.model = self.info["model"]
        self.rpc = eth.Rpc(self.info["rpc_url"])
        self.gateway = bytes.fromhex(self.info["gateway"][2:])
        self.contracts = {name: bytes.fromhex(a[2:]) for name, a in self.info["contracts"].items()}
        self.domain = eth.Domain(self.info["chain_id"], self.contracts["Vault"])
        self.client = Client(self.base_url, self.info["api_key"])
        with open(self.info["admin_token_file"], encoding="ascii") as f:
            self.admin = Client(self.base_url, f.read().strip())

    def stop(self, signum=signal.SIGINT, seconds=30):
        """Ends it as Ctrl-C does; returns (exit status, what else stood on standard output)."""
        self.process.send_signal(signum)
        try:
            status = self.process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"assay up does not stop within {seconds * PATIENCE:.0f} s") from None
        return status, self.process.stdout.read()

    def discard(self):
        atexit.unregister(self.discard)
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
            except AssertionError:
                self.process.kill()
                self.process.wait()
                raise
            finally:
                if self.own:
                    shutil.rmtree(self.own, ignore_errors=True)

    def tail(self, lines=60):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return "".join(f.readlines()[-lines:])

    def child(self, command):
        """The process id of one of assay up's children: `gateway`, or `node`."""
        return self.children(command)[0]

    def children(self, command):
        return [pid for pid, argv in children(self.process.pid) if len(argv) > 1 and argv[1] == command]

    def metric(self, name):
        for line in self.client.get("/metrics").body.decode().splitlines():
            if line.startswith(f"assay_{name} "):
                return int(line.split()[1])
        raise AssertionError(f"no metric assay_{name}")

    def models(self):
        return [model["id"] for model in self.client.get("/v1/models").json["data"]]

    def up(self):
        """Waits until a node serves the market's model."""
        def probe():
            try:
                return self.client.get("/ready").status == 200 and self.model in self.models()
            except OSError:
                return False
        eventually("the market serves", probe)

    @contextlib.contextmanager
    def without_nodes(self):
        """All nodes are dead inside, and serve again afterwards."""
        self.process.send_signal(signal.SIGSTOP)  # so that it does not start them again meanwhile
        try:
            for pid in self.children("node"):
                os.kill(pid, signal.SIGKILL)
            eventually("the gateway sees that the nodes are gone", lambda: self.model not in self.models())
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)
            self.up()

    # -- the chain
    def mined(self, *hashes):
        """Waits until the transactions stand in blocks; a failed one fails the test."""
        self.rpc("evm_mine")  # rather than to wait for the next second
        for tx in hashes:
            receipt = eventually(f"transaction {tx} is mined", lambda tx=tx: self.rpc("eth_getTransactionReceipt", tx))
            assert receipt["status"] == "0x1", receipt

    def settled(self, *clients):
        """Settles, and waits until every ended job of these accounts stands on chain, all pay is credited, and the gateway knows it."""
        vault = self.contracts["Vault"]

        def probe():
            assert self.admin.post("/admin/settle", {}).status == 200
            for c in clients:
                if self.rpc.view(vault, "laneAt(address,uint32)", self.gateway, c.credit()["lane"])[1] != c.spent():
                    return False
            _, _, batches, pool = self.rpc.view(vault, "gatewayOf(address)", self.gateway)[:4]
            last = self.admin.get(f"/v1/settlement/{batches - 1}")
            return (pool == 0 and last.status == 200 and last.json["state"] in ("confirmed", "final")
                    and self.admin.get(f"/v1/settlement/{batches}").status == 404)

        eventually("everything is settled and credited", probe, 60)

    # -- accounts
    def account(self, usd="1", **cap):
        """A new requester with money in the vault, a registered cap and an API key. The client has .account (an eth.Key)."""
        key = eth.Key()
        units = pico(usd) // 10**6
        usd_token, vault = self.contracts["USD"], self.contracts["Vault"]
        self.mined(*[self.rpc.start(key.address, to, data) for to, data in (
            (usd_token, eth.call_data("mint(address,uint256)", key.address, units)),
            (usd_token, eth.call_data("approve(address,uint256)", vault, units)),
            (vault, eth.call_data("deposit(address,uint64)", key.address, units)))])
        client = Client(self.base_url, self.issue(key.address)["key"])
        client.account = key
        r = client.post("/v1/caps", self.cap(key, **cap))
        assert r.status == 200, r
        eventually("the new account can pay", lambda: pico(client.credit()["headroom"]) > 0)
        return client

    def issue(self, address, label="test"):
        r = self.admin.post("/admin/keys", {"account": "0x" + address.hex(), "label": label})
        assert r.status == 200, r
        return r.json

    def cap(self, key, domain=None, signer=None, **changes):
        """The body of POST /v1/caps."""
        cap = {"requester": key.address, "gateway": self.gateway, "maxSpend": 1000 * PICO, "maxLocked": 1000 * PICO,
               "maxPriceIn": PICO, "maxPriceOut": PICO, "models": bytes(32), "voucherSigner": bytes(20), "nonce": 1,
               "deadline": int(time.time()) + 86400, **changes}
        return {"cap": eth.to_json("SpendingCap", cap),
                "signature": "0x" + (signer or key).sign((domain or self.domain).digest("SpendingCap", cap)).hex()}

    # -- nodes
    def node(self, *models, slots=4, stake=True):
        """A Python node; staked and linked on chain unless stake is False. Not connected yet."""
        key = eth.Key()
        if stake:
            token, registry = self.contracts["Token"], self.contracts["StakeRegistry"]
            amount = self.rpc.view(registry, "minimum(uint8)", 0)[0]
            register = (eth.call_data("register(uint8,uint128,string,bytes32)", 0, amount, 128, bytes(31) + b"\1") + eth.word(0))
            self.mined(self.rpc.start(self.token_holder(amount), token, eth.call_data("transfer(address,uint256)", key.address, amount)),
                       self.rpc.start(key.address, token, eth.call_data("approve(address,uint256)", registry, amount)),
                       self.rpc.start(key.address, registry, register),
                       self.rpc.start(key.address, self.contracts["Vault"], eth.call_data("openLink(address)", self.gateway)))
        return link.Node(self.base_url, key, list(models), slots)

    def token_holder(self, amount):
        """An account with enough of the stake token."""
        logs = self.rpc("eth_getLogs", {"fromBlock": "0x0", "address": "0x" + self.contracts["Token"].hex(),
                                        "topics": [eth.topic("Transfer(address,address,uint256)")]})
        for log in logs:
            holder = bytes.fromhex(log["topics"][2][-40:])
            if self.rpc.view(self.contracts["Token"], "balanceOf(address)", holder)[0] >= amount:
                return holder
        raise AssertionError("nobody holds the stake token")

    def join(self, node, *names):
        """Connects a Python node and waits until the gateway offers its models."""
        node.connect()
        eventually("the Python node is admitted", lambda: set(names) <= set(self.models()))
        return node


# ---- cases -------------------------------------------------------------------------------------------------------------------

_cases = []


class Skip(Exception):
    pass


def case(function):
    _cases.append(function)
    return function


def skip(why):
    """Ends the whole test file as skipped."""
    print(f"SKIP: {why}")
    sys.exit(77)


def main(start):
    """Runs all cases with one market, or those named on the command line; ends the process."""
    wanted = sys.argv[1:]
    passed = failed = skipped = 0
    started = time.monotonic()
    market = start()
    print(f"market up after {time.monotonic() - started:.1f} s", flush=True)
    for function in _cases:
        if wanted and function.__name__ not in wanted:
            continue
        started = time.monotonic()
        try:
            function(market)
            passed += 1
            word = "ok  "
        except Skip as e:
            skipped += 1
            word = f"skip ({e})"
        except Exception:
            failed += 1
            word = "FAIL"
            traceback.print_exc(file=sys.stdout)
        print(f"{word} {time.monotonic() - started:6.2f} s  {function.__name__}", flush=True)
    if market is not None:
        if failed:
            print("---- log of the market\n" + market.tail(), flush=True)
        try:
            market.discard()
        except AssertionError as e:
            failed += 1
            print(f"FAIL {e}\n---- log of the market\n{market.tail()}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)
