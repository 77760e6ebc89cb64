"""Write a prompt builder for Witgate in Python: give `export` a function that makes one.

What a builder may know is handed to it: settings, messages, variables, a seed. Treat it as if there were no clock, no file and
no network: the same inputs must always give the same answer.
"""

from dataclasses import dataclass, field
from typing import Any, Callable, List, NamedTuple, Optional

from witgate import Reject, Settings, log, raised  # noqa: F401

try:  # Made by componentize-py; in a policy's own tests there is no gateway.
    from componentize_py_types import Err
    from wit_world.imports import tokens as _tokens
except ImportError:
    _tokens = None


@dataclass
class Needs:
    """What a builder wants to be told."""

    attributes: List[str] = field(default_factory=list)
    # True: `build` depends on its arguments alone, so an instance may serve one request after another.
    pure: bool = False


class Setup(NamedTuple):
    """What a builder begins with."""

    settings: str
    seed: int = 0


class Part(NamedTuple):
    """A part of a message: `text`, `tool-call`, `tool-result`, `reasoning`, `refusal` or `other`, which has no words."""

    kind: str
    text: str


class Message(NamedTuple):
    """One turn of the conversation. Roles: `system`, `developer`, `user`, `assistant`, `tool`."""

    role: str
    parts: List[Part]


class BuiltPart(NamedTuple):
    """With a `source` that part of the request (they are counted from 0 over all messages), its words too where `text` is None;
    without one a new text."""

    source: Optional[int] = None
    text: Optional[str] = None


class BuiltMessage(NamedTuple):
    """With a `source` it keeps that message's name and unknown fields."""

    role: str
    parts: List[BuiltPart]
    source: Optional[int] = None


class Request(NamedTuple):
    """What a client sent."""

    messages: List[Message]
    # The client's `prompt_variables`, a JSON object.
    variables: str = "{}"
    # The client's `prompt_items`, each as JSON.
    items: List[str] = []
    # Tokens the prompt may have; None where no model's size is known.
    budget: Optional[int] = None
    # One for each asked for; empty where absent.
    attributes: List[str] = []
    now_ms: int = 0
    seed: int = 0


class Prompt(NamedTuple):
    """What the model is told."""

    messages: List[BuiltMessage]
    # The items that are in it, by index.
    items: List[int] = []
    # Kept for the group's response parser, and shown to nobody else.
    note: Optional[str] = None


def new(role: str, text: str) -> BuiltMessage:
    """A new message of one text."""
    return BuiltMessage(role, [BuiltPart(text=text)])


def kept(messages: List[Message]) -> List[BuiltMessage]:
    """The messages of a request as they are, to be changed here and there: every part is kept."""
    built, next_part = [], 0
    for source, message in enumerate(messages):
        end = next_part + len(message.parts)
        built.append(BuiltMessage(message.role, [BuiltPart(part) for part in range(next_part, end)], source))
        next_part = end
    return built


def count_tokens(text: str) -> int:
    """Tokens as the group's first model counts them; in a policy's own tests a token is a word."""
    return _tokens.count(text) if _tokens else len(text.split())


def export(configure: Callable[[Setup], Any]) -> tuple:
    """The component's exports for a prompt builder: `Lifecycle, Prompting = export(...)`.

    `configure(setup)` makes the builder, or raises an error about a setting that makes no sense. A builder has `needs` and
    `build(request)`, which gives a `Prompt`, or raises a `Reject`.
    """
    from wit_world.exports import prompting

    setup: Any = None
    builder: Any = None

    words = {member: member.name.lower().replace("_", "-") for kind in (prompting.Role, prompting.Kind) for member in kind}
    roles = {words[role]: role for role in prompting.Role}

    class Lifecycle:
        def configure(self, given):
            nonlocal setup
            setup = given

        def save(self):
            return None

    class Prompting:
        def start(self):
            nonlocal builder
            try:
                builder = configure(Setup(setup.settings, setup.seed))
            except Exception as error:
                raise Err(str(error))
            return prompting.Needs(builder.needs.attributes, builder.needs.pure)

        def build(self, given):
            try:
                messages = [
                    Message(words[message.role], [Part(words[part.kind], part.text) for part in message.parts])
                    for message in given.messages
                ]
                request = Request(
                    messages, given.variables, given.items, given.budget, given.attributes, given.now_ms, given.seed
                )
                prompt = builder.build(request)
                # What crosses is read by its fields' names.
                crossed = [message._replace(role=roles[message.role]) for message in prompt.messages]
                return prompting.Prompt(crossed, prompt.items, prompt.note)
            except Reject as reject:
                raise Err(str(reject))
            except Exception as error:
                # A failure of the interpreter says nothing of what was raised; the log does.
                log(raised(error), "warn")
                raise

    return Lifecycle, Prompting
