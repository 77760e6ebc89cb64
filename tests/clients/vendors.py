"""What the two vendors put on the wire, and a provider that plays it.

The last user message names a scenario (``scenario:tools``); the provider answers with it. So one running provider
serves every test at once, and a test reads like what it is about.
"""

import json
import queue
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import wire_types

TEXT = "The harbour keeps the last light \u2028 über alles."
PIECES = ["The harbour ", "keeps the last", " light \u2028", " über alles."]
TOOL_ARGUMENTS = '{"city":"Oslo","days":3}'
THOUGHT = "Look at the sky first."
SCHEMA_TEXT = '{"city":"Oslo","days":3}'
# JSON that is no longer any when it ends.
HALF_PIECES = ['{"city":', '"Oslo"']
INPUT_TOKENS, CACHED_TOKENS, OUTPUT_TOKENS = 21, 8, 13


def said(scenario):
    return "".join(pieces(scenario))


def pieces(scenario):
    return {"schema": [SCHEMA_TEXT], "half": HALF_PIECES}.get(scenario, PIECES)


def vectors(count):
    return [[0.5, -0.25], [1.0, 2.0]][:count]


def openai_reply(message, finish):
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "upstream-model",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": finish}],
        "usage": openai_usage(),
    }


def openai_usage():
    return {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": OUTPUT_TOKENS,
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS},
    }


def openai_call():
    return {"id": "call_1", "type": "function", "function": {"name": "forecast", "arguments": TOOL_ARGUMENTS}}


def openai_event(delta, finish=None):
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return openai_data({"choices": [choice], "usage": None})


def openai_data(fields):
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": "upstream-model"}
    return f"data: {json.dumps({**head, **fields}, ensure_ascii=False)}\n\n"


def openai_stream(scenario):
    events = [openai_event({"role": "assistant", "content": ""})]
    if scenario == "tools":
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "forecast", "arguments": ""}}
        events.append(openai_event({"tool_calls": [call]}))
        for part in (TOOL_ARGUMENTS[:7], TOOL_ARGUMENTS[7:]):
            events.append(openai_event({"tool_calls": [{"index": 0, "function": {"arguments": part}}]}))
        events.append(openai_event({}, "tool_calls"))
    else:
        events += [openai_event({"content": piece}) for piece in pieces(scenario)]
        events.append(openai_event({}, "stop"))
    return events + [openai_data({"choices": [], "usage": openai_usage()}), "data: [DONE]\n\n"]


def anthropic_usage():
    return {
        "input_tokens": INPUT_TOKENS - CACHED_TOKENS,
        "cache_read_input_tokens": CACHED_TOKENS,
        "cache_creation_input_tokens": 0,
        "output_tokens": OUTPUT_TOKENS,
    }


def anthropic_reply(content, reason):
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "upstream-model",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": anthropic_usage(),
    }


def anthropic_event(kind, **fields):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields}, ensure_ascii=False)}\n\n"


def anthropic_stream(scenario):
    message = {**anthropic_reply([], None), "usage": {**anthropic_usage(), "output_tokens": 1}}
    events = [anthropic_event("message_start", message=message)]
    index = 0
    if scenario == "thinking":
        index = 1
        thought = {"type": "thinking", "thinking": "", "signature": ""}
        events.append(anthropic_event("content_block_start", index=0, content_block=thought))
        for delta in ({"type": "thinking_delta", "thinking": THOUGHT}, {"type": "signature_delta", "signature": "c2ln"}):
            events.append(anthropic_event("content_block_delta", index=0, delta=delta))
        events.append(anthropic_event("content_block_stop", index=0))
    if scenario == "tools":
        block, reason = {"type": "tool_use", "id": "toolu_1", "name": "forecast", "input": {}}, "tool_use"
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in (TOOL_ARGUMENTS[:7], TOOL_ARGUMENTS[7:])]
    else:
        block, reason = {"type": "text", "text": ""}, "end_turn"
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces(scenario)]
    events.append(anthropic_event("content_block_start", index=index, content_block=block))
    events.append(anthropic_event("ping"))
    events += [anthropic_event("content_block_delta", index=index, delta=delta) for delta in deltas]
    events.append(anthropic_event("content_block_stop", index=index))
    delta = {"stop_reason": reason, "stop_sequence": None}
    events.append(anthropic_event("message_delta", delta=delta, usage={"output_tokens": OUTPUT_TOKENS}))
    return events + [anthropic_event("message_stop")]


class OpenAI:
    """The shapes of OpenAI's chat completions."""

    path = "/v1/chat/completions"
    vectors_path = "/v1/embeddings"
    credential = ("authorization", "Bearer sk-openai-upstream")
    # So many events are left out of a stream that ends too early: some of the text is out then.
    tail = 4
    stream = staticmethod(openai_stream)
    check = staticmethod(wire_types.openai)
    check_vectors = staticmethod(wire_types.openai_vectors)

    @staticmethod
    def embeddings(body):
        """Always as numbers, as some imitators do whatever is asked."""
        asked = [body["input"]] if isinstance(body["input"], str) else body["input"]
        data = [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors(len(asked)))
        ]
        usage = {"prompt_tokens": INPUT_TOKENS, "total_tokens": INPUT_TOKENS}
        return {"object": "list", "data": data, "model": "upstream-model", "usage": usage}

    @staticmethod
    def reply(scenario):
        if scenario == "tools":
            return openai_reply({"content": None, "refusal": None, "tool_calls": [openai_call()]}, "tool_calls")
        return openai_reply({"content": said(scenario), "refusal": None}, "stop")

    @staticmethod
    def error(status):
        kind = {400: "invalid_request_error", 401: "invalid_request_error", 404: "invalid_request_error"}
        code = {400: "context_length_exceeded", 401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
        body = {"message": f"upstream says {status}", "type": kind.get(status, "server_error"), "param": None}
        return {"error": {**body, "code": code.get(status)}}


class Anthropic:
    """The shapes of Anthropic's messages."""

    path = "/v1/messages"
    credential = ("authorization", "Bearer sk-anthropic-upstream")
    tail = 4
    stream = staticmethod(anthropic_stream)
    check = staticmethod(wire_types.anthropic)

    @staticmethod
    def reply(scenario):
        if scenario == "tools":
            call = {"type": "tool_use", "id": "toolu_1", "name": "forecast", "input": json.loads(TOOL_ARGUMENTS)}
            return anthropic_reply([call], "tool_use")
        thought = {"type": "thinking", "thinking": THOUGHT, "signature": "c2ln"}
        return anthropic_reply([thought] * (scenario == "thinking") + [{"type": "text", "text": said(scenario)}], "end_turn")

    @staticmethod
    def error(status):
        kind = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
        error = {"type": kind.get(status, "api_error"), "message": f"upstream says {status}"}
        return {"type": "error", "error": error, "request_id": "req_upstream"}


class Provider:
    """One vendor on a free port. ``asked`` holds the requests in order; ``gone`` those whose client went away; ``refused`` what was
    wrong with requests that the vendor would not take."""

    def __init__(self, vendor):
        provider = self
        self.vendor, self.asked, self.gone, self.refused = vendor, queue.Queue(), queue.Queue(), []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                provider.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, http):
        raw = http.rfile.read(int(http.headers["content-length"]))
        if http.path == "/token":
            return self.send(http, 200, {"access_token": "vertex-token", "expires_in": 3600, "token_type": "Bearer"})
        body, vendor = json.loads(raw), self.vendor
        self.asked.put({"path": http.path, "headers": dict(http.headers.items()), "body": body})
        name, value = vendor.credential
        if http.headers[name] != value:
            return self.refuse(http, 401, f"`{name}` is {http.headers[name]}")
        if http.path == getattr(vendor, "vectors_path", None):
            wrong = getattr(vendor, "check_vectors", lambda _: None)(body)
            return self.refuse(http, 422, wrong) if wrong else self.send(http, 200, vendor.embeddings(body))
        stream_path = getattr(vendor, "stream_path", None)
        if http.path not in (vendor.path, stream_path):
            return self.refuse(http, 404, f"nothing at {http.path}")
        if wrong := vendor.check(body):
            return self.refuse(http, 422, wrong)
        scenario = self.scenario(body)
        if scenario.startswith("error-"):
            status = int(scenario.removeprefix("error-"))
            headers = {"retry-after": "7"} if status == 429 else {}
            return self.send(http, status, vendor.error(status), {**headers, **getattr(vendor, "error_headers", lambda _: {})(status)})
        if not (http.path == stream_path if stream_path else body.get("stream")):
            if scenario == "hang":
                return self.wait_until_gone(http)
            return self.send(http, 200, vendor.reply(scenario))
        return self.play(http, scenario)

    @staticmethod
    def scenario(body):
        whole = json.dumps(body)
        # A conversation that goes on after a tool's result is answered with text.
        if re.search(r'"(tool_result|functionResponse|toolResult)"|"role": "tool"', whole):
            return "text"
        named = re.findall(r"scenario:([a-z0-9-]+)", whole)
        # Whoever is told what was wrong with an answer of its own does as it is told.
        if named and named[-1] == "persuaded":
            return "schema" if '"assistant"' in whole else "text"
        return named[-1] if named else "text"

    def refuse(self, http, status, why):
        """Tells what is wrong with a request; no test passes over it."""
        self.refused.append(why)
        self.send(http, status, {"error": {"message": why}})

    @staticmethod
    def send(http, status, body, headers=None):
        raw = json.dumps(body).encode()
        http.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(raw)), **(headers or {})}.items():
            http.send_header(name, value)
        http.end_headers()
        http.wfile.write(raw)

    def play(self, http, scenario):
        events = self.vendor.stream(scenario)
        http.send_response(200)
        http.send_header("content-type", getattr(self.vendor, "stream_type", "text/event-stream"))
        http.send_header("transfer-encoding", "chunked")
        http.end_headers()
        whole = len(events) - (self.vendor.tail if scenario in ("hang", "cut", "broken") else 0)
        try:
            for event in events[:whole]:
                raw = event if isinstance(event, bytes) else event.encode()
                http.wfile.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")
                http.wfile.flush()
        except ConnectionError:
            # Whoever goes away goes as soon as it has read enough.
            if scenario != "hang":
                raise
            http.close_connection = True
            return self.gone.put(True)
        if scenario == "hang":
            return self.wait_until_gone(http)
        if scenario == "broken":
            http.close_connection = True
            return http.connection.shutdown(2)
        # "cut" ends here too: a body that is whole for HTTP and lacks its dialect's terminator.
        http.wfile.write(b"0\r\n\r\n")

    def wait_until_gone(self, http):
        http.connection.settimeout(30)
        try:
            left = http.connection.recv(1) == b""
        except ConnectionError:
            left = True
        except TimeoutError:
            left = False
        self.gone.put(left)
        http.close_connection = True
