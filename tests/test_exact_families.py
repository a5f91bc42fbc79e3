"""The converter against llama.cpp, family by family: random models are converted, run by the exact engine, and their logits
compared with those of a float run of the same file. Each check is checked, too: a mistake in the graph must fail it."""
# timeout: 300
import hashlib
import json
import tempfile

from lib import *

try:
    import models
    import numpy as np
    from gguf import GGMLQuantizationType as T
    from gguf import quants
except ImportError:
    skip("the gguf package is missing: tools/setup check")
if not os.path.exists(os.path.join(os.path.dirname(os.path.realpath(ASSAY)), "../lib/assay-llama.so")):
    skip("this build has no llama.cpp plugin")

DIR = tempfile.mkdtemp(prefix="assay-families-")
atexit.register(shutil.rmtree, DIR, ignore_errors=True)
TEXT = os.path.join(DIR, "text")
with open(TEXT, "wb") as f:
    f.write(bytes(np.random.default_rng(7).integers(32, 127, 4000).astype(np.uint8)))


def assay(*args, status=0):
    done = subprocess.run([ASSAY, *args], capture_output=True, timeout=120 * PATIENCE, check=False)
    assert done.returncode == status, (args, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout.decode() if status == 0 else done.stderr.decode()


def file(name):
    return os.path.join(DIR, name)


def convert(path, *options):
    out = path + ".exact"
    return out, json.loads(assay("models", "convert", path, out, "--json", *options))


def compare(gguf, model, *options):
    """How near the exact model's logits are to those of the float file: smallest and mean correlation, share of the same top
    token."""
    r = json.loads(assay("models", "report", gguf, model, "--any-source", "--types", "", "--text", TEXT, "--window", "200",
                         "--windows", "4", "--json", *options))
    exact = r["models"][1]
    return {"least": r["least_correlation"], "mean": r["correlation"], "top": exact["same_top"],
            "saturated": r["saturated"], "layers": r["layer_error"]}


def near(c):
    """What all inputs wide and weights that 8 bits hold must reach. The worst of the families has
    least 0.9989, mean 0.9997; the mildest of the mistakes below 0.988, 0.9965."""
    return c["least"] > 0.998 and c["mean"] > 0.9995 and c["top"] > 0.97 and c["saturated"] == 0


def agrees(name, model, controls):
    """model's exact form agrees with its float form; each control's exact form does not agree with model's float form."""
    path = model.write(file(name + ".gguf"))
    exact, _ = convert(path, "--fold", "none", "--wide", "all")
    c = compare(path, exact)
    assert near(c), (name, c)
    print(f"     {name}: least {c['least']:.6f} mean {c['mean']:.6f} top {c['top']:.4f}")
    for what, other in controls.items():
        wrong, _ = convert(other.write(file("control.gguf")), "--fold", "none", "--wide", "all")
        w = compare(path, wrong)
        assert not near(w), (name, what, w)
        print(f"        {what}: least {w['least']:.6f} mean {w['mean']:.6f} top {w['top']:.4f}")
    # the family's own recipe: scales move, 8-bit inputs where the family has them; weights are rounded now
    exact, _ = convert(path, "--calibrate", TEXT)
    c = compare(path, exact)
    assert c["least"] > 0.998 and c["mean"] > 0.9995 and c["top"] > 0.95 and c["saturated"] == 0, (name, c)
    print(f"     {name}, its recipe: least {c['least']:.6f} mean {c['mean']:.6f} top {c['top']:.4f}")


def without(model, part):
    other = model.copy()
    other.tensors = {k: v for k, v in model.tensors.items() if part not in k}
    return other


def changed(model, **keys):
    other = model.copy()
    for key, value in keys.items():
        name = key.replace("__", ".")
        if value is None:
            del other.keys[name]
        else:
            other.keys[name] = value
    return other


@case
def llama3(_):
    m = models.Model("llama", rope_freqs=True, tied=False)
    m.keys["rope.freq_base"] = 500000.0
    agrees("llama3", m, {"rotated pairs": m.rotated(), "no rope_freqs": without(m, "rope_freqs"),
                         "another base": changed(m, rope__freq_base=50000.0)})


@case
def llama_with_every_bias(_):
    names = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    m = models.Model("llama", seed=2, bias=names)
    agrees("llama-bias", m, {f"no bias of {n}": without(m, f"blk.2.{n}.bias") for n in names})


@case
def mistral(_):
    m = models.Model("llama", seed=3, tied=False, heads=8, kv_heads=2, head_dim=32, dim=192)
    m.keys["rope.freq_base"] = 1000000.0
    m.keys.update({"rope.scaling.type": "linear", "rope.scaling.factor": 4.0})
    agrees("mistral", m, {"rotated pairs": m.rotated(), "no scaling": changed(m, rope__scaling__factor=None)})


@case
def qwen2(_):
    m = models.Model("qwen2", seed=4, bias=("attn_q", "attn_k", "attn_v"))
    agrees("qwen2", m, {"rotated pairs": m.rotated(), "no bias of keys": without(m, "attn_k.bias"),
                        "no bias of values": without(m, "blk.1.attn_v.bias")})


@case
def qwen2_untied(_):
    agrees("qwen2-untied", models.Model("qwen2", seed=5, tied=False, bias=("attn_q", "attn_k", "attn_v")), {})


@case
def qwen3(_):
    m = models.Model("qwen3", seed=6, dim=160, head_dim=48)
    swapped = m.copy()
    swapped.tensors["blk.0.attn_q_norm.weight"] = m.tensors["blk.0.attn_k_norm.weight"]
    agrees("qwen3", m, {"rotated pairs": m.rotated(), "another norm of queries": swapped})


@case
def qwen3_untied(_):
    agrees("qwen3-untied", models.Model("qwen3", seed=7, tied=False), {})


@case
def gemma3(_):
    m = models.Model("gemma3", seed=8, window=24, head_dim=64)
    swapped = m.copy()
    a, b = "blk.3.post_attention_norm.weight", "blk.3.post_ffw_norm.weight"
    swapped.tensors[a], swapped.tensors[b] = m.tensors[b], m.tensors[a]
    agrees("gemma3", m, {"rotated pairs": m.rotated(), "a window of one more": changed(m, attention__sliding_window=25),
                         "no window": changed(m, attention__sliding_window=None), "post-norms swapped": swapped,
                         "another period": changed(m, **{"attention__sliding_window_pattern": 7}),
                         "another local base": changed(m, **{"rope__freq_base_swa": 12000.0})})


@case
def gemma3_untied_every_layer_said(_):
    m = models.Model("gemma3", seed=9, window=40, tied=False)
    m.keys["attention.sliding_window_pattern"] = [True, False, True, True, False, True, False]
    agrees("gemma3-untied", m, {"the usual period": changed(m, **{"attention__sliding_window_pattern": None})})


# ---- number formats -----------------------------------------------------------------------------------------------------

def blocks(kind, rows, cols, random):
    """Random blocks of a format that gguf can read but not write: any bits are numbers, if the scales are."""
    count, length = quants.GGML_QUANT_SIZES[kind]
    raw = random.integers(0, 256, (rows, cols // count, length), dtype=np.uint8)
    halves = {T.Q2_K: (80, 82), T.Q3_K: (108,), T.Q4_K: (0, 2), T.Q5_K: (0, 2), T.Q6_K: (208,), T.IQ4_NL: (0,), T.IQ4_XS: (0,),
              T.IQ3_S: (0,), T.IQ2_XS: (0,), T.TQ1_0: (52,)}[kind]
    for at in halves:
        scale = random.uniform(0.001, 0.01, (rows, cols // count)).astype(np.float16)
        raw[:, :, at:at + 2] = scale.view(np.uint8).reshape(rows, cols // count, 2)
    return raw.reshape(rows, -1)


@case
def every_number_format(_):
    m = models.Model("llama", seed=10, layers=1, dim=256, inner=256, head_dim=64)
    name = "blk.0.ffn_up.weight"
    floats = m.tensors[name]
    random = np.random.default_rng(11)
    for kind in (T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL, T.IQ4_XS,
                 T.IQ3_S, T.IQ2_XS, T.TQ1_0):
        try:
            raw = quants.quantize(floats, kind)
        except NotImplementedError:
            raw = blocks(kind, *floats.shape, random)
        m.tensors[name] = quants.dequantize(raw, kind).astype(np.float32)
        options = ("--fold", "none", "--calibrate-tokens", "64")
        _, plain = convert(m.write(file("plain.gguf")), *options)
        _, packed = convert(m.write(file("packed.gguf"), {name: (raw, kind)}), *options)
        assert plain["weights"] == packed["weights"] and plain["source"] != packed["source"], kind
        m.tensors[name] = floats


# ---- the same bytes -----------------------------------------------------------------------------------------------------

@case
def the_same_bytes(_):
    path = models.Model("gemma3", seed=12, window=24).write(file("same.gguf"))
    contents = []
    for options in (("--threads", "1"), ("--threads", "3"), ("--kernel", "scalar")):
        out, _ = convert(path, "--fold", "all", "--wide", "down;0-3:all", *options)
        with open(out, "rb") as f:
            contents.append(f.read())
    assert contents[0] == contents[1] == contents[2]


def numbers(name, shape):
    """The same on every machine: bytes of a hash, as floats."""
    count = int(np.prod(shape))
    raw = b"".join(hashlib.sha256(f"{name} {i}".encode()).digest() for i in range((count + 31) // 32))[:count]
    return (np.frombuffer(raw, np.uint8).reshape(shape).astype(np.float32) - 127.5) / 128


# Of the whole file: whoever changes what a conversion computes changes these, and the version in the recipe's text with them.
BYTES = {
    "llama": "6d8e5e2393c7ed59e517090ca0320d42516f15b51a5c73c02733f6eee894dae0",
    "qwen2": "ab9b13b11e45a2bfab198cddf10ba2b60d85f79e7de66ec43177c2332ce7a9be",
    "qwen3": "47ed749d4b214a60b9814e9bdb52cc5b175527b9b0e7d9075dfc5a76fb8504e8",
    "gemma3": "c9c720a2479b1d7d6aeda0584e97d552a1523e53cb5d4a86af7962aea3b85a70",
}


@case
def these_bytes_on_every_machine(_):
    """Other compilers, processors and kernels than those of this machine made the same files."""
    got = {}
    for family in BYTES:
        m = models.Model(family, window=24 if family == "gemma3" else 0, bias=("attn_q", "attn_k") if family == "qwen2" else (),
                         rope_freqs=family == "llama")
        for name, values in m.tensors.items():
            x = numbers(name, values.shape)
            m.tensors[name] = x / 8 if values.ndim == 2 else 1 + x / 2  # exact: powers of two
        out, _ = convert(m.write(file(f"{family}-bytes.gguf")), "--fold", "all", "--wide", "down,head;0-1:all")
        with open(out, "rb") as f:
            got[family] = hashlib.sha256(f.read()).hexdigest()
    assert got == BYTES, got


@case
def perplexity_does_not_depend_on_how_it_is_computed(_):
    out, _ = convert(models.Model("qwen3", seed=14).write(file("ppl.gguf")))
    got = set()
    for options in ((), ("--chunk", "7"), ("--batch", "4", "--chunk", "16"), ("--threads", "3"), ("--kernel", "scalar")):
        r = json.loads(assay("exact", "ppl", "--model", out, "--text", TEXT, "--window", "100", "--windows", "6", "--json", *options))
        assert r["windows"] == 6 and r["window"] == 100 and r["tokens"] == 6 * 99
        got.add((r["nll"], r["perplexity"], r["nll_error"]))
    assert len(got) == 1, got


@case
def check_sees_another_weight(_):
    """A start believes the root that stands in the file; `models check` computes it."""
    source = models.Model("gemma3", seed=17, window=24).write(file("check.gguf"))
    out, converted = convert(source)
    r = json.loads(assay("models", "check", out, "--source", source, "--json"))
    assert r["weights"] == converted["weights"] and r["source"] == converted["source"] and r["layers"] == 7 and r["vocab"] == 260, r
    assert converted["weights"] in assay("models", "check", out)
    assert "was not made from" in assay("models", "check", out, "--source", out, status=1)
    with open(out, "rb") as f:
        whole = bytearray(f.read())
    text = whole.index(b"assay convert recipe")
    odd = whole[:text] + b"\033" + whole[text + 1:]
    odd[160:192] = bytes(32)
    odd[160:192] = hashlib.sha256(odd).digest()
    with open(file("odd.exact"), "wb") as f:
        f.write(odd)
    assert "\n?ssay convert recipe" in assay("models", "check", file("odd.exact"))
    at = 256 + 8 * 7 + 2000000 % len(whole) // 2
    at = next(i for i in range(at, len(whole)) if 1 < whole[i] < 100 and 1 < whole[i + 1] < 100)
    whole[at] -= 1
    with open(out, "wb") as f:
        f.write(whole)
    assert "checksum" in assay("models", "check", out, status=1)
    whole[160:192] = bytes(32)
    whole[160:192] = hashlib.sha256(whole).digest()
    with open(out, "wb") as f:
        f.write(whole)
    assert "another root" in assay("models", "check", out, status=1)


@case
def a_report_keeps_to_its_folder(_):
    """Whatever a model's file and a number format are called: JSON stays JSON, and no other file is removed."""
    source = models.Model("llama", layers=1).write(file("report.gguf"))
    out, _ = convert(source, "--calibrate-tokens", "64")
    odd, kept = file('a "<b>\\ \u00e9.exact'), file("kept.gguf")
    shutil.move(out, odd)
    shutil.copy(source, kept)
    common = ("models", "report", source, odd, "--text", TEXT, "--window", "64", "--windows", "2", "--json")
    assert json.loads(assay(*common, "--types", ""))["models"][1]["name"] == "a --b-- --"
    assert "no such type" in assay(*common, "--types", f"../{os.path.basename(DIR)}/kept", status=1)
    assert os.path.exists(kept)
    assert "--types" in assay(*common, "--types", "Q8_0," + "Q" * 60, status=1)


# ---- what is refused ----------------------------------------------------------------------------------------------------

def refused(model, *said, write=None, options=()):
    path = file("refused.gguf")
    (write or model.write)(path)
    out = path + ".exact"
    if os.path.exists(out):
        os.unlink(out)
    text = assay("models", "convert", path, out, *options, status=1)
    assert all(word in text for word in said), text
    assert not os.path.exists(out) and not os.path.exists(out + ".part")


@case
def features_are_refused_by_name(_):
    m = models.Model("llama", layers=1)
    refused(changed(m, expert_count=8), "expert_count", "mixture of experts")
    refused(changed(m, rope__scaling__type="yarn"), "rope scaling", "yarn")
    refused(changed(m, rope__dimension_count=16), "a part of a head")
    refused(changed(m, attention__value_length=64), "values of another length")
    refused(changed(m, attention__something_new=1), "llama.attention.something_new")
    refused(changed(m, attention__sliding_window=64), "a window")
    refused(changed(m, attention__head_count_kv=[1, 2]), "attention.head_count_kv")
    refused(changed(m, attention__head_count=None), "attention.head_count")
    refused(changed(models.Model("gemma3", layers=1), final_logit_softcapping=30.0), "soft cap")
    refused(without(m, "blk.0.ffn_up.weight"), "blk.0.ffn_up.weight", "no such tensor")
    other = m.copy()
    other.tensors["blk.0.attn_sinks.weight"] = np.zeros(4, np.float32)
    refused(other, "blk.0.attn_sinks.weight", "no place")
    other = m.copy()
    other.tensors["blk.0.ffn_up.weight"] = np.zeros((192, 64), np.float32)
    refused(other, "blk.0.ffn_up.weight", "192 x 64")
    other = m.copy()
    other.tensors["blk.0.ffn_up.weight"] = m.tensors["blk.0.ffn_up.weight"].copy()
    other.tensors["blk.0.ffn_up.weight"][5, 7] = np.nan
    refused(other, "blk.0.ffn_up.weight", "not finite")
    other = m.copy()
    other.family = "falcon"
    refused(other, "falcon", "llama, qwen2, qwen3 and gemma3")

    def cut(path):
        m.write(path)
        os.truncate(path, os.path.getsize(path) - 200)
    refused(m, "cut off", write=cut)
    refused(m, "wide", options=("--wide", "up"))
    big = m.copy()
    big.tensors["token_embd.weight"] = m.tensors["token_embd.weight"] * 2.0 ** 10
    refused(big, "residual-bits", "embedding", options=("--residual-bits", "14"))


@case
def damaged_files_are_refused(_):
    """Bytes changed in the keys of the architecture or in the list of tensors: a model or an error, never a crash."""
    path = models.Model("qwen2", layers=1, bias=("attn_q",)).write(file("whole.gguf"))
    with open(path, "rb") as f:
        whole = f.read()
    random = np.random.default_rng(13)
    first, last = whole.index(b"qwen2.context_length"), whole.index(b"tokenizer.ggml.model")
    tensors = whole.index(b"token_embd.weight")
    statuses = []
    for n in range(80):
        damaged = bytearray(whole)
        at = random.integers(first, last) if n % 2 else random.integers(tensors - 8, tensors + 900)
        damaged[at] = random.integers(0, 256)
        with open(file("damaged.gguf"), "wb") as f:
            f.write(damaged)
        done = subprocess.run([ASSAY, "models", "convert", file("damaged.gguf"), file("damaged.exact"), "--calibrate-tokens", "32",
                               "--fold", "none"], capture_output=True, timeout=60 * PATIENCE, check=False)
        assert done.returncode in (0, 1), (at, damaged[at], done)
        statuses.append(done.returncode)
    assert statuses.count(1) > 20, statuses


@case
def the_unit_makes_room(_):
    m = models.Model("llama", layers=2, tied=False)
    m.tensors["token_embd.weight"] = m.tensors["token_embd.weight"] * 2.0 ** 8  # beyond what unit 2^-14 can hold
    path = m.write(file("big.gguf"))
    exact, r = convert(path, "--fold", "none", "--wide", "all")
    assert r["residual_bits"] < 14 and r["headroom"] >= 2 and r["saturated"] == 0, r
    assert near(compare(path, exact))


@case
def a_market_converts_each_file_once(_):
    path = file("market.gguf")
    models.Model("llama", seed=15).write(path)
    data = file("market")
    m = Market("--model", path, data=data)
    try:
        digests = []
        for again in range(3):
            digests.append(m.client.get("/v1/nodes").json["data"][0]["models"][0]["digest"])
            assert m.client.chat("!", model=m.model, max_tokens=2).status == 200
            m.stop()
            if again == 1:  # another file of that name
                models.Model("llama", seed=16).write(path)
            if again != 2:
                m.start()
                m.up()
    finally:
        m.discard()
    assert digests[0] == digests[1] != digests[2], digests
    with open(m.log, encoding="utf-8") as f:
        assert f.read().count("converting") == 2


main(lambda: None)
