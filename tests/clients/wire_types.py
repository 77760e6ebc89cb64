"""What a request's body must be, by the types of each vendor's own SDK: as it is installed, and not as we remember it.

A check returns what is wrong in words, or nothing. Fields that a type does not know are wrong too: vendors refuse them.
"""

import functools
import re
import typing

import botocore.session
import botocore.validate
from anthropic.types import message_create_params as anthropic_params
from cohere.types import chat_message_v2 as cohere_messages
from cohere.v2.client import V2Client
from google.genai import types as google
from mistralai.client import models as mistral
from openai.types import embedding_create_params as openai_embeddings
from openai.types.chat import completion_create_params as openai_params
from pydantic import BaseModel, TypeAdapter, ValidationError


@functools.cache
def adapter(kind):
    return TypeAdapter(kind)


def plain(value):
    """A validated value as JSON has it; what is read lazily is read, which validates it."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json", by_alias=True, exclude_unset=True))
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if value is None or isinstance(value, (str, bytes, int, float, bool)):
        return value
    return [plain(inner) for inner in value]


def unknown(body, read, path=""):
    """The first field of ``body`` that reading it has lost."""
    if isinstance(body, dict) and isinstance(read, dict):
        for name, inner in body.items():
            here = f"{path}.{name}".removeprefix(".")
            if name not in read:
                return f"`{here}` is no field of it"
            if found := unknown(inner, read[name], here):
                return found
    elif isinstance(body, list) and isinstance(read, list):
        for index, (one, other) in enumerate(zip(body, read)):
            if found := unknown(one, other, f"{path}[{index}]"):
                return found
    return None


def by_type(kind, body):
    try:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            read = kind.model_validate(body)
        else:
            read = adapter(kind).validate_python(body)
        return unknown(body, plain(read))
    except ValidationError as wrong:
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in wrong.errors()[:3])


def paired(calls, results, pattern):
    """Every result belongs to a call before it, and every id is one that the vendor takes."""
    for one in calls + results:
        if not re.fullmatch(pattern, one):
            return f"`{one}` is no id of a call there"
    if len(set(calls)) < len(calls):
        return f"two calls have one id: {calls}"
    if left := set(results) - set(calls):
        return f"results of calls that nobody made: {left}"
    return None


def openai_calls(body):
    calls = [call["id"] for message in body["messages"] for call in message.get("tool_calls") or []]
    results = [message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"]
    return calls, results


def openai(body):
    streamed = body.get("stream")
    kind = openai_params.CompletionCreateParamsStreaming if streamed else openai_params.CompletionCreateParamsNonStreaming
    return by_type(kind, body) or paired(*openai_calls(body), r".{1,64}")


def imitator(body):
    """What nearly all that imitate OpenAI document: the older names, and thinking that comes back as it was told."""
    for name in ("max_completion_tokens", "store", "verbosity"):
        if name in body:
            return f"`{name}` is a newer name than is known here"
    if any(message["role"] == "developer" for message in body["messages"]):
        return "no role `developer` here"
    told = [message for message in body["messages"] if "reasoning_content" in message]
    bare = [{**message} for message in body["messages"]]
    for message in bare:
        message.pop("reasoning_content", None)
    if any(message["role"] != "assistant" for message in told):
        return "only an assistant thinks"
    return openai({**body, "messages": bare})


def mistral_chat(body):
    kind = mistral.ChatCompletionStreamRequest if body.get("stream") else mistral.ChatCompletionRequest
    roles = [message["role"] for message in body["messages"]]
    if ("tool", "user") in zip(roles, roles[1:]):
        return "Unexpected role 'user' after role 'tool'"
    return by_type(kind, body) or paired(*openai_calls(body), r"[a-zA-Z0-9]{9}")


def anthropic(body):
    params = anthropic_params
    kind = params.MessageCreateParamsStreaming if body.get("stream") else params.MessageCreateParamsNonStreaming
    blocks = [block for message in body["messages"] for block in message["content"] if isinstance(block, dict)]
    calls = [block["id"] for block in blocks if block.get("type") == "tool_use"]
    results = [block["tool_use_id"] for block in blocks if block.get("type") == "tool_result"]
    return by_type(kind, body) or paired(calls, results, r"[a-zA-Z0-9_-]+")


def vertex_claude(body):
    if body.get("anthropic_version") != "vertex-2023-10-16" or "model" in body:
        return "the version stands in the body there, and the model in the path"
    return anthropic({"model": "m", **{name: value for name, value in body.items() if name != "anthropic_version"}})


def strangers(read, path=""):
    """The first field that a model has read and does not know: Cohere's keep such."""
    if isinstance(read, BaseModel):
        for name in read.model_extra or ():
            return f"`{path}.{name}` is no field of it".replace("`.", "`")
        return next(filter(None, (strangers(value, f"{path}.{name}") for name, value in read)), None)
    if isinstance(read, (list, tuple)):
        return next(filter(None, (strangers(value, f"{path}[{index}]") for index, value in enumerate(read))), None)
    return None


COHERE_MESSAGES = {
    "user": cohere_messages.UserChatMessageV2,
    "assistant": cohere_messages.AssistantChatMessageV2,
    "system": cohere_messages.SystemChatMessageV2,
    "tool": cohere_messages.ToolChatMessageV2,
}


def cohere(body):
    known = typing.get_type_hints(V2Client.chat_stream if body.get("stream") else V2Client.chat)
    try:
        for name, value in body.items():
            if name == "stream":
                continue
            if name not in known or name in ("request_options", "return"):
                return f"`{name}` is no field of it"
            if name == "messages":
                for index, message in enumerate(value):
                    read = COHERE_MESSAGES[message["role"]].model_validate(message)
                    if wrong := strangers(read, f"messages[{index}]"):
                        return wrong
                continue
            if wrong := strangers(adapter(known[name]).validate_python(value), name):
                return wrong
    except ValidationError as wrong:
        return f"{name}: {wrong.errors()[:2]}"
    if body.get("tool_choice") not in (None, "REQUIRED", "NONE"):
        return f"`tool_choice` is {body['tool_choice']}"
    return paired(*openai_calls(body), r".+")


GOOGLE = {
    "contents": list[google.Content],
    "systemInstruction": google.Content,
    "tools": list[google.Tool],
    "toolConfig": google.ToolConfig,
    "safetySettings": list[google.SafetySetting],
    "generationConfig": google.GenerationConfig,
}


def gemini(body):
    for name, value in body.items():
        if name not in GOOGLE:
            return f"`{name}` is no field of it"
        try:
            # They forbid fields that they do not know.
            adapter(GOOGLE[name]).validate_python(value)
        except ValidationError as wrong:
            return f"{name}: {wrong.errors()[:2]}"
    return None


@functools.cache
def bedrock_model():
    return botocore.session.get_session().get_service_model("bedrock-runtime")


def bedrock(body):
    # What a stream may be asked is what a reply may be asked. The model stands in the path.
    shape = bedrock_model().operation_model("ConverseStream").input_shape
    report = botocore.validate.ParamValidator().validate({"modelId": "m", **body}, shape)
    blocks = [block for message in body["messages"] for block in message["content"]]
    calls = [block["toolUse"]["toolUseId"] for block in blocks if "toolUse" in block]
    results = [block["toolResult"]["toolUseId"] for block in blocks if "toolResult" in block]
    return report.generate_report() or paired(calls, results, r"[a-zA-Z0-9_-]{1,64}")


def openai_vectors(body):
    return by_type(openai_embeddings.EmbeddingCreateParams, body)


def mistral_vectors(body):
    return by_type(mistral.EmbeddingRequest, body)
