"""The vendors beside OpenAI and Anthropic, and those two as more than their own clients ask of them."""

import json
import struct
import zlib

import wire_types
from vendors import CACHED_TOKENS, INPUT_TOKENS, OUTPUT_TOKENS, PIECES, TEXT, THOUGHT, TOOL_ARGUMENTS
from vendors import Anthropic, OpenAI, openai_data, openai_event, openai_reply, openai_stream, openai_usage, said, vectors

SIGNATURE = "c2lnbmF0dXJl"


class Azure(OpenAI):
    """OpenAI at the address of a deployment."""

    path = "/openai/deployments/upstream-model/chat/completions?api-version=2024-10-21"
    vectors_path = "/openai/deployments/upstream-model/embeddings?api-version=2024-10-21"
    credential = ("api-key", "sk-azure-upstream")


class Imitator(OpenAI):
    """One that imitates OpenAI and thinks aloud."""

    path = "/v1/chat/completions"
    credential = ("authorization", "Bearer sk-imitator-upstream")
    check = staticmethod(wire_types.imitator)

    @staticmethod
    def reply(scenario):
        if scenario == "thinking":
            return openai_reply({"content": TEXT, "reasoning_content": THOUGHT}, "stop")
        return OpenAI.reply(scenario)

    @staticmethod
    def stream(scenario):
        events = openai_stream(scenario)
        if scenario == "thinking":
            events[1:1] = [openai_event({"reasoning_content": piece}) for piece in (THOUGHT[:5], THOUGHT[5:])]
        return events


class Mistral(OpenAI):
    """Strict, with ids of nine letters; thinking is a part of the content."""

    path = "/v1/chat/completions"
    credential = ("authorization", "Bearer sk-mistral-upstream")
    check = staticmethod(wire_types.mistral_chat)
    check_vectors = staticmethod(wire_types.mistral_vectors)
    call_id = "D681PevKs"

    @classmethod
    def reply(cls, scenario):
        if scenario == "thinking":
            thought = {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}
            return openai_reply({"content": [thought, {"type": "text", "text": TEXT}]}, "stop")
        return renamed(OpenAI.reply(scenario), "call_1", cls.call_id)

    @classmethod
    def stream(cls, scenario):
        events = [renamed(event, "call_1", cls.call_id) for event in openai_stream(scenario)]
        # It tells what was used with the last of the reply, and has no option for it.
        del events[-2]
        events[-2] = openai_data({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": finish(scenario)}],
                                  "usage": openai_usage()})
        if scenario == "thinking":
            for piece in (THOUGHT[5:], THOUGHT[:5]):
                thought = {"type": "thinking", "thinking": [{"type": "text", "text": piece}]}
                events.insert(1, openai_event({"content": [thought]}))
        return events

    @staticmethod
    def error(status):
        kinds = {400: "invalid_request_error", 429: "rate_limited"}
        message = f"upstream says {status}"
        return {"object": "error", "message": message, "type": kinds.get(status, "server_error"), "param": None, "code": "1"}

    # The usage is with the finish.
    tail = 3


def finish(scenario):
    return "tool_calls" if scenario == "tools" else "stop"


def renamed(value, one, other):
    if isinstance(value, str):
        return value.replace(one, other)
    return json.loads(json.dumps(value, ensure_ascii=False).replace(one, other))


class Gemini:
    """Google AI Studio."""

    path = "/v1beta/models/upstream-model:generateContent"
    stream_path = "/v1beta/models/upstream-model:streamGenerateContent?alt=sse"
    vectors_path = "/v1beta/models/upstream-model:batchEmbedContents"
    credential = ("x-goog-api-key", "sk-gemini-upstream")
    tail = 2

    @staticmethod
    def check(body):
        wrong = wire_types.gemini(body)
        for content in body["contents"] if not wrong else []:
            for part in content["parts"]:
                # From version 3 on a call must come back with its signature.
                if "functionCall" in part and part.get("thoughtSignature") != SIGNATURE:
                    return f"a call without its signature: {part}"
        return wrong

    @staticmethod
    def event(parts, finish=None):
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0}
        usage = {
            "promptTokenCount": INPUT_TOKENS,
            "cachedContentTokenCount": CACHED_TOKENS,
            "candidatesTokenCount": OUTPUT_TOKENS,
            "totalTokenCount": INPUT_TOKENS + OUTPUT_TOKENS,
        }
        ended = {"finishReason": finish} if finish else {}
        return {
            "candidates": [{**candidate, **ended}],
            "usageMetadata": usage,
            "modelVersion": "upstream-model",
            "responseId": "resp-1",
        }

    @staticmethod
    def parts(scenario):
        if scenario == "tools":
            call = {"name": "forecast", "args": json.loads(TOOL_ARGUMENTS)}
            return [{"functionCall": call, "thoughtSignature": SIGNATURE}]
        thought = [{"text": THOUGHT, "thought": True}] if scenario == "thinking" else []
        return thought + [{"text": said(scenario)}]

    @classmethod
    def reply(cls, scenario):
        return cls.event(cls.parts(scenario), "STOP")

    @classmethod
    def stream(cls, scenario):
        if scenario in ("tools", "schema"):
            events = [cls.event(cls.parts(scenario))]
        else:
            thought = [[{"text": THOUGHT, "thought": True}]] if scenario == "thinking" else []
            events = [cls.event(parts) for parts in thought + [[{"text": piece}] for piece in PIECES]]
        events.append(cls.event([{"text": ""}], "STOP"))
        return [f"data: {json.dumps(event, ensure_ascii=False)}\r\n\r\n" for event in events]

    @staticmethod
    def embeddings(body):
        return {"embeddings": [{"values": values} for values in vectors(len(body["requests"]))]}

    @staticmethod
    def error(status):
        words = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}
        return {"error": {"code": status, "message": f"upstream says {status}", "status": words.get(status, "INTERNAL")}}


class Vertex(Gemini):
    """The same behind a service account."""

    account = "/v1/projects/test-project/locations/us-central1/publishers/google/models/gemini-upstream"
    path = f"{account}:generateContent"
    stream_path = f"{account}:streamGenerateContent?alt=sse"
    vectors_path = f"{account}:batchEmbedContents"
    credential = ("authorization", "Bearer vertex-token")


class VertexClaude(Anthropic):
    """Anthropic's bodies at a cloud's addresses, behind the same account."""

    account = "/v1/projects/test-project/locations/us-east5/publishers/anthropic/models/claude-sonnet-4-5@20250929"
    path = f"{account}:rawPredict"
    stream_path = f"{account}:streamRawPredict"
    credential = ("authorization", "Bearer vertex-token")
    check = staticmethod(wire_types.vertex_claude)


class Cohere:
    """Cohere's chat API, version 2; vectors by the endpoint that imitates OpenAI's."""

    path = "/v2/chat"
    vectors_path = "/compatibility/v1/embeddings"
    credential = ("authorization", "Bearer sk-cohere-upstream")
    tail = 4
    check = staticmethod(wire_types.cohere)
    check_vectors = staticmethod(wire_types.openai_vectors)
    embeddings = staticmethod(OpenAI.embeddings)

    @staticmethod
    def usage():
        tokens = {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS}
        return {"billed_units": tokens, "tokens": {**tokens, "input_tokens": 700}, "cached_tokens": CACHED_TOKENS}

    @staticmethod
    def call(arguments):
        return {"id": "forecast_1", "type": "function", "function": {"name": "forecast", "arguments": arguments}}

    @classmethod
    def reply(cls, scenario):
        message = {"role": "assistant"}
        if scenario == "tools":
            message |= {"tool_plan": "", "tool_calls": [cls.call(TOOL_ARGUMENTS)]}
        else:
            thought = {"type": "thinking", "thinking": THOUGHT}
            message["content"] = [thought] * (scenario == "thinking") + [{"type": "text", "text": said(scenario)}]
        reason = "TOOL_CALL" if scenario == "tools" else "COMPLETE"
        return {"id": "r1", "finish_reason": reason, "message": message, "usage": cls.usage()}

    @classmethod
    def stream(cls, scenario):
        def part(kind, texts, index):
            content = lambda event, content: (event, {"index": index, "delta": {"message": {"content": content}}})
            started = content("content-start", {"type": kind, kind: ""})
            return [started, *(content("content-delta", {kind: text}) for text in texts), ("content-end", {"index": index})]

        message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        events = [("message-start", {"id": "r1", "delta": {"message": message}})]
        if scenario == "tools":
            call = lambda event, call: (event, {"index": 0, "delta": {"message": {"tool_calls": call}}})
            events.append(call("tool-call-start", cls.call("")))
            for piece in (TOOL_ARGUMENTS[:7], TOOL_ARGUMENTS[7:]):
                events.append(call("tool-call-delta", {"function": {"arguments": piece}}))
            events.append(("tool-call-end", {"index": 0}))
        else:
            thinks = scenario == "thinking"
            if thinks:
                events += part("thinking", [THOUGHT[:5], THOUGHT[5:]], 0)
            events += part("text", [said(scenario)] if scenario == "schema" else PIECES, int(thinks))
        reason = "TOOL_CALL" if scenario == "tools" else "COMPLETE"
        events.append(("message-end", {"delta": {"finish_reason": reason, "usage": cls.usage()}}))
        line = lambda kind, event: json.dumps({"type": kind, **event}, ensure_ascii=False)
        return [f"event: {kind}\ndata: {line(kind, event)}\n\n" for kind, event in events]

    @staticmethod
    def error(status):
        return {"id": "r1", "message": f"upstream says {status}"}


class Bedrock:
    """Amazon Bedrock's Converse, with its framing."""

    model = "/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0"
    path = f"{model}/converse"
    stream_path = f"{model}/converse-stream"
    credential = ("authorization", "Bearer sk-bedrock-upstream")
    stream_type = "application/vnd.amazon.eventstream"
    tail = 4
    check = staticmethod(wire_types.bedrock)

    @staticmethod
    def usage():
        tokens = {"inputTokens": INPUT_TOKENS - CACHED_TOKENS, "outputTokens": OUTPUT_TOKENS}
        return {**tokens, "totalTokens": sum(tokens.values()), "cacheReadInputTokens": CACHED_TOKENS, "cacheWriteInputTokens": 0}

    @classmethod
    def reply(cls, scenario):
        if scenario == "tools":
            call = {"toolUseId": "tooluse_1", "name": "forecast", "input": json.loads(TOOL_ARGUMENTS)}
            content = [{"toolUse": call}]
        else:
            thought = {"reasoningContent": {"reasoningText": {"text": THOUGHT, "signature": SIGNATURE}}}
            content = [thought] * (scenario == "thinking") + [{"text": said(scenario)}]
        message = {"role": "assistant", "content": content}
        reason = "tool_use" if scenario == "tools" else "end_turn"
        return {"output": {"message": message}, "stopReason": reason, "usage": cls.usage(), "metrics": {"latencyMs": 9}}

    @classmethod
    def stream(cls, scenario):
        events = [("messageStart", {"role": "assistant"})]
        block = 0
        if scenario == "thinking":
            for delta in ({"text": THOUGHT}, {"signature": SIGNATURE}):
                events.append(("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": delta}}))
            events.append(("contentBlockStop", {"contentBlockIndex": 0}))
            block = 1
        if scenario == "tools":
            start = {"toolUse": {"toolUseId": "tooluse_1", "name": "forecast"}}
            events.append(("contentBlockStart", {"contentBlockIndex": 0, "start": start}))
            deltas = [{"toolUse": {"input": part}} for part in (TOOL_ARGUMENTS[:7], TOOL_ARGUMENTS[7:])]
        else:
            deltas = [{"text": piece} for piece in (PIECES if scenario != "schema" else [said(scenario)])]
        events += [("contentBlockDelta", {"contentBlockIndex": block, "delta": delta}) for delta in deltas]
        events.append(("contentBlockStop", {"contentBlockIndex": block}))
        events.append(("messageStop", {"stopReason": "tool_use" if scenario == "tools" else "end_turn"}))
        events.append(("metadata", {"usage": cls.usage(), "metrics": {"latencyMs": 9}}))
        return [cls.frame(name, json.dumps(event, ensure_ascii=False).encode()) for name, event in events]

    @staticmethod
    def frame(name, payload):
        headers = b""
        told = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
        for header, value in told.items():
            headers += struct.pack("!B", len(header)) + header.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
        message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
        return message + struct.pack("!I", zlib.crc32(message))

    @staticmethod
    def error(status):
        return {"message": f"upstream says {status}"}

    @staticmethod
    def error_headers(status):
        kinds = {400: "ValidationException", 401: "AccessDeniedException", 429: "ThrottlingException"}
        return {"x-amzn-errortype": kinds.get(status, "InternalServerException")}
