"""Bias and penalties on a real model, asked for with the official OpenAI client."""
# timeout: 280
# serial
import glob
import struct

from lib import *

try:
    import openai
except ImportError:
    skip("the openai package for Python is missing: tools/setup check")
MODELS = glob.glob(os.path.join(ROOT, ".deps/models/SmolLM2-*.gguf"))
if not MODELS:
    skip("the model is missing: tools/setup run")
if not os.path.exists(os.path.join(os.path.dirname(os.path.realpath(ASSAY)), "../lib/assay-llama.so")):
    skip("this build has no llama.cpp plugin")

MODEL = "smollm2-135m-instruct"
SONG = "Write a song about rain."


def vocabulary(path):
    """The texts of a GGUF file's tokens, by id."""
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    with open(path, "rb") as f:
        def number(fmt):
            return struct.unpack("<" + fmt, f.read(struct.calcsize(fmt)))[0]

        def text():
            return f.read(number("Q")).decode()

        def value(kind):
            if kind == 8:
                return text()
            if kind == 9:
                inner, count = number("I"), number("Q")
                return [value(inner) for _ in range(count)]
            f.read(sizes[kind])

        assert f.read(4) == b"GGUF"
        number("I"), number("Q")
        for _ in range(number("Q")):
            key = text()
            found = value(number("I"))
            if key == "tokenizer.ggml.tokens":
                return [t.replace("\u0120", " ").replace("\u010a", "\n") for t in found]
    raise AssertionError("no tokens")


TOKENS = vocabulary(MODELS[0])
FORCED, OTHER = TOKENS.index(" elephant"), TOKENS.index(" giraffe")


def ask(m, text=SONG, max_tokens=24, **fields):
    """The answer's text and finish reason."""
    client = openai.OpenAI(base_url=m.base_url, api_key=m.info["api_key"], max_retries=0, timeout=60 * PATIENCE)
    a = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}], max_tokens=max_tokens, **fields)
    return a.choices[0].message.content


def refused(m, **fields):
    try:
        ask(m, **fields)
    except openai.BadRequestError as e:
        return e
    raise AssertionError(f"{fields} was taken")


def repeats(text):
    """Words that stood there before."""
    words = text.lower().split()
    return len(words) - len(set(words))


@case
def a_bias_of_100_forces_a_token(m):
    for temperature in (0, 0.7, 1):
        assert ask(m, temperature=temperature, max_tokens=5, logit_bias={str(FORCED): 100}) == " elephant" * 5
    said = {ask(m, temperature=2, max_tokens=1, seed=i, logit_bias={str(FORCED): 100, str(OTHER): 100}) for i in range(12)}
    assert said <= {" elephant", " giraffe"}, said
    plain = ask(m, temperature=0)
    assert " elephant" not in plain and ask(m, temperature=0, logit_bias={str(FORCED): 0}) == plain


@case
def a_bias_of_minus_100_bans_it(m):
    first = ask(m, temperature=0, max_tokens=1)
    whole = ask(m, temperature=0)
    assert whole.startswith(first)
    banned = {str(i): -100 for i, t in enumerate(TOKENS) if t.strip().lower() == first.strip().lower() and t.strip()}
    assert 0 < len(banned) <= 300, (first, len(banned))
    without = ask(m, temperature=0, logit_bias=banned)
    assert without and not without.startswith(first) and without != whole, (first, without)
    for seed in range(3):
        assert not ask(m, temperature=2, seed=seed, max_tokens=1, logit_bias=banned) == first
    assert ask(m, temperature=2, max_tokens=3, seed=9, logit_bias={str(FORCED): -100, str(OTHER): 100}) == " giraffe" * 3


@case
def penalties_change_the_answer(m):
    ask_again = "Say the word rain again and again, many times."
    plain = ask(m, ask_again, max_tokens=60, temperature=0)
    answers = {"none": plain}
    for name, fields in {"frequency": {"frequency_penalty": 2}, "presence": {"presence_penalty": 2},
                         "repetition": {"extra_body": {"repetition_penalty": 1.5}}}.items():
        answers[name] = ask(m, ask_again, max_tokens=60, temperature=0, **fields)
        assert answers[name] != plain, name
        assert ask(m, ask_again, max_tokens=60, temperature=0, **fields) == answers[name], "and it is the same again"
    assert repeats(answers["frequency"]) < repeats(plain), answers
    assert ask(m, ask_again, max_tokens=60, temperature=0, presence_penalty=0, frequency_penalty=0,
               extra_body={"repetition_penalty": 1, "top_k": 0, "min_p": 0}) == plain, "asking for nothing changes nothing"


@case
def the_same_settings_and_seed_give_the_same_answer(m):
    fields = {"temperature": 1.2, "seed": 11, "top_p": 0.95, "presence_penalty": 0.6, "frequency_penalty": 0.4, "logit_bias": {str(FORCED): 3, "17": -100},
              "extra_body": {"top_k": 50, "min_p": 0.01, "repetition_penalty": 1.1}}
    first = ask(m, **fields)
    assert ask(m, **fields) == first
    r = m.client.stream(SONG, model=MODEL, max_tokens=24, **{k: v for k, v in fields.items() if k != "extra_body"}, **fields["extra_body"]).read()
    assert r.text == first, "streamed or not"
    others = [ask(m, **{**fields, **change}) for change in ({"seed": 12}, {"temperature": 0.5}, {"extra_body": {"top_k": 1}})]
    assert all(other != first for other in others), (first, others)
    assert ask(m, temperature=2, seed=5, extra_body={"top_k": 1}) == ask(m, temperature=0), "of one token the likeliest is left"
    assert ask(m, temperature=2, seed=6, extra_body={"min_p": 1}) == ask(m, temperature=0)


@case
def bad_values_are_named(m):
    before = m.client.spent()
    for fields, param in (
        ({"presence_penalty": 2.1}, "presence_penalty"), ({"frequency_penalty": -3}, "frequency_penalty"), ({"logit_bias": {"dog": 1}}, "logit_bias.dog"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5"), ({"logit_bias": {str(i): 1 for i in range(301)}}, "logit_bias"),
        ({"extra_body": {"repetition_penalty": 0}}, "repetition_penalty"), ({"extra_body": {"top_k": -1}}, "top_k"),
        ({"extra_body": {"min_p": 2}}, "min_p"),
        ({"logit_bias": {str(len(TOKENS)): 1}}, "logit_bias"), ({"logit_bias": {"5": 1, "1048575": 1}}, "logit_bias"),  # the node says so
    ):
        e = refused(m, **fields)
        assert e.status_code == 400 and e.param == param and param in e.message, (fields, e)
    assert ask(m, temperature=0, max_tokens=1, logit_bias={str(len(TOKENS) - 1): 1}), "the last id there is"
    jobs = m.client.jobs()
    assert m.client.spent() == before + pico(jobs[0]["amount"]) and [j["status"] for j in jobs[1:3]] == ["failed"] * 2


@case
def the_receipt_can_be_checked(m):
    r = m.client.chat(SONG, model=MODEL, max_tokens=4, frequency_penalty=1, logit_bias={"5": 1})
    job_id = r.headers["x-assay-job-id"]
    document = eventually("the receipt is signed", lambda: (d := m.client.receipt(job_id))["segments"][0]["checkpoint"] and d)
    assert document["segments"][0]["sampling"]["judge"] == "replay"
    assert document["segments"][0]["sampling"]["replay"] == ["frequency_penalty"]
    done = subprocess.run([ASSAY, "verify", "--json", "-"], input=json.dumps(document).encode(), capture_output=True, timeout=30 * PATIENCE)
    checks = {c["check"]: c["state"] for c in json.loads(done.stdout)["segments"][0]["checks"]}
    assert done.returncode == 0 and checks["sampling"] == "passed", done


main(lambda: Market("--model", MODEL))
