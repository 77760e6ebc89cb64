"""Write a prompt builder for Witgate in Python: give `export` a function that makes one.

What a builder may know is handed to it: settings, messages, variables, a seed. Treat it as if there were no clock, no file and
no network: the same inputs must always give the same answer.
"""

from dataclasses import dataclass, field
from typing import Any, Callable, List, NamedTuple, Optional

from witgate import Reject, Settings, crossing, in_component, index, log, raised, refusal, shown, text, texts, told  # noqa: F401

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
            in_component()
            setup = given

        def save(self):
            return None

    class Prompting:
        def start(self):
            nonlocal builder
            try:
                builder = configure(Setup(setup.settings, setup.seed))
                needs = builder.needs
                return prompting.Needs(texts("needs.attributes", needs.attributes), bool(needs.pure))
            except BaseException as error:
                raise Err(refusal(error))

        def build(self, given):
            def call():
                messages = [
                    Message(words[message.role], [Part(words[part.kind], part.text) for part in message.parts])
                    for message in given.messages
                ]
                request = Request(
                    messages, given.variables, given.items, given.budget, given.attributes, given.now_ms, given.seed
                )
                prompt = builder.build(request)
                if not isinstance(prompt, Prompt):
                    raise TypeError(f"`build` must give a Prompt, and gave {shown(prompt)}")
                items = [index("an item of a Prompt", item) for item in prompt.items]
                note = None if prompt.note is None else text("the note of a Prompt", prompt.note)
                return prompting.Prompt([crossed(message) for message in prompt.messages], items, note)

            try:
                return told(call, (Reject,))
            except Reject as reject:
                raise Err(crossing(reject))

    # What crosses is read by its fields' names.
    def crossed(message):
        role, parts, source = message
        if role not in roles:
            raise ValueError(f"no role is called {shown(role)}; there are {', '.join(roles)}")
        for part in parts:
            if not (is_source(part.source) and (part.text is None or isinstance(part.text, str))):
                raise TypeError(f"a part has a source, a whole number, or a text, or both: {shown(part)} has not")
        if not is_source(source):
            raise TypeError(f"the source of a message must be a whole number or None, which {shown(source)} is not")
        return BuiltMessage(roles[role], parts if isinstance(parts, list) else list(parts), source)

    def is_source(given):
        return given is None or (isinstance(given, int) and 0 <= given < 2**32)

    return Lifecycle, Prompting
