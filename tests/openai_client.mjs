// Run by test_openai_node: node openai_client.mjs BASE_URL API_KEY POOR_KEY. Prints one JSON line per case.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [baseURL, apiKey, poorKey, modules] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${modules}/x.js`));
const OpenAI = (await import(pathToFileURL(require.resolve("openai")))).default;

const client = (key = apiKey) => new OpenAI({ baseURL, apiKey: key, maxRetries: 0, timeout: 60_000 });
const messages = [{ role: "user", content: "Hello, open market" }];
const ask = (fields = {}, key) => client(key).chat.completions.create({ model: "echo", messages, ...fields });

async function refused(kind, status, fields, key) {
  const error = await ask(fields, key).then(() => assert.fail("no error"), (e) => e);
  assert.ok(error instanceof kind, `${error.constructor.name}: ${error.message}`);
  assert.equal(error.status, status);
  return error;
}

const cases = {
  async chat() {
    const answer = await ask({ max_tokens: 100, temperature: 0.5, top_p: 0.9, seed: 7, user: "me", stop: ["zzz"] });
    assert.equal(answer.choices[0].message.content, "Hello, open market");
    assert.equal(answer.choices[0].finish_reason, "stop");
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
    assert.equal(answer._request_id.length, 32);
    assert.ok(answer.assay);
  },
  async headers() {
    const { data, response } = await client().chat.completions.create({ model: "echo", messages }).withResponse();
    assert.equal(response.headers.get("x-assay-job-id").length, 66);
    assert.equal(data.choices[0].message.content, "Hello, open market");
  },
  async streaming() {
    let text = "", finish, usage;
    for await (const chunk of await ask({ stream: true, stream_options: { include_usage: true } })) {
      text += chunk.choices[0]?.delta.content ?? "";
      finish = chunk.choices[0]?.finish_reason ?? finish;
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, "Hello, open market");
    assert.equal(finish, "stop");
    assert.equal(usage.completion_tokens, 7);
  },
  async streamingHelper() {
    const stream = client().chat.completions.stream({ model: "echo", messages });
    let text = "";
    stream.on("content", (piece) => (text += piece));
    const final = await stream.finalChatCompletion();
    assert.equal(final.choices[0].message.content, "Hello, open market");
    assert.equal(text, "Hello, open market");
  },
  async parallel() {
    const answers = await Promise.all([...Array(20).keys()].map((i) => ask({ messages: [{ role: "user", content: `number ${i}` }] })));
    answers.forEach((answer, i) => assert.equal(answer.choices[0].message.content, `number ${i}`));
  },
  async models() {
    const ids = [];
    for await (const model of client().models.list()) ids.push(model.id);
    assert.ok(ids.includes("echo"));
    assert.equal((await client().models.retrieve("echo")).id, "echo");
  },
  async badKey() {
    assert.equal((await refused(OpenAI.AuthenticationError, 401, {}, "sk-wrong")).code, "invalid_api_key");
  },
  async unknownModel() {
    const error = await refused(OpenAI.NotFoundError, 404, { model: "gpt-nothing" });
    assert.deepEqual([error.code, error.param], ["model_not_found", "model"]);
  },
  async badField() {
    assert.equal((await refused(OpenAI.BadRequestError, 400, { temperature: 9 })).param, "temperature");
    assert.equal((await refused(OpenAI.BadRequestError, 400, { zebra: 1 })).param, "zebra");
  },
  async noHeadroom() {
    const error = await refused(OpenAI.APIError, 402, { max_tokens: 1000 }, poorKey);
    assert.deepEqual([error.code, error.type], ["insufficient_credit", "insufficient_quota"]);
  },
  async abort() {
    const { data, response } = await client().chat.completions
      .create({ model: "echo", messages: [{ role: "user", content: "0123456789ab".repeat(100) }], stream: true, max_tokens: 500 })
      .withResponse();
    let seen = 0;
    for await (const chunk of data) {
      seen += chunk.choices[0]?.delta.content?.length ?? 0;
      if (seen >= 60) data.controller.abort();
    }
    return { job: response.headers.get("x-assay-job-id"), seen };
  },
};

const onlyNoNode = process.argv[6] === "no-node";
if (onlyNoNode) {
  const error = await refused(OpenAI.InternalServerError, 503, {});
  assert.equal(error.code, "no_node_available");
  console.log(JSON.stringify({ case: "noNode", ok: true }));
} else {
  for (const [name, run] of Object.entries(cases)) {
    try {
      console.log(JSON.stringify({ case: name, ok: true, ...(await run()) }));
    } catch (e) {
      console.log(JSON.stringify({ case: name, ok: false, why: String(e.stack ?? e) }));
    }
  }
}
