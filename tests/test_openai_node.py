"""The official OpenAI client for JavaScript against a market; the cases stand in openai_client.mjs."""
# timeout: 180
from lib import *

MODULES = os.path.join(ROOT, ".deps/npm")
if not os.path.isdir(MODULES + "/node_modules/openai"):
    skip("the openai package for Node.js is missing: tools/setup check")
if shutil.which("node") is None:
    skip("Node.js is missing")


def run(m, poor, *more):
    done = subprocess.run(["node", os.path.join(ROOT, "tests/openai_client.mjs"), m.base_url, m.info["api_key"], poor, MODULES, *more],
                          capture_output=True, text=True, timeout=100 * PATIENCE, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {line["case"]: line for line in map(json.loads, done.stdout.splitlines())}


@case
def all_cases(m):
    results = run(m, m.account("0.000010").key)
    bad = [r for r in results.values() if not r["ok"]]
    assert not bad, "\n".join(f"{r['case']}: {r['why']}" for r in bad)
    assert set(results) == {"chat", "headers", "streaming", "streamingHelper", "parallel", "models", "badKey", "unknownModel", "badField",
                            "noHeadroom", "abort"}, results
    job = m.client.ended(results["abort"]["job"])
    assert job["finish"] == "cancelled" and results["abort"]["seen"] // 3 <= job["completion_tokens"] < 200, job


@case
def no_node(m):
    with m.without_nodes():
        assert run(m, "-", "no-node")["noNode"]["ok"]


main(lambda: Market("--model", "echo", "--slots", "32", "--echo-rate", "100"))
