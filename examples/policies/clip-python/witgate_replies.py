"""Write a response parser for Witgate in Python: give `export` a function that makes one.

What a parser may know is handed to it: settings, the reply, a note. Treat it as if there were no clock, no file and no network:
the same inputs must always give the same answer.
"""

import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Callable, List, NamedTuple, Optional, Union

from witgate import Settings, crossing, in_component, index, log, raised, refusal, shown, text, texts, told  # noqa: F401

try:  # Made by componentize-py; in a policy's own tests there is no gateway.
    from componentize_py_types import Err
except ImportError:
    pass


@dataclass
class Needs:
    """What a parser wants to be told."""

    # Of `text`, `reasoning`, `refusal` and `tool-calls` those that `push` is called with; all others pass untouched.
    deltas: List[str]
    attributes: List[str] = field(default_factory=list)
    # True: nothing of one reply is remembered at the next, so an instance may read one reply after another.
    pure: bool = False


class Setup(NamedTuple):
    """What a parser begins with."""

    settings: str
    seed: int = 0


class About(NamedTuple):
    """What is known of a reply before it comes."""

    # Which alternative, from 0.
    choice: int = 0
    # Whether the client gets pieces as they come. A complaint then ends the reply with an error.
    streamed: bool = False
    # How often the model was asked before for this request.
    asked_again: int = 0
    # The JSON schema the client wants the reply to follow, where it sent one.
    schema: Optional[str] = None
    # What the group's prompt builder left for this reply.
    note: Optional[str] = None
    # One for each asked for; empty where absent.
    attributes: List[str] = []


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


_KINDS = ("text", "reasoning", "refusal", "tool-calls")

Delta = Union[Text, Reasoning, Refusal, ToolCall, ToolArguments]


class Complaint(Exception):
    """Raise it from `finish`: what is wrong with the reply, and what to tell the model so that it does better, if anything."""

    def __init__(self, problem: str, repair: Optional[str] = None):
        super().__init__(problem)
        self.problem = problem
        self.repair = repair


def export(configure: Callable[[Setup], Any]) -> tuple:
    """The component's exports for a response parser: `Lifecycle, Parsing, Parser = export(...)`.

    `configure(setup)` makes the parser, or raises an error about a setting that makes no sense. A parser has `needs` and
    `open(about)`, which gives what reads one alternative of one reply: `push(delta)` gives a list of what the client gets in the
    place of the delta, and `finish(reason)` what was held back (reasons: `stop`, `length`, `tool-calls`, `content-filter`,
    `refusal`, `other`), or raises a `Complaint`.
    """
    from wit_world.exports import parsing

    setup: Any = None
    parser: Any = None
    words = ((Text, parsing.Delta_Text), (Reasoning, parsing.Delta_Reasoning), (Refusal, parsing.Delta_Refusal))

    def arrived(delta):
        for own, outer in words:
            if isinstance(delta, outer):
                return own(delta.value)
        value = delta.value
        if isinstance(delta, parsing.Delta_ToolCall):
            return ToolCall(value.index, value.id, value.name)
        return ToolArguments(value.index, value.fragment)

    def crossed(delta):
        for own, outer in words:
            if isinstance(delta, own):
                return outer(text("the words of a delta", delta.words))
        if isinstance(delta, ToolCall):
            at, called = index("the index of a ToolCall", delta.index), text("the id of a ToolCall", delta.id)
            return parsing.Delta_ToolCall(parsing.ToolCall(at, called, text("the name of a ToolCall", delta.name)))
        if isinstance(delta, ToolArguments):
            at = index("the index of ToolArguments", delta.index)
            fragment = text("the fragment of ToolArguments", delta.fragment)
            return parsing.Delta_ToolArguments(parsing.ToolArguments(at, fragment))
        raise TypeError(f"{shown(delta)} is no delta")

    class Lifecycle:
        def configure(self, given):
            nonlocal setup
            in_component()
            setup = given

        def save(self):
            return None

    class Parsing:
        def start(self):
            nonlocal parser
            try:
                parser = configure(Setup(setup.settings, setup.seed))
                needs, kinds = parser.needs, parsing.Kinds(0)
                for name in texts("needs.deltas", needs.deltas):
                    if name not in _KINDS:
                        raise ValueError(f"no kind of deltas is called {shown(name)}; there are {', '.join(_KINDS)}")
                    kinds |= parsing.Kinds[name.upper().replace("-", "_")]
                return parsing.Needs(kinds, texts("needs.attributes", needs.attributes), bool(needs.pure))
            except BaseException as error:
                raise Err(refusal(error))

    class Parser:
        def __init__(self, about):
            given = About(
                about.choice, about.streamed, about.asked_again, about.schema, about.note, about.attributes
            )
            self.reply = told(lambda: parser.open(given))

        def push(self, delta):
            return told(lambda: [crossed(each) for each in self.reply.push(arrived(delta))])

        def finish(self, reason):
            word = reason.name.lower().replace("_", "-")
            try:
                return told(lambda: [crossed(each) for each in self.reply.finish(word)], (Complaint,))
            except Complaint as complaint:
                repair = None if complaint.repair is None else crossing(complaint.repair)
                raise Err(parsing.Complaint(crossing(complaint.problem), repair))

    # Where componentize-py looks for the resources of an interface: in a module of its name.
    module = ModuleType("parsing")
    module.Parser = Parser
    sys.modules["parsing"] = module
    return Lifecycle, Parsing, Parser
