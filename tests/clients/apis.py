"""Each client API as its own SDK speaks it, behind one face: what is wished for goes in, what was said comes out."""

import json
from dataclasses import dataclass, field

import anthropic
import openai
from google import genai
from google.genai import errors, types

from conftest import KEY

PNG = "iVBORw0KGgo="
PDF = "JVBERi0xLjQK"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}


@dataclass
class Said:
    """One reply, whatever API it came through. ``turn`` is what a conversation that goes on repeats of it."""

    text: str = ""
    thought: str = ""
    calls: list = field(default_factory=list)
    finish: str = ""
    input: int = 0
    output: int = 0
    cached: int = 0
    turn: object = None


class Chat:
    """Chat completions, as openai-python asks for them."""

    name = "chat"
    failed = openai.APIError
    finishes = {"text": "stop", "tools": "tool_calls"}

    def __init__(self, gateway):
        self.client = openai.OpenAI(base_url=f"{gateway}/v1", api_key=KEY, max_retries=0, timeout=30)

    def request(self, group, wish, scenario, before=None):
        parts = [{"type": "text", "text": f"scenario:{scenario}"}]
        more = {"max_tokens": 4000}
        if wish == "image":
            parts.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}})
        if wish == "document":
            file = {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}
            parts.append({"type": "file", "file": file})
        if wish == "tools":
            function = {"name": "forecast", "description": "The weather to come", "parameters": SCHEMA, "strict": True}
            more["tools"] = [{"type": "function", "function": function}]
        if wish == "schema":
            schema = {"name": "place", "schema": SCHEMA, "strict": True}
            more["response_format"] = {"type": "json_schema", "json_schema": schema}
        if wish == "thinking":
            more["reasoning_effort"] = "low"
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
        if before:
            messages.append(before.turn)
            messages += [{"role": "tool", "tool_call_id": call, "content": "rain"} for call, *_ in before.calls]
        return {"model": group, "messages": messages, **more}

    def whole(self, group, wish, scenario, before=None):
        return self.read(self.client.chat.completions.create(**self.request(group, wish, scenario, before)))

    def streamed(self, group, wish, scenario, before=None):
        asked = self.request(group, wish, scenario, before)
        with self.client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
            stream.until_done()
            return self.read(stream.get_final_completion())

    def pieces(self, group, scenario):
        stream = self.client.chat.completions.create(**self.request(group, "text", scenario), stream=True)
        try:
            for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    yield chunk.choices[0].delta.content
        finally:
            stream.close()

    @staticmethod
    def read(reply):
        (choice,) = reply.choices
        calls = [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or []]
        thought = (choice.message.model_extra or {}).get("reasoning_content") or ""
        used = reply.usage
        turn = choice.message.model_dump(exclude_none=True, exclude={"parsed"})
        for call in turn.get("tool_calls") or []:
            call.pop("index", None)
            call["function"].pop("parsed_arguments", None)
        return Said(
            choice.message.content or "", thought, calls, choice.finish_reason, used.prompt_tokens, used.completion_tokens,
            used.prompt_tokens_details.cached_tokens, turn,
        )


class Messages:
    """Anthropic's messages."""

    name = "messages"
    failed = anthropic.APIError
    finishes = {"text": "end_turn", "tools": "tool_use"}

    def __init__(self, gateway):
        self.client = anthropic.Anthropic(base_url=gateway, api_key=KEY, max_retries=0, timeout=30)

    def request(self, group, wish, scenario, before=None):
        content = [{"type": "text", "text": f"scenario:{scenario}"}]
        more = {"max_tokens": 4000}
        if wish == "image":
            content.append({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}})
        if wish == "document":
            source = {"type": "base64", "media_type": "application/pdf", "data": PDF}
            content.append({"type": "document", "source": source, "title": "a.pdf"})
        if wish == "tools":
            more["tools"] = [{"name": "forecast", "description": "The weather to come", "input_schema": SCHEMA}]
        if wish == "schema":
            more["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
        if wish == "thinking":
            more["thinking"] = {"type": "enabled", "budget_tokens": 1024}
        messages = [{"role": "user", "content": content}]
        if before:
            results = [{"type": "tool_result", "tool_use_id": call, "content": "rain"} for call, *_ in before.calls]
            messages += [{"role": "assistant", "content": before.turn}, {"role": "user", "content": results}]
        return {"model": group, "system": "Be brief.", "messages": messages, **more}

    def whole(self, group, wish, scenario, before=None):
        return self.read(self.client.messages.create(**self.request(group, wish, scenario, before)))

    def streamed(self, group, wish, scenario, before=None):
        with self.client.messages.stream(**self.request(group, wish, scenario, before)) as stream:
            return self.read(stream.get_final_message())

    def pieces(self, group, scenario):
        with self.client.messages.stream(**self.request(group, "text", scenario)) as stream:
            yield from stream.text_stream

    @staticmethod
    def read(reply):
        of = lambda kind: [block for block in reply.content if block.type == kind]
        calls = [(call.id, call.name, json.dumps(call.input)) for call in of("tool_use")]
        used = reply.usage
        cached = used.cache_read_input_tokens or 0
        return Said(
            "".join(block.text for block in of("text")), "".join(block.thinking for block in of("thinking")), calls,
            reply.stop_reason, used.input_tokens + cached, used.output_tokens, cached,
            [block.model_dump(exclude_none=True, exclude={"parsed_output", "caller"}) for block in reply.content],
        )


class Responses:
    """OpenAI's responses."""

    name = "responses"
    failed = openai.APIError
    finishes = {"text": "completed", "tools": "completed"}

    def __init__(self, gateway):
        self.client = openai.OpenAI(base_url=f"{gateway}/v1", api_key=KEY, max_retries=0, timeout=30)

    def request(self, group, wish, scenario, before=None):
        content = [{"type": "input_text", "text": f"scenario:{scenario}"}]
        more = {"max_output_tokens": 4000, "store": False}
        if wish == "image":
            content.append({"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"})
        if wish == "document":
            file = {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}
            content.append({"type": "input_file", **file})
        if wish == "tools":
            function = {"name": "forecast", "description": "The weather to come", "parameters": SCHEMA, "strict": True}
            more["tools"] = [{"type": "function", **function}]
        if wish == "schema":
            more["text"] = {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}}
        if wish == "thinking":
            more["reasoning"] = {"effort": "low", "summary": "auto"}
        items = [{"role": "user", "content": content}]
        if before:
            items += before.turn
            items += [{"type": "function_call_output", "call_id": call, "output": "rain"} for call, *_ in before.calls]
        return {"model": group, "instructions": "Be brief.", "input": items, **more}

    def whole(self, group, wish, scenario, before=None):
        return self.read(self.client.responses.create(**self.request(group, wish, scenario, before)))

    def streamed(self, group, wish, scenario, before=None):
        with self.client.responses.stream(**self.request(group, wish, scenario, before)) as stream:
            return self.read(stream.get_final_response())

    def pieces(self, group, scenario):
        stream = self.client.responses.create(**self.request(group, "text", scenario), stream=True)
        try:
            for event in stream:
                if event.type == "response.output_text.delta":
                    yield event.delta
                elif event.type in ("response.failed", "error"):
                    raise openai.APIError(f"{event.type}", request=None, body=None)
                elif event.type == "response.completed":
                    return
            raise AssertionError("the stream ended without an end")
        finally:
            stream.close()

    @staticmethod
    def read(reply):
        of = lambda kind: [item for item in reply.output if item.type == kind]
        thought = [part.text for item in of("reasoning") for part in (item.summary or []) + (item.content or [])]
        calls = [(call.call_id, call.name, call.arguments) for call in of("function_call")]
        used = reply.usage
        turn = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in reply.output]
        return Said(
            reply.output_text, "".join(thought), calls, reply.status, used.input_tokens, used.output_tokens,
            used.input_tokens_details.cached_tokens, turn,
        )


class Gemini:
    """Gemini's `generateContent` and `streamGenerateContent`."""

    name = "gemini"
    failed = errors.APIError
    finishes = {"text": "STOP", "tools": "STOP"}

    def __init__(self, gateway):
        options = types.HttpOptions(base_url=gateway, timeout=30_000)
        # It closes its connections when it is forgotten.
        self.client = genai.Client(api_key=KEY, http_options=options)
        self.models = self.client.models

    def request(self, group, wish, scenario, before=None):
        parts = [types.Part(text=f"scenario:{scenario}")]
        more = {"max_output_tokens": 4000}
        if wish in ("image", "document"):
            kind, data = ("image/png", PNG) if wish == "image" else ("application/pdf", PDF)
            parts.append(types.Part(inline_data={"mime_type": kind, "data": data}))
        if wish == "tools":
            function = {"name": "forecast", "description": "The weather to come", "parameters_json_schema": SCHEMA}
            more["tools"] = [types.Tool(function_declarations=[function])]
            more["automatic_function_calling"] = {"disable": True}
        if wish == "schema":
            more.update(response_mime_type="application/json", response_json_schema=SCHEMA)
        if wish == "thinking":
            more["thinking_config"] = types.ThinkingConfig(include_thoughts=True, thinking_budget=1024)
        contents = [types.Content(role="user", parts=parts)]
        if before:
            answer = lambda call, name: types.FunctionResponse(id=call, name=name, response={"result": "rain"})
            parts = [types.Part(function_response=answer(call, name)) for call, name, _ in before.calls]
            contents += [before.turn, types.Content(role="user", parts=parts)]
        config = types.GenerateContentConfig(system_instruction="Be brief.", **more)
        return {"model": group, "contents": contents, "config": config}

    def whole(self, group, wish, scenario, before=None):
        return self.read([self.models.generate_content(**self.request(group, wish, scenario, before))])

    def streamed(self, group, wish, scenario, before=None):
        return self.read(list(self.models.generate_content_stream(**self.request(group, wish, scenario, before))))

    def pieces(self, group, scenario):
        ended = False
        for chunk in self.models.generate_content_stream(**self.request(group, "text", scenario)):
            candidates = chunk.candidates or []
            ended |= any(candidate.finish_reason for candidate in candidates)
            if chunk.text:
                yield chunk.text
        # Its SDK ends quietly when a connection is cut; what a stream lacks then is its reason to end.
        if not ended:
            raise errors.APIError(500, {"error": {"message": "no reason to end"}})

    @staticmethod
    def read(chunks):
        parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or []]
        text = "".join(part.text for part in parts if part.text and not part.thought)
        thought = "".join(part.text for part in parts if part.text and part.thought)
        made = [part.function_call for part in parts if part.function_call]
        calls = [(call.id, call.name, json.dumps(call.args)) for call in made]
        finish = [chunk.candidates[0].finish_reason for chunk in chunks if chunk.candidates[0].finish_reason]
        used = chunks[-1].usage_metadata
        turn = types.Content(role="model", parts=parts)
        return Said(
            text, thought, calls, finish[-1].name, used.prompt_token_count, used.candidates_token_count,
            used.cached_content_token_count or 0, turn,
        )


class Completions:
    """The older completions: a text goes in, a text comes out."""

    name = "completions"
    failed = openai.APIError
    finishes = {"text": "stop"}

    def __init__(self, gateway):
        self.client = openai.OpenAI(base_url=f"{gateway}/v1", api_key=KEY, max_retries=0, timeout=30)

    def whole(self, group, _wish, scenario, _before=None):
        reply = self.client.completions.create(model=group, prompt=f"scenario:{scenario}", max_tokens=4000)
        return self.read([reply])

    def streamed(self, group, _wish, scenario, _before=None):
        options = {"stream": True, "stream_options": {"include_usage": True}}
        return self.read(
            list(self.client.completions.create(model=group, prompt=f"scenario:{scenario}", max_tokens=4000, **options))
        )

    def pieces(self, group, scenario):
        stream = self.client.completions.create(model=group, prompt=f"scenario:{scenario}", max_tokens=4000, stream=True)
        try:
            for chunk in stream:
                if chunk.choices and chunk.choices[0].text:
                    yield chunk.choices[0].text
        finally:
            stream.close()

    @staticmethod
    def read(chunks):
        choices = [choice for chunk in chunks for choice in chunk.choices]
        (used,) = [chunk.usage for chunk in chunks if chunk.usage]
        finish = [choice.finish_reason for choice in choices if choice.finish_reason]
        return Said(
            "".join(choice.text for choice in choices), "", [], finish[-1], used.prompt_tokens, used.completion_tokens,
            used.prompt_tokens_details.cached_tokens,
        )


APIS = [Chat, Messages, Responses, Gemini, Completions]
