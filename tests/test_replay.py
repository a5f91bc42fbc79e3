"""`assay verify --replay` on a real model of the integer engine: what its node gave is proved, however it was asked for; whatever else a node
signs is refused, with the finding that fits. `assay exact trace`: one root, whatever computes it, and its openings."""
# timeout: 280
# serial
import copy
import glob
import hashlib
import pty
import struct

from lib import *

if not glob.glob(os.path.join(ROOT, ".deps/models/*.gguf")):
    skip("the model is missing: tools/setup run")
if not os.path.exists(os.path.join(os.path.dirname(os.path.realpath(ASSAY)), "../lib/assay-llama.so")):
    skip("this build has no llama.cpp plugin")

MODEL = "smollm2-135m-instruct"
END = 2               # <|im_end|>
NO_END = {"0": -100, "2": -100}
DOCUMENTS = {}        # name: an honest receipt with its record
SEA = "Tell me about the sea."


def model_file(m):
    """The file that the market's node runs."""
    for _, argv in children(m.process.pid):
        for word in argv:
            if word.startswith("--model-file="):
                return word.split("=", 1)[1]
    raise AssertionError("no node with a model")


class Result:
    def __init__(self, done):
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def json(self):
        return json.loads(self.out)

    def states(self, segment=-1):
        return {c["check"]: c["state"] for c in self.json["segments"][segment]["checks"]}

    def text(self, check, segment=-1):
        return next(c["text"] for c in self.json["segments"][segment]["checks"] if c["check"] == check)

    def failed(self):
        return [c["check"] for s in self.json["segments"] for c in s["checks"] if c["state"] == "failed"]

    def __repr__(self):
        return f"exit {self.status}\n{self.out}\n{self.err}"


def run(*args, document=None, **options):
    stdin = None if document is None else (document if isinstance(document, str) else json.dumps(document)).encode()
    done = subprocess.run([ASSAY, *args], input=stdin, capture_output=True, timeout=100 * PATIENCE, check=False,
                          **({"stdin": subprocess.DEVNULL} if stdin is None else {}), **options)
    done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    return Result(done)


def replay(m, document, *args, status=None, named=("--name", MODEL), file=None):
    r = run("verify", "-", "--json", "--replay", "--model", file or model_file(m), *named, *args, document=document)
    assert status is None or r.status == status, r
    return r


def record(m, job_id, client=None):
    """The signed receipt of a job, with its record."""
    def probe():
        r = (client or m.client).get(f"/v1/receipts/{job_id}?record=true")
        assert r.status == 200, r
        return r.json if all(s["status"] != "done" or s["checkpoint"] for s in r.json["segments"]) else None
    return eventually("the receipt is signed", probe)


def ask(m, name=None, text=SEA, **fields):
    r = m.client.chat(text, model=MODEL, **{"max_tokens": 32, **fields})
    assert r.status == 200, r
    document = record(m, r.headers["x-assay-job-id"])
    if name:
        DOCUMENTS[name] = document
    return r.json["choices"][0]["message"]["content"], document


def honest(m, name):
    """One that an earlier case asked for, or asked for now."""
    if name not in DOCUMENTS:
        ask(m, name, **{"greedy": {"temperature": 0}, "stopped": {"temperature": 0.7, "seed": 3, "max_tokens": 200, "text": "Say hello."},
                        "penalised": {"temperature": 1.1, "seed": 5, "frequency_penalty": 0.7, "repetition_penalty": 1.2, "logit_bias": {"28": -100}},
                        "long": {"temperature": 1.1, "seed": 5, "frequency_penalty": 0.7, "repetition_penalty": 1.2, "logit_bias": NO_END, "max_tokens": 150}}[name])
    return copy.deepcopy(DOCUMENTS[name])


def proved(m, document, *args):
    r = replay(m, document, *args, status=0)
    assert r.json["proved"] and r.json["good"] and not r.failed(), r
    for segment, shown in zip(document["segments"], r.json["segments"]):
        if segment["status"] == "done":
            assert shown["replay"]["verdict"] == "proved" and shown["replay"]["wrong"] == 0, r
            assert shown["replay"]["compared"] == segment["receipt"]["outTokens"], r
            assert {"model", "prompt", "replay", "finish", "record"} <= {c["check"] for c in shown["checks"] if c["state"] == "passed"}, r
    return r


# ---- a node that lies, and signs for it ------------------------------------------------------------------------------------

LIAR = eth.Key()


def u32(n):
    return int(n).to_bytes(4, "big")


def uses(settings):
    """What `judge`, `contract` and `replay` must say."""
    t, k, p, mp, pp, fp, rp = struct.unpack(">IIIIiiI", settings[:28])
    contract = ["greedy"] if t == 0 else ["temperature"] + ["top_k"] * (k > 0) + ["min_p"] * (mp > 0)
    contract += ["logit_bias"] * any(settings[32:])
    return contract, ["top_p"] * (p < 10**6 and t > 0) + ["presence_penalty"] * (pp != 0) + ["frequency_penalty"] * (fp != 0) + ["repetition_penalty"] * (rp != 0)


def sign(m, segment, terms=None, receipt=None):
    """Makes all digests of a segment fit what it shows, and signs that as a node of its own."""
    r, s = segment["record"], segment["sampling"]
    bias, settings = bytes.fromhex(r["bias"][2:]), bytes.fromhex(s["settings"][2:])
    settings = settings[:32] + (link.digest_of(b"assay/bias/1", bias) if bias else bytes(32))
    s["settings"] = "0x" + settings.hex()
    s["contract"], s["replay"] = uses(settings)
    s["judge"] = "replay" if s["replay"] else "contract"
    stops = [text.encode() for text in s["stops"]]
    t = {**eth.from_json("Terms", segment["terms"]), "node": LIAR.address, "request": link.digest_of(b"assay/request/1", r["request"].encode()),
         "sampling": link.digest_of(b"assay/settings/1", u32(len(settings)), settings, bytes.fromhex(s["seed"][2:]), u32(len(stops)),
                                    *(u32(len(x)) + x for x in stops)), **(terms or {})}
    old = eth.from_json("Receipt", segment["receipt"])
    c = {**old, "outTokens": len(r["output"]), **(receipt or {}), "terms": eth.struct_hash("Terms", t)}
    c["output"] = link.output_digest(bytes.fromhex(segment["promptDigest"][2:]), c["inTokens"], r["output"], r["prior"])
    c["amount"] = (c["inTokens"] - c["cachedTokens"]) * t["priceIn"] + c["cachedTokens"] * t["priceCached"] + c["outTokens"] * t["priceOut"]
    body = {"kind": 2, "signer": LIAR.address, "peer": t["gateway"], "number": 0, "first": 0, "count": 1, "root": eth.struct_hash("Receipt", c)}
    segment.update(terms=eth.to_json("Terms", t), receipt=eth.to_json("Receipt", c), settlement=None, status="done",
                   checkpoint={"body": eth.to_json("Checkpoint", body), "signature": "0x" + LIAR.sign(m.domain.digest("Checkpoint", body)).hex(),
                               "position": 0, "path": []})
    return segment


def forged(m, document, change=lambda segment: None, **parts):
    """The document as the liar's, after a change of what it shows."""
    document = copy.deepcopy(document)
    [segment] = document["segments"]
    change(segment)
    sign(m, segment, **parts)
    return document


def refused(m, document, check, *args, text=""):
    """Everything fits and is signed, but for this one check."""
    r = replay(m, document, *args, status=1)
    assert r.failed() == [check] and text in r.text(check) and not r.json["proved"], (check, r)
    return r


# ---- honest jobs -----------------------------------------------------------------------------------------------------------

@case
def honest_jobs_are_proved(m):
    greedy, document = ask(m, "greedy", temperature=0)
    r = proved(m, document)
    assert r.json["segments"][0]["replay"]["end"] == {"verdict": "right", "cause": "max_out"}, r
    word = greedy.split()[7]
    for name, fields in {
        "temperature": {"temperature": 1}, "seed": {"temperature": 1.5, "seed": -7}, "top_k": {"temperature": 1.3, "top_k": 7},
        "top_p": {"temperature": 1, "top_p": 0.7}, "min_p": {"temperature": 2, "min_p": 0.05},
        "all": {"temperature": 1.4, "top_k": 60, "top_p": 0.9, "min_p": 0.01, "presence_penalty": 0.5, "frequency_penalty": -0.3, "repetition_penalty": 1.1,
                "logit_bias": {"28": -100, "253": 2.5, "1000": 1}, "seed": 11, "stop": ["zebra", "\u00e9"]},
        "presence": {"temperature": 0, "presence_penalty": 1.5}, "frequency": {"temperature": 0.8, "frequency_penalty": 2},
        "repetition": {"temperature": 0, "repetition_penalty": 1.3}, "bias": {"temperature": 0.5, "logit_bias": {str(i): -100 for i in range(300, 600)}},
        "one_token": {"max_tokens": 1}, "unicode": {"text": "\U0001f30a \u6d77? \"\\\n\u0001", "temperature": 1.8},
    }.items():
        _, document = ask(m, name, **fields)
        r = proved(m, document)
        assert len(document["segments"][0]["record"]["output"]) == document["segments"][0]["receipt"]["outTokens"]
    messages = [{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": "My dog is Rex."},
                {"role": "assistant", "content": "Nice."}, {"role": "user", "content": "What is my dog's name?"}]
    r = m.client.post("/v1/chat/completions", {"model": MODEL, "messages": messages, "max_tokens": 12})
    proved(m, record(m, r.headers["x-assay-job-id"]))
    # the text of one: people see that it is good, and how close it was
    r = run("verify", "--replay", "--model", model_file(m), "--name", MODEL, document=DOCUMENTS["greedy"])
    assert r.status == 0 and r.out.splitlines()[-1].startswith("proved: 32 tokens are those of the model") and "closest call" in r.out, r
    # ends: an end token, a stop string inside a word, a limit
    text, document = ask(m, "stopped", text="Say hello.", temperature=0.7, seed=3, max_tokens=200)
    r = proved(m, document)
    assert r.json["segments"][0]["replay"]["end"]["cause"] == "end_token" and document["segments"][0]["record"]["output"][-1] == END, r
    stop = word[1:] + " "
    text, document = ask(m, "stop_string", temperature=0, stop=["nonesuch", stop])
    assert text == greedy[:greedy.index(stop)], (text, greedy)
    assert proved(m, document).json["segments"][0]["replay"]["end"]["cause"] == "stop_string"
    _, document = ask(m, temperature=0, max_tokens=40, logit_bias={str(END): 100})
    assert proved(m, document).json["segments"][0]["replay"]["compared"] == 1


@case
def a_client_that_leaves(m):
    """What it took is charged and proved; nothing more is in the record."""
    s = m.client.stream("Write a very long story about a king.", model=MODEL, max_tokens=900, logit_bias=NO_END).upto(60)
    s.hang_up()
    job = m.client.ended(s.job_id)
    assert job["finish"] == "cancelled" and 0 < job["completion_tokens"] < 900, job
    r = proved(m, record(m, s.job_id))
    assert r.json["segments"][0]["replay"]["end"] == {"verdict": "right", "cause": "none"}, r
    assert r.text("finish") == "cancelled, before any end"


@case
def a_full_context(m):
    """The node has less context than the manifest says: whoever knows that can tell it."""
    r = m.client.chat("7 3 9 1 " * 240, model=MODEL, max_tokens=1000, temperature=0, logit_bias=NO_END)
    assert r.status == 200 and r.json["choices"][0]["finish_reason"] == "length" and r.json["usage"]["total_tokens"] == 2048, r
    document = record(m, r.headers["x-assay-job-id"])
    r = refused(m, document, "finish", text="--context")
    assert r.json["segments"][0]["replay"]["verdict"] == "proved" and r.json["segments"][0]["replay"]["end"]["verdict"] == "early", r
    assert proved(m, document, "--context", "2048").json["segments"][0]["replay"]["end"]["cause"] == "context"


@case
def the_bar_of_a_long_job(m):
    """On a terminal there is a progress bar, and it is gone at the end."""
    master, slave = pty.openpty()
    r = subprocess.run([ASSAY, "verify", "-", "--replay", "--model", model_file(m), "--name", MODEL], input=json.dumps(honest(m, "greedy")).encode(),
                       stdout=subprocess.PIPE, stderr=slave, timeout=60 * PATIENCE, check=False)
    os.close(slave)
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert r.returncode == 0 and "computing again" in shown and "100 %" in shown and shown.endswith("\x1b[K"), shown


# ---- changed documents -----------------------------------------------------------------------------------------------------

@case
def a_changed_document_is_refused(m):
    """Each field of record and sampling: before anything is computed."""
    document = honest(m, "penalised")
    proved(m, document)
    flip = lambda text: text[:-1] + ("0" if text[-1] != "0" else "1")
    for keys, by, check in (
        (("record", "output"), lambda ids: ids[:3] + [ids[3] + 1] + ids[4:], "record"), (("record", "output"), lambda ids: ids[:-1], "record"),
        (("record", "output"), lambda ids: ids + [1], "record"), (("record", "prior"), lambda ids: [7], "record"),
        (("record", "bias"), flip, "record"), (("record", "bias"), lambda text: "0x", "record"),
        (("record", "request"), lambda text: text.replace("sea", "sky"), "record"), (("record", "request"), lambda text: text + " ", "record"),
        (("promptDigest",), flip, "record"), (("sampling", "seed"), flip, "sampling"), (("sampling", "stops"), lambda stops: ["x"], "sampling"),
        (("sampling", "settings"), lambda text: "0x" + "00000001" + text[10:], "sampling"),
        (("receipt", "finish"), lambda n: 1, "place"), (("terms", "model"), flip, "receipt"), (("terms", "request"), flip, "receipt"),
    ):
        changed = copy.deepcopy(document)
        place = changed["segments"][0]
        for key in keys[:-1]:
            place = place[key]
        assert by(place[keys[-1]]) != place[keys[-1]], keys
        place[keys[-1]] = by(place[keys[-1]])
        r = replay(m, changed, status=1)
        assert check in r.failed() and not r.json["proved"], (keys, r)


@case
def a_token_of_ones_own(m):
    for name, at in (("greedy", 9), ("penalised", 0), ("penalised", 30)):
        document = honest(m, name)
        right = document["segments"][0]["record"]["output"][at]

        def change(segment, at=at, right=right):
            segment["record"]["output"][at] = 1234 if right != 1234 else 1235

        proved(m, forged(m, document))
        r = refused(m, forged(m, document, change), "replay", text=f"position {at}: token 1234")
        wrong = r.json["segments"][0]["replay"]["first_wrong"]
        assert wrong["position"] == at and wrong["given"]["id"] == 1234 and wrong["right"]["id"] == right and wrong["margin_nats"] > 0, r
        assert wrong["given"]["text"] == " redu" and not wrong["right"]["end"] and r.json["segments"][0]["replay"]["compared"] == at + 1, r
        r = replay(m, forged(m, document, change), "--all", status=1)
        assert r.json["segments"][0]["replay"]["compared"] == 32 and r.json["segments"][0]["replay"]["wrong"] >= 1, r
    out = run("verify", "--replay", "--model", model_file(m), "--name", MODEL, document=forged(m, honest(m, "greedy"), lambda s: s["record"]["output"].__setitem__(9, 1234)))
    assert out.status == 1 and "first wrong token: position 9 of the answer" in out.out and "nats below" in out.out and "NOT GOOD" in out.out, out
    right = honest(m, "greedy")["segments"][0]["record"]["output"][9]
    assert [line.split()[1] for line in out.out.splitlines() if line.startswith(("  given", "  right"))] == ["1234", str(right)], out


@case
def other_settings_seed_or_bias(m):
    """The terms say one thing, and the tokens came from another."""
    document = honest(m, "long")  # so long that each of them shows
    output = document["segments"][0]["record"]["output"]

    def settings(at, value):
        def change(segment):
            text = segment["sampling"]["settings"]
            segment["sampling"]["settings"] = text[:2 + 8 * at] + f"{value & 0xffffffff:08x}" + text[10 + 8 * at:]
        return change

    for change in (settings(0, 0), settings(0, 2000), settings(1, 1), settings(2, 100000), settings(5, -2000),
                   lambda s: s["sampling"].__setitem__("seed", "0x" + "17" * 32)):
        r = refused(m, forged(m, document, change), "replay")
        assert r.json["segments"][0]["replay"]["verdict"] == "wrong", r

    def ban(segment):  # of a token that stands there
        segment["record"]["bias"] = "0x" + (u32(output[4]) + struct.pack(">i", -100000)).hex()

    r = refused(m, forged(m, document, ban), "replay")
    wrong = r.json["segments"][0]["replay"]["first_wrong"]
    assert wrong["position"] <= 4 and (wrong["position"] < 4 or wrong["margin_nats"] is None), r


@case
def another_prompt(m):
    document = honest(m, "greedy")
    r = refused(m, forged(m, document, lambda s: s["record"].__setitem__("request", s["record"]["request"].replace("sea", "sky"))), "prompt")
    assert r.states()["replay"] == "absent" and r.json["segments"][0]["replay"]["verdict"] == "wrong", r
    inside = document["segments"][0]["receipt"]["inTokens"]
    refused(m, forged(m, document, receipt={"inTokens": inside + 1}), "prompt")
    r = replay(m, forged(m, document, lambda s: s["record"].__setitem__("request", '{"messages":[]}')), status=1)
    assert r.failed() == ["record"], r  # nothing that a node may take


@case
def ends_that_are_none(m):
    stopped, cut = honest(m, "stopped"), honest(m, "greedy")
    count = len(stopped["segments"][0]["record"]["output"])
    drop = lambda s: s["record"]["output"].pop()
    for document, change, parts, end, text in (
        (stopped, drop, {}, "early", "neither an end token"),                                          # it says stop before the end
        (stopped, drop, {"receipt": {"finish": 2}}, "early", f"{count - 1} tokens"),                   # it says length before the limit
        (stopped, lambda s: None, {"receipt": {"finish": 2}}, "other", "end token"),                   # the limit would have been longer
        (cut, lambda s: None, {"receipt": {"finish": 1}}, "early", "neither an end token"),
        (cut, lambda s: s["sampling"].__setitem__("stops", [" "]), {}, "late", "a stop string"),       # it should have stopped at the first blank
        (cut, lambda s: None, {"terms": {"maxOut": 33}}, "early", "neither max_out (33)"),
    ):
        r = refused(m, forged(m, document, change, **parts), "finish", text=text)
        assert r.json["segments"][0]["replay"]["verdict"] == "proved" and r.json["segments"][0]["replay"]["end"]["verdict"] == end, r
    # behind the end it goes on, even with the tokens that the model would give: found by computing them
    document = copy.deepcopy(stopped)
    for _ in range(2):
        document["segments"][0]["record"]["output"].append(1234)
        wrong = replay(m, forged(m, document), "--all").json["segments"][0]["replay"]["first_wrong"]
        if wrong is not None:
            document["segments"][0]["record"]["output"][wrong["position"]] = wrong["right"]["id"]
    r = refused(m, forged(m, document), "finish", text=f"an end token at position {count - 1}")
    assert r.json["segments"][0]["replay"]["end"]["verdict"] == "late", r
    # a cut may come anywhere before
    for keep in (0, 1, 5):
        proved(m, forged(m, stopped, lambda s, keep=keep: s["record"].__setitem__("output", s["record"]["output"][:keep]), receipt={"finish": 3}))


# ---- models ----------------------------------------------------------------------------------------------------------------

def doctored(m, folder):
    """The model with zeros for some of its weights: a valid file, and another model."""
    path = os.path.join(folder, os.path.basename(model_file(m)))
    with open(model_file(m), "rb") as f:
        raw = bytearray(f.read())
    raw[len(raw) // 2:len(raw) // 2 + 400_000] = bytes(400_000)
    raw[160:192] = bytes(32)
    raw[160:192] = hashlib.sha256(raw).digest()
    with open(path, "wb") as f:
        f.write(raw)
    return path


@case
def another_model(m):
    document = honest(m, "temperature" if "temperature" in DOCUMENTS else "penalised")
    manifest = run("models", "manifest", model_file(m), "--name", MODEL)
    digest = run("models", "manifest", model_file(m), "--name", MODEL, "--digest").out.strip()
    assert manifest.status == 0 and digest == document["segments"][0]["terms"]["model"] == "0x" + hashlib.sha256(manifest.out.strip().encode()).hexdigest()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "manifest.json")
        with open(path, "w", encoding="utf-8") as f:
            f.write(manifest.out)
        by_manifest = ("--manifest", path)
        replay(m, document, named=by_manifest, status=0)
        for named in (("--name", "smollm"), ("--name", MODEL, "--licence", "MIT")):
            r = replay(m, document, named=named, status=1)
            assert r.failed() == ["model"] and "one of the four is another" in r.text("model") and r.states()["replay"] == "absent", r
        other = doctored(m, folder)
        r = replay(m, document, named=by_manifest, file=other, status=1)
        assert r.failed() == ["model"] and "`files[0].sha256` differs" in r.text("model"), r
        r = replay(m, document, file=other, status=1)
        assert r.failed() == ["model"], r
        # a node that says that it runs the doctored one, and gives the tokens of the good one
        digest = run("models", "manifest", other, "--name", MODEL, "--digest").out.strip()
        lie = forged(m, document, terms={"model": bytes.fromhex(digest[2:])})
        r = replay(m, lie, file=other, status=1)
        assert r.failed() == ["replay"] and r.json["segments"][0]["replay"]["first_wrong"], r
        r = replay(m, lie, named=by_manifest, status=1)
        assert r.failed() == ["model"] and "this manifest is" in r.text("model"), r
        # files that are none
        for make, word in ((lambda f: f.write(b"no model"), "assay models convert"), (lambda f: f.write(open(other, "rb").read()[:-1]), "")):
            broken = os.path.join(folder, "broken.exact")
            with open(broken, "wb") as f:
                make(f)
            r = replay(m, document, file=broken, status=2)
            assert word in r.err and not r.out, r
        r = replay(m, document, file=os.path.join(folder, "nothing"), status=2)
        assert "NOT_FOUND" in r.err, r


# ---- segments --------------------------------------------------------------------------------------------------------------

@case
def a_later_segment(m):
    # another node was asked first and was busy: this one's part is segment 1, and begins at position 0
    node = m.join(m.node(link.model(MODEL, digest=bytes.fromhex(honest(m, "greedy")["segments"][0]["terms"]["model"][2:]), tier=2, engine=b"exact/1")))
    eventually("two nodes serve it", lambda: len([n for n in m.client.get("/v1/nodes").json["data"] if n["ready"]]) == 2)
    name = "0x" + node.key.address.hex()
    asked = background(lambda: m.client.chat(SEA, model=MODEL, max_tokens=16, temperature=1, provider={"order": [name]}))
    offer = node.offer()
    node.send("reject", job=offer.job, reason=1, text=b"busy")
    r = asked()
    assert r.status == 200, r
    node.close()
    document = record(m, r.headers["x-assay-job-id"])
    assert [s["status"] for s in document["segments"]] == ["failed", "done"] and document["segments"][0]["record"] is None, document
    r = proved(m, document)
    assert r.json["segments"][0]["replay"]["verdict"] == "not_replayed" and r.json["segments"][1]["segment"] == 1, r
    eventually("the gateway sees that the node is gone", lambda: len(m.client.get("/v1/nodes").json["data"]) == 1)

    # an answer in two parts: places and penalties go on where the first ended
    whole = honest(m, "penalised")
    output = whole["segments"][0]["record"]["output"]

    def parts(cut, **second):
        document = copy.deepcopy(whole)
        a, b = document["segments"][0], copy.deepcopy(document["segments"][0])
        a["record"]["output"] = output[:cut]
        b["record"].update({"prior": output[:cut], "output": output[cut:], **second})
        room = a["terms"]["maxOut"] - cut
        document["segments"] = [sign(m, a, receipt={"finish": 4}), sign(m, b, terms={"segment": 1, "laneSeq": 10**6, "maxOut": room})]
        return document

    for cut in (1, 13, 31):
        r = proved(m, parts(cut))
        assert [s["replay"]["compared"] for s in r.json["segments"]] == [cut, 32 - cut], r
    r = replay(m, parts(13, prior=output[:12]), status=1)
    assert r.failed() == ["record"] and "earlier segments gave" in r.text("record", 1), r
    r = replay(m, parts(13, prior=output[:12] + [5]), status=1)
    assert r.failed() == ["record"], r
    r = replay(m, parts(13, output=output[12:-1]), status=1)
    assert "replay" in r.failed() and r.json["segments"][1]["replay"]["first_wrong"]["position"] >= 13, r
    lost = parts(13)
    lost["segments"][0]["record"] = None
    r = replay(m, lost, status=2)
    assert r.states(1)["record"] == "absent" and r.states(1)["replay"] == "absent" and not r.failed(), r


@case
def what_cannot_be_replayed(m):
    document = honest(m, "greedy")
    plain = copy.deepcopy(document)
    del plain["segments"][0]["record"]
    r = replay(m, plain, status=2)
    assert r.states()["replay"] == "absent" and "assay receipt ID --record" in r.text("replay") and not r.json["proved"], r
    assert run("verify", document=plain).status == 0
    r = run("verify", document=document)
    assert r.status == 0 and "verify --replay" in r.out, r
    r = run("verify", "--replay", "--model", model_file(m), "--name", MODEL, document=plain)
    assert r.status == 2 and "NOT PROVED" in r.out, r
    for tier, name in enumerate(("format", "audited", None, "tee", "zk")):
        if name:
            r = replay(m, forged(m, document, terms={"tier": tier}), status=2)
            assert f"tier `{name}`" in r.text("replay") and not r.failed(), r
    wrong = copy.deepcopy(document)
    wrong["segments"][0]["record"]["output"][0] += 1
    r = replay(m, wrong, status=1)
    assert r.states()["replay"] == "absent" and "`record`" in r.text("replay"), r
    file, name = ("--model", model_file(m)), ("--name", MODEL)
    for args in (("--replay",), ("--replay", *file), ("--replay", *name), file, ("--context", "5"), ("--all",), ("--replay", *file, *name, "--manifest", "x"),
                 ("--replay", *file, "--manifest", "x", "--licence", "MIT"), ("--replay", *file, *name, "--kernel", "best"),
                 ("--replay", *file, *name, "--threads", "0"), ("--replay", *file, *name, "--context", "0"), ("--replay", *file, "--manifest", "/nonesuch")):
        r = run("verify", "-", *args, document=document)
        assert r.status == 2 and r.err and not r.out, (args, r)
    r = run("verify", "--replay", *file, *name, document={"object": "lane_entry"})
    assert r.status == 2 and "receipt" in r.err, r
    assert "models convert" in run("verify", "--help").out and "--record" in run("receipt", "--help").out


@case
def the_commands_go_together(m):
    """As the help tells it: fetch, convert, verify."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "job.json")
        job = honest(m, "greedy")["id"]
        env = {**os.environ, "ASSAY_BASE_URL": m.base_url, "ASSAY_API_KEY": m.info["api_key"]}
        r = run("receipt", job, "--record", "-o", path, env=env)
        assert r.status == 0 and os.stat(path).st_mode & 0o77 == 0, r
        r = run("verify", path, "--replay", "--model", model_file(m), "--name", MODEL, "--threads", "2", "--kernel", "scalar")
        assert r.status == 0 and "proved" in r.out, r


# ---- traces ----------------------------------------------------------------------------------------------------------------

def trace(m, document, *args, status=0):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump(document, f)
        f.flush()
        r = run("exact", "trace", "--model", model_file(m), "--receipt", f.name, *args)
    assert r.status == status, r
    return r


@case
def traces(m):
    document = copy.deepcopy(honest(m, "penalised"))
    output = document["segments"][0]["record"]["output"]
    inside = document["segments"][0]["receipt"]["inTokens"]
    first = trace(m, document, "--json").json
    assert first["positions"] == inside + 31 and first["rounds"] == 5 and first["depth"] == first["position_bits"] + 5 + 9, first
    # one root on every kernel and with any threads
    for args in (("--kernel", "scalar"), ("--threads", "2", "--name", MODEL)):
        again = trace(m, document, "--json", *args).json
        assert again == first, args
    text = trace(m, document, "--open", f"{inside - 1}/31/35").out
    assert f"root       {first['root']}" in text and f"job        {first['job']}" in text
    # openings lead to the root: a leaf of an embedding, a layer and a choice; the last names the token
    places = [(0, 0, 0), (inside + 3, 17, 130), (inside - 1, 31, 35), (inside + 10, 31, 35)]
    opened = trace(m, document, "--json", *(word for p in places for word in ("--open", "/".join(map(str, p))))).json["opened"]
    assert [(x["position"], x["slot"], x["leaf"]) for x in opened] == places
    for x in opened:
        node, index = eth.keccak(bytes.fromhex(x["content"][2:])), x["index"]
        assert len(x["path"]) == first["depth"] and len(x["content"]) == 2 + 256
        for sibling in x["path"]:
            sibling = bytes.fromhex(sibling[2:])
            node = eth.keccak(sibling + node if index & 1 else node + sibling)
            index >>= 1
        assert "0x" + node.hex() == first["root"], x
    assert [int.from_bytes(bytes.fromhex(x["content"][2:18]), "little") for x in opened[2:]] == [output[0], output[11]]
    assert trace(m, document, "--json", "--open", str(opened[1]["index"])).json["opened"] == [opened[1]]
    # another token is another trace, and another job
    lie = forged(m, document, lambda s: s["record"]["output"].__setitem__(9, 1234))
    other = trace(m, lie, "--json").json
    assert other["root"] != first["root"] and other["job"] != first["job"] and other["weights_root"] == first["weights_root"]
    # the second part of a job: what was given before stands behind the prompt
    later = copy.deepcopy(document)
    later["segments"][0]["record"].update(prior=output[:13], output=output[13:])
    a = {**copy.deepcopy(document["segments"][0])}
    a["record"]["output"] = output[:13]
    later["segments"] = [sign(m, a, receipt={"finish": 4}), sign(m, later["segments"][0], terms={"segment": 1, "maxOut": 19})]
    second = trace(m, later, "--json").json
    assert second["positions"] == first["positions"] and (second["prompt_ids"], second["output_ids"], second["first"]) == (inside + 13, 19, 13), second
    assert trace(m, later, "--json", "--segment", "0").json["output_ids"] == 13
    # what has none
    for change, args, words in ((lambda d: d["segments"][0].pop("record"), (), "--record"), (lambda d: d["segments"][0]["record"]["output"].pop(), (), "record"),
                                (lambda d: None, ("--segment", "1"), "segment"), (lambda d: None, ("--name", "other"), "manifest"),
                                (lambda d: None, ("--open", "1/32/0"), "layer slots"), (lambda d: None, ("--open", str(1 << first["depth"])), "layer slots")):
        changed = copy.deepcopy(document)
        change(changed)
        r = trace(m, changed, *args, status=1)
        assert words in r.err and not r.out, (args, r)
    for args in (("--open", "1/2"), ("--open", "x"), ("--open", "1/2/3/4"), ("--open", ""), ("--segment", "-1")):
        assert "--help" in trace(m, document, *args, status=2).err
    assert run("exact", "trace").status == 2 and "exact.md" in run("exact", "trace", "--help").out


@case
def a_prompt_with_the_time_in_it(_):
    """A chat template that prints a clock: node and auditor read the one of the terms, in UTC, wherever and whenever they run."""
    try:
        import models
    except ImportError:
        print("     left out: the gguf package is missing")
        return
    with tempfile.TemporaryDirectory() as folder:
        clock = models.Model("llama")
        clock.template = "{{ strftime_now( '%F %H:%M:%S' ) + strftime_now(\"%j\") + date_string }}{% for m in messages %}{{ m.content }}{% endfor %}"
        gguf, exact = f"{folder}/clock.gguf", f"{folder}/clock.exact"
        assert run("models", "convert", clock.write(gguf), exact, "--calibrate-tokens", "64").status == 0
        before = os.environ.get("TZ")
        os.environ["TZ"] = "Pacific/Kiritimati"
        try:
            m = Market("--model", exact)
        finally:
            del os.environ["TZ"]
            if before is not None:
                os.environ["TZ"] = before
        try:
            r = m.client.chat("!", model=m.model, max_tokens=8, temperature=0)
            assert r.status == 200, r
            document = record(m, r.headers["x-assay-job-id"])
            issued = document["segments"][0]["terms"]["issuedAt"]
            eventually("another second", lambda: int(time.time()) > issued + 1)
            for zone in ("America/Los_Angeles", "UTC"):
                r = run("verify", "-", "--json", "--replay", "--model", exact, "--name", m.model, document=document,
                        env={**os.environ, "TZ": zone})
                assert r.status == 0 and r.states()["prompt"] == "passed", r
            assert document["segments"][0]["receipt"]["inTokens"] == len("2026-01-01 00:00:00" "001" "01 Jan 2026" "!"), document
        finally:
            m.discard()


main(lambda: Market("--model", MODEL, "--engine", "exact"))
