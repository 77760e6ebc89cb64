"""Write a provider for Witgate in Python: give `export` a function that makes one.

What a provider may know is handed to it: settings, requests, replies. Where requests go and what they are authorised with it is
never told. Treat it as if there were no clock, no file and no network: the same inputs must always give the same answer.
"""

import json
import re
import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Union

from witgate import Settings, crossing, in_component, index, log, raised, refusal, shown, text, texts, told  # noqa: F401

try:  # Made by componentize-py; in a policy's own tests there is no gateway.
    from componentize_py_types import Err
except ImportError:
    pass


@dataclass
class Needs:
    """How streams are cut: `server-sent-events`, `lines`, or `bytes` as they come."""

    framing: str
    # True: nothing of one request is remembered at the next, so an instance may serve one after another.
    pure: bool = False


class Setup(NamedTuple):
    """What a provider begins with."""

    settings: str
    seed: int = 0


class Target(NamedTuple):
    """What a request is written for."""

    # The model as the provider names it.
    model: str
    # What was reserved for the reply: to be sent where the provider demands a bound and the client gave none.
    max_output_tokens: int
    # The version of the provider's API, where the configuration has one.
    api_version: Optional[str] = None


@dataclass
class Encoded:
    """A request in the provider's words."""

    # Path and query below the deployment's address, from a slash on.
    path: str
    # Written as JSON.
    body: Any
    # `accept`, and names that end with `-version`, `-beta`, `-features` or `-client-name`.
    headers: Dict[str, str] = field(default_factory=dict)
    # Fields of the request that the provider has no word for and whose loss does not change what was asked.
    dropped: List[str] = field(default_factory=list)


@dataclass
class Beginning:
    """Always first, once."""

    id: str
    model: str = ""


@dataclass
class Text:
    """More of the answer."""

    words: str


@dataclass
class Reasoning:
    """More of the model's thinking."""

    words: str


@dataclass
class Refusal:
    """More of the model's refusal."""

    words: str


@dataclass
class ToolCall:
    """A call begins."""

    index: int
    id: str
    name: str


@dataclass
class ToolArguments:
    """More of a call's arguments, as JSON text."""

    index: int
    fragment: str


@dataclass
class Finish:
    """Why the reply ends: `stop`, `length`, `tool-calls`, `content-filter`, `refusal` or `other`."""

    reason: str


@dataclass
class Usage:
    """All input tokens, those from and to a cache among them; all output tokens, thinking among them."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass
class End:
    """The reply is whole: a stream that breaks off before it is a fault. A whole reply may leave it out."""


Event = Union[Beginning, Text, Reasoning, Refusal, ToolCall, ToolArguments, Finish, Usage, End]


class Fault(Exception):
    """What cannot be written, or is no reply: in words, with the provider's word for it and the field of the request to blame."""

    def __init__(self, message: str, code: Optional[str] = None, param: Optional[str] = None):
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param


# How deep JSON may go: the reader calls itself for each bracket, and its stack is small.
_DEEPEST = 200
_MAYBE_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def read_object(data: bytes) -> dict:
    """A JSON object; a `Fault` where it is none."""
    try:
        text = data.decode()
        if text.count("[") + text.count("{") > _DEEPEST:
            _bound(text)
        value = json.loads(text)
        if _MAYBE_HALF.search(text):
            # Half of a pair is no text; it cannot be written, which is a ValueError too.
            json.dumps(value, ensure_ascii=False).encode()
    except ValueError as error:
        raise Fault(f"this is no JSON object: {error}")
    if not isinstance(value, dict):
        raise Fault("this is no JSON object")
    return value


def _bound(text: str) -> None:
    depth = 0
    for bracket in re.sub(r'"(?:[^"\\]|\\.)*"|[^][{}]+', "", text, flags=re.DOTALL):
        depth += 1 if bracket in "[{" else -1
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")


def export(configure: Callable[[Setup], Any]) -> tuple:
    """The component's exports for a provider: `Lifecycle, Providing, Decoder = export(...)`.

    `configure(setup)` makes the provider, or raises an error about a setting that makes no sense. A provider has

    - `needs`;
    - `encode(request, target)`: an OpenAI chat completion as a dict, whatever API the client spoke, into an `Encoded`;
    - `decode(body)`: a whole reply, as bytes, into a list of events;
    - `decode_error(status, body)`: the words of a refusal as a `Fault`, given or raised; what its status means the gateway knows;
    - `open()`, which gives what reads one stream: `push(name, data)` is the next piece, with the event's name ("" where it has
      none, or there are no events), and gives a list of events.

    All but the last may raise a `Fault`, and so may `push`.
    """
    from wit_world.exports import providing

    setup: Any = None
    provider: Any = None
    words = {Text: providing.Event_Text, Reasoning: providing.Event_Reasoning, Refusal: providing.Event_Refusal}

    def answered(call):
        try:
            return told(call, (Fault,))
        except Fault as fault:
            raise Err(refused(fault))

    def refused(fault):
        if not isinstance(fault, Fault):
            raise TypeError(f"`decode_error` must give a Fault, and gave {shown(fault)}")
        code, param = (None if each is None else crossing(each) for each in (fault.code, fault.param))
        return providing.Fault(crossing(fault.message), code, param)

    def member(kind, what, name):
        names = [each.name.lower().replace("_", "-") for each in kind]
        if name not in names:
            raise ValueError(f"no {what} is called {shown(name)}; there are {', '.join(names)}")
        return kind[name.upper().replace("-", "_")]

    def count(tokens):
        return max(0, min(int(tokens), 2**64 - 1))

    def crossed(event):
        if type(event) in words:
            return words[type(event)](text("the words of an event", event.words))
        if isinstance(event, Beginning):
            named, model = text("the id of a Beginning", event.id), text("the model of a Beginning", event.model)
            return providing.Event_Beginning(providing.Beginning(named, model))
        if isinstance(event, ToolCall):
            at, named = index("the index of a ToolCall", event.index), text("the id of a ToolCall", event.id)
            return providing.Event_ToolCall(providing.ToolCall(at, named, text("the name of a ToolCall", event.name)))
        if isinstance(event, ToolArguments):
            at = index("the index of ToolArguments", event.index)
            fragment = text("the fragment of ToolArguments", event.fragment)
            return providing.Event_ToolArguments(providing.ToolArguments(at, fragment))
        if isinstance(event, Finish):
            return providing.Event_Finish(member(providing.Finish, "reason to finish", event.reason))
        if isinstance(event, Usage):
            return providing.Event_Usage(
                providing.Usage(
                    count(event.input_tokens),
                    count(event.cache_read_tokens),
                    count(event.cache_write_tokens),
                    count(event.output_tokens),
                    count(event.reasoning_tokens),
                )
            )
        if isinstance(event, End):
            return providing.Event_End()
        raise TypeError(f"{shown(event)} is no event")

    class Lifecycle:
        def configure(self, given):
            nonlocal setup
            in_component()
            setup = given

        def save(self):
            return None

    class Providing:
        def start(self):
            nonlocal provider
            try:
                provider = configure(Setup(setup.settings, setup.seed))
                needs = provider.needs
                return providing.Needs(member(providing.Framing, "framing", needs.framing), bool(needs.pure))
            except BaseException as error:
                raise Err(refusal(error))

        def encode(self, request, target):
            def call():
                about = Target(target.model, target.max_output_tokens, target.api_version)
                sent = provider.encode(read_object(request), about)
                if not isinstance(sent, Encoded):
                    raise TypeError(f"`encode` must give an Encoded, and gave {shown(sent)}")
                headers = [
                    providing.Header(text("the name of a header", name), text("the value of a header", value))
                    for name, value in sent.headers.items()
                ]
                body = json.dumps(sent.body, ensure_ascii=False, separators=(",", ":")).encode()
                path, dropped = text("the path of an Encoded", sent.path), texts("what an Encoded dropped", sent.dropped)
                return providing.Encoded(path, headers, body, dropped)

            return answered(call)

        def decode(self, body):
            return answered(lambda: [crossed(event) for event in provider.decode(body)])

        def decode_error(self, status, body):
            def call():
                try:
                    return refused(provider.decode_error(status, body))
                except Fault as fault:
                    return refused(fault)

            return told(call)

    class Decoder:
        def __init__(self):
            self.stream = told(lambda: provider.open())

        def push(self, name, data):
            return answered(lambda: [crossed(event) for event in self.stream.push(name, data)])

    # Where componentize-py looks for the resources of an interface: in a module of its name.
    module = ModuleType("providing")
    module.Decoder = Decoder
    sys.modules["providing"] = module
    return Lifecycle, Providing, Decoder
