// What the official Node client must find; run by test_node.py as: node suite.mjs BASE_URL MODEL.
import assert from "node:assert/strict";
import OpenAI from "openai";

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0, timeout: 60_000 });
const messages = [{ role: "user", content: "Tell me a story." }];

const tests = {
  async "models are listed"() {
    const list = await client.models.list();
    assert.equal(list.data[0].id, model);
  },
  async "an answer has content and usage"() {
    const answer = await client.chat.completions.create({ model, messages, max_tokens: 5, ignore_eos: true });
    assert.equal(typeof answer.choices[0].message.content, "string");
    assert.equal(answer.usage.completion_tokens, 5);
  },
  async "a stream gives the same text, and usage last"() {
    const fields = { model, messages, max_tokens: 20, seed: 4 };
    const whole = await client.chat.completions.create(fields);
    const stream = await client.chat.completions.create({
      ...fields, stream: true, stream_options: { include_usage: true },
    });
    let text = "";
    let last;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      last = chunk;
    }
    assert.equal(text, whole.choices[0].message.content);
    assert.deepEqual(last.choices, []);
    assert.ok(last.usage.completion_tokens > 0);
  },
  async "the stream helper collects the whole answer"() {
    const runner = client.chat.completions.stream({ model, messages, max_tokens: 6, seed: 2 });
    const answer = await runner.finalChatCompletion();
    assert.equal(answer.choices[0].message.role, "assistant");
  },
  async "the tool runner calls a function and goes on"() {
    const called = [];
    const parameters = {
      type: "object", properties: { days: { type: "integer", minimum: 1, maximum: 9 } }, required: ["days"],
      additionalProperties: false,
    };
    const tool = {
      type: "function",
      function: {
        name: "forecast", parameters, parse: JSON.parse,
        function: (given) => (called.push(given), "Sunny."),
      },
    };
    const runner = client.chat.completions.runTools(
      { model, messages, tools: [tool], tool_choice: { type: "function", function: { name: "forecast" } }, max_tokens: 90, stream: true },
    );
    await runner.done();
    assert.equal(called.length, 1);
    assert.ok(Number.isInteger(called[0].days));
  },
  async "a schema holds for the answer"() {
    const schema = { type: "object", properties: { ok: { type: "boolean" } }, required: ["ok"], additionalProperties: false };
    const answer = await client.chat.completions.parse({
      model, messages, response_format: { type: "json_schema", json_schema: { name: "x", strict: true, schema } },
    });
    assert.equal(typeof answer.choices[0].message.parsed.ok, "boolean");
  },
  async "completions and embeddings work"() {
    const text = await client.completions.create({ model, prompt: "Once", max_tokens: 2 });
    assert.equal(typeof text.choices[0].text, "string");
    const vectors = await client.embeddings.create({ model, input: ["a", "b"] });
    assert.equal(vectors.data.length, 2);
    assert.ok(vectors.data[0].embedding.length > 8);
  },
  async "errors have their classes and request ids"() {
    await assert.rejects(client.chat.completions.create({ model: "nobody", messages }), (error) => {
      assert.ok(error instanceof OpenAI.NotFoundError);
      assert.equal(error.code, "model_not_found");
      assert.ok(error.requestID.startsWith("req_"));
      return true;
    });
    await assert.rejects(client.chat.completions.create({ model, messages: [] }), OpenAI.BadRequestError);
  },
  async "a stream can be aborted"() {
    const stream = await client.chat.completions.create({ model, messages, max_tokens: 500, stream: true });
    for await (const _ of stream) break;
    assert.ok(stream.controller.signal.aborted);
  },
};

let failed = 0;
for (const [name, test] of Object.entries(tests)) {
  try {
    await test();
    console.log(`ok      ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAILED  ${name}\n${error.stack}`);
  }
}
process.exit(failed ? 1 : 0);
