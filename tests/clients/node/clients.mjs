// openai-node and the Vercel AI SDK against a running gateway: GATEWAY is its address, KEY its key, GROUP who answers, and what the
// provider behind it says stands in the other variables.

import assert from "node:assert/strict";

import { createMistral } from "@ai-sdk/mistral";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, generateText, Output, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const { GATEWAY, KEY, GROUP, TEXT, THOUGHT } = process.env;
const [INPUT, CACHED, OUTPUT] = ["INPUT", "CACHED", "OUTPUT"].map((name) => Number(process.env[name]));
const PNG = "data:image/png;base64,iVBORw0KGgo=";
const client = new OpenAI({ baseURL: `${GATEWAY}/v1`, apiKey: KEY, maxRetries: 0 });
const vercel = createOpenAI({ baseURL: `${GATEWAY}/v1`, apiKey: KEY });
const mistral = createMistral({ baseURL: `${GATEWAY}/v1`, apiKey: KEY });
const asks = (scenario) => [{ role: "user", content: `scenario:${scenario}` }];
const Place = z.object({ city: z.string(), days: z.number().int() });
const place = { city: "Oslo", days: 3 };
const thinks = GROUP === "via-anthropic";

const checks = {
    async chat() {
        const reply = await client.chat.completions.create({ model: GROUP, messages: asks("text") });
        assert.equal(reply.choices[0].message.content, TEXT);
        assert.deepEqual([reply.usage.prompt_tokens, reply.usage.completion_tokens], [INPUT, OUTPUT]);
        assert.equal(reply.usage.prompt_tokens_details.cached_tokens, CACHED);
    },
    async "chat, streamed"() {
        let [text, used] = ["", null];
        const asked = { model: GROUP, messages: asks("text"), stream: true, stream_options: { include_usage: true } };
        for await (const chunk of await client.chat.completions.create(asked)) {
            text += chunk.choices[0]?.delta?.content ?? "";
            used = chunk.usage ?? used;
        }
        assert.equal(text, TEXT);
        assert.deepEqual([used.prompt_tokens, used.completion_tokens], [INPUT, OUTPUT]);
    },
    async "chat, structured"() {
        const format = zodResponseFormat(Place, "place");
        const asked = { model: GROUP, messages: asks("schema"), response_format: format };
        assert.deepEqual((await client.chat.completions.parse(asked)).choices[0].message.parsed, place);
        const final = await client.chat.completions.stream(asked).finalChatCompletion();
        assert.deepEqual(final.choices[0].message.parsed, place);
    },
    async "chat, a picture"() {
        const content = [{ type: "text", text: "scenario:text" }, { type: "image_url", image_url: { url: PNG } }];
        const reply = await client.chat.completions.create({ model: GROUP, messages: [{ role: "user", content }] });
        assert.equal(reply.choices[0].message.content, TEXT);
    },
    async "chat, thinking"() {
        const asked = { model: GROUP, messages: asks("thinking"), reasoning_effort: "low", max_completion_tokens: 4000 };
        const { message } = (await client.chat.completions.create(asked)).choices[0];
        assert.equal(message.reasoning_content ?? null, thinks ? THOUGHT : null);
        let thought = "";
        for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
            thought += chunk.choices[0]?.delta?.reasoning_content ?? "";
        }
        assert.equal(thought, thinks ? THOUGHT : "");
    },
    async "chat, refused"() {
        for (const [scenario, kind] of [[400, OpenAI.BadRequestError], [429, OpenAI.RateLimitError], [500, OpenAI.InternalServerError]]) {
            const asked = client.chat.completions.create({ model: GROUP, messages: asks(`error-${scenario}`) });
            await assert.rejects(asked, (error) => error instanceof kind && /upstream says/.test(error.message));
        }
        await assert.rejects(client.chat.completions.create({ model: "none", messages: asks("text") }), OpenAI.NotFoundError);
    },
    async "chat, cut off"() {
        const reading = async () => {
            for await (const _ of await client.chat.completions.create({ model: GROUP, messages: asks("broken"), stream: true }));
        };
        await assert.rejects(reading(), OpenAI.APIError);
    },
    async "chat, left"() {
        const stream = await client.chat.completions.create({ model: GROUP, messages: asks("hang"), stream: true });
        for await (const chunk of stream) {
            if (chunk.choices[0]?.delta?.content) {
                break;
            }
        }
        assert.equal(stream.controller.signal.aborted, true);
    },
    async responses() {
        const reply = await client.responses.create({ model: GROUP, input: "scenario:text", store: false });
        assert.equal(reply.output_text, TEXT);
        assert.deepEqual([reply.usage.input_tokens, reply.usage.output_tokens], [INPUT, OUTPUT]);
    },
    async "responses, streamed"() {
        const stream = client.responses.stream({ model: GROUP, input: "scenario:text" });
        const final = await stream.finalResponse();
        assert.equal(final.output_text, TEXT);
        assert.equal((await client.responses.retrieve(final.id)).output_text, TEXT);
    },
    async "responses, structured"() {
        const schema = { type: "object", properties: { city: { type: "string" }, days: { type: "integer" } }, required: ["city", "days"], additionalProperties: false };
        const text = { format: { type: "json_schema", name: "place", schema, strict: true } };
        const reply = await client.responses.parse({ model: GROUP, input: "scenario:schema", text });
        assert.deepEqual(JSON.parse(reply.output_text), place);
    },
    async "responses, a picture"() {
        const content = [{ type: "input_text", text: "scenario:text" }, { type: "input_image", image_url: PNG, detail: "auto" }];
        assert.equal((await client.responses.create({ model: GROUP, input: [{ role: "user", content }] })).output_text, TEXT);
    },
    async embeddings() {
        const reply = await client.embeddings.create({ model: "via-openai", input: ["one", "two"] });
        assert.deepEqual(reply.data.map((one) => one.embedding), [[0.5, -0.25], [1, 2]]);
    },
    async models() {
        const names = [];
        for await (const model of client.models.list()) {
            names.push(model.id);
        }
        assert.ok(names.includes(GROUP));
    },
};

const parameters = { type: "object", properties: { city: { type: "string" }, days: { type: "integer" } }, required: ["city", "days"] };
for (const stream of [false, true]) {
    // The loop is the SDK's own: it calls the function and sends its result back.
    checks[`chat, tools${stream ? ", streamed" : ""}`] = async () => {
        const called = [];
        const run = { function: (given) => (called.push(given), "rain"), parse: JSON.parse, name: "forecast", description: "The weather to come", parameters };
        const runner = client.chat.completions.runTools({ model: GROUP, messages: asks("tools"), stream, tools: [{ type: "function", function: run }] });
        assert.equal(await runner.finalContent(), TEXT);
        assert.deepEqual(called, [place]);
    };
}

const forecast = tool({
    description: "The weather to come",
    inputSchema: z.object({ city: z.string(), days: z.number() }),
    execute: async ({ city }) => `rain in ${city}`,
});
for (const [name, model] of [["chat", vercel.chat(GROUP)], ["responses", vercel.responses(GROUP)], ["mistral", mistral(GROUP)]]) {
    const base = { model, maxRetries: 0 };
    checks[`vercel, ${name}`] = async () => {
        const { text, usage } = await generateText({ ...base, prompt: "scenario:text" });
        assert.equal(text, TEXT);
        assert.deepEqual([usage.inputTokens, usage.outputTokens], [INPUT, OUTPUT]);
    };
    checks[`vercel, ${name}, streamed`] = async () => {
        let text = "";
        const stream = streamText({ ...base, prompt: "scenario:text" });
        for await (const piece of stream.textStream) {
            text += piece;
        }
        assert.equal(text, TEXT);
        assert.deepEqual([(await stream.usage).inputTokens, await stream.finishReason], [INPUT, "stop"]);
    };
    // Steps after the first name what the gateway keeps, where its clients do so.
    checks[`vercel, ${name}, tools`] = async () => {
        const asked = { ...base, prompt: "scenario:tools", tools: { forecast }, stopWhen: stepCountIs(3) };
        const { text, steps } = await generateText(asked);
        assert.equal(text, TEXT);
        assert.equal(steps[0].toolResults[0].output, "rain in Oslo");
        const stream = streamText(asked);
        assert.equal(await stream.text, TEXT);
        assert.equal((await stream.steps)[0].toolResults[0].output, "rain in Oslo");
    };
    checks[`vercel, ${name}, structured`] = async () => {
        const { output } = await generateText({ ...base, prompt: "scenario:schema", output: Output.object({ schema: Place }) });
        assert.deepEqual(output, place);
    };
    checks[`vercel, ${name}, a picture`] = async () => {
        const content = [{ type: "text", text: "scenario:text" }, { type: "file", mediaType: "image/png", data: PNG }];
        const { text } = await generateText({ ...base, messages: [{ role: "user", content }] });
        assert.equal(text, TEXT);
    };
    checks[`vercel, ${name}, refused`] = async () => {
        for (const [scenario, status] of [[400, 400], [429, 429]]) {
            const asked = generateText({ ...base, prompt: `scenario:error-${scenario}` });
            await assert.rejects(asked, (error) => APICallError.isInstance(error) && error.statusCode === status);
        }
    };
    checks[`vercel, ${name}, left`] = async () => {
        const leave = new AbortController();
        const stream = streamText({ ...base, prompt: "scenario:hang", abortSignal: leave.signal, onError() {} });
        for await (const piece of stream.fullStream) {
            if (piece.type === "text-delta") {
                leave.abort();
            }
        }
    };
}
checks["vercel, responses, thinking"] = async () => {
    const openai = { reasoningEffort: "low", reasoningSummary: "auto", forceReasoning: true };
    const asked = { model: vercel.responses(GROUP), prompt: "scenario:thinking", maxRetries: 0, maxOutputTokens: 4000, providerOptions: { openai } };
    const { text, reasoningText } = await generateText(asked);
    assert.deepEqual([text, reasoningText ?? ""], [TEXT, thinks ? THOUGHT : ""]);
};

let failed = 0;
const run = async ([name, check]) => {
    try {
        await check();
    } catch (error) {
        failed += 1;
        console.error(`${name}: ${error.stack}`);
    }
};
await Promise.all(Object.entries(checks).map(run));
console.log(`${Object.keys(checks).length - failed} of ${Object.keys(checks).length}`);
process.exit(failed ? 1 : 0);
