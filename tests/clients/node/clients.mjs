// openai-node and the Vercel AI SDK against a running gateway: GATEWAY is its address, KEY its key, GROUP who answers.

import assert from "node:assert/strict";

import { createOpenAI } from "@ai-sdk/openai";
import { generateText, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";
import { z } from "zod";

const { GATEWAY, KEY, GROUP, TEXT } = process.env;
const client = new OpenAI({ baseURL: `${GATEWAY}/v1`, apiKey: KEY, maxRetries: 0 });
const vercel = createOpenAI({ baseURL: `${GATEWAY}/v1`, apiKey: KEY });
const messages = [{ role: "user", content: "scenario:text" }];

const checks = {
    async chat() {
        const reply = await client.chat.completions.create({ model: GROUP, messages });
        assert.equal(reply.choices[0].message.content, TEXT);
    },
    async "chat, streamed"() {
        let text = "";
        for await (const chunk of await client.chat.completions.create({ model: GROUP, messages, stream: true })) {
            text += chunk.choices[0]?.delta?.content ?? "";
        }
        assert.equal(text, TEXT);
    },
    async "responses, streamed"() {
        const stream = client.responses.stream({ model: GROUP, input: "scenario:text" });
        const final = await stream.finalResponse();
        assert.equal(final.output_text, TEXT);
    },
    async embeddings() {
        const reply = await client.embeddings.create({ model: "via-openai", input: ["one", "two"] });
        assert.deepEqual(reply.data.map((one) => one.embedding), [[0.5, -0.25], [1, 2]]);
    },
    async refused() {
        await assert.rejects(client.chat.completions.create({ model: "none", messages }), OpenAI.NotFoundError);
    },
};

const forecast = tool({
    description: "The weather to come",
    inputSchema: z.object({ city: z.string(), days: z.number() }),
    execute: async ({ city }) => `rain in ${city}`,
});
for (const [name, model] of [["chat", vercel.chat(GROUP)], ["responses", vercel.responses(GROUP)]]) {
    checks[`vercel, ${name}`] = async () => {
        const { text } = await generateText({ model, prompt: "scenario:text", maxRetries: 0 });
        assert.equal(text, TEXT);
    };
    checks[`vercel, ${name}, streamed`] = async () => {
        let text = "";
        for await (const piece of streamText({ model, prompt: "scenario:text", maxRetries: 0 }).textStream) {
            text += piece;
        }
        assert.equal(text, TEXT);
    };
    // Steps after the first name what the gateway keeps, where its clients do so.
    checks[`vercel, ${name}, tools`] = async () => {
        const asked = { model, prompt: "scenario:tools", tools: { forecast }, stopWhen: stepCountIs(3), maxRetries: 0 };
        const { text, steps } = await generateText(asked);
        assert.equal(text, TEXT);
        assert.equal(steps[0].toolResults[0].output, "rain in Oslo");
    };
}

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
    try {
        await check();
    } catch (error) {
        failed += 1;
        console.error(`${name}: ${error.stack}`);
    }
}
console.log(`${Object.keys(checks).length - failed} of ${Object.keys(checks).length}`);
process.exit(failed ? 1 : 0);
