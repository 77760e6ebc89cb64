"""Write a router for Witgate in Python: give `export` a function that makes one. Other roles have a module beside this one, and
share settings and log with it.

What a policy may know is handed to it: time, seeds, signals. Treat it as if there were no clock, no file and no network: the
same inputs must always give the same answer.
"""

import builtins
import io
import json
import os
import sys
import time
from array import array
from dataclasses import dataclass, field
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

try:  # Made by componentize-py; in a policy's own tests there is no gateway.
    from componentize_py_types import Err
    from wit_world.imports import log as _log
except ImportError:
    _log = None


@dataclass
class Needs:
    """What a router wants to be told."""

    signals: List[str]
    features: List[str] = field(default_factory=list)
    attributes: List[str] = field(default_factory=list)
    # False: `input_tokens` may be an upper bound that cost no counting.
    exact_tokens: bool = False
    # True: answers depend on their arguments alone, so several instances may serve at once.
    pure: bool = False


@dataclass
class Setup:
    """What a router begins with. Deployments and state are as in `wit/router.wit` and `wit/lifecycle.wit`."""

    settings: str
    deployments: List[Any] = field(default_factory=list)
    seed: int = 0
    state: Optional[Any] = None


class Signals(NamedTuple):
    """What the router asked to know about each deployment at this moment."""

    names: List[str]
    # The columns of `names` one after another, one number for each of `rows` deployments; NaN where unknown.
    values: List[float]
    rows: int

    def column(self, name: str) -> List[float]:
        """The column of this name, one number for each deployment."""
        if name not in self.names:
            return [float("nan")] * self.rows
        start = self.names.index(name) * self.rows
        return self.values[start : start + self.rows]

    def row(self, index: int) -> dict:
        """What is known of one deployment, by name."""
        return {name: self.values[at * self.rows + index] for at, name in enumerate(self.names)}


class Saved(NamedTuple):
    """What a policy learned. `schema` is its own name for the shape of `data`."""

    schema: str
    data: bytes


class Wait(Exception):
    """Raise it from `route` to be asked again in so many milliseconds, a whole number."""

    def __init__(self, milliseconds: int):
        super().__init__(milliseconds)
        if not isinstance(milliseconds, int) or not 0 <= milliseconds < 2**32:
            raise TypeError(f"a Wait has a whole number of milliseconds, which {shown(milliseconds)} is not")
        self.milliseconds = milliseconds


class Reject(Exception):
    """Raise it to end the request in these words, which needs a grant."""


def rank(scores: List[float]) -> List[int]:
    """A deployment for each score, the lowest first; NaN counts as infinite, of equals the first comes first."""
    scores = [score if score == score else float("inf") for score in scores]
    return sorted(range(len(scores)), key=scores.__getitem__)


# Brackets in settings: the reader calls itself for each, and its stack is small.
_MOST_BRACKETS = 200


class Settings:
    """Reads settings, a JSON object: ask for each by name, then call `finish`."""

    def __init__(self, text: str):
        if text.count("[") + text.count("{") > _MOST_BRACKETS:
            raise ValueError("settings are nested too deeply")
        given = json.loads(text)
        if not isinstance(given, dict):
            raise ValueError("settings must be a JSON object")
        self._given = given
        self._asked = []

    def take(self, name: str, other: Any = None) -> Any:
        """The setting of this name as it was given; `other` where it is not."""
        self._asked.append(name)
        value = self._given.get(name)
        return other if value is None else value

    def number(self, name: str, least: float, most: float, other: float) -> float:
        """A number from `least` to `most`."""
        value = self.take(name, other)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most:
            return float(value)
        raise ValueError(f"setting `{name}` must be a number, {least} to {most}")

    def whole(self, name: str, least: int, most: int, other: int) -> int:
        """A whole number from `least` to `most`."""
        value = self.take(name, other)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most and value % 1 == 0:
            return int(value)
        raise ValueError(f"setting `{name}` must be a whole number from {least} to {most}")

    def text(self, name: str, what: str) -> str:
        """A text, which must be given; `what` says what it is."""
        value = self.take(name)
        if isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value):
            return value
        raise ValueError(f"setting `{name}` must be a text: {what}")

    def finish(self) -> None:
        """Refuses a setting that nobody asked for."""
        for name in self._given:
            if name not in self._asked:
                known = ", ".join(self._asked)
                known = f"this policy knows: {known}" if known else "this policy has no settings"
                raise ValueError(f"unknown setting `{name}`; {known}")


def log(message: Any, level: str = "info") -> None:
    """A line in the gateway's log (`debug`, `info`, `warn`): 20 a call, each cut at 1 KiB."""
    if level not in ("debug", "info", "warn"):
        raise ValueError(f"no level is called {shown(level)}: there are debug, info and warn")
    if _log:
        _log.write(getattr(_log.Level, level.upper()), crossing(message))


class _Printed(io.TextIOBase):
    """Where prints go: each line is one in the gateway's log. There is nothing else in a component that they could go to."""

    def __init__(self, level: str):
        super().__init__()
        self._level = level
        self._begun = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in filter(str.strip, lines):
            log(line, self._level)
        return len(text)

    def flush(self) -> None:
        if self._begun:
            self.write("\n")


# What asks for what there is none of. Python's own end the instance without a word.
_ABSENT = {
    builtins: ["open"],
    io: ["open"],
    os: ["urandom"],
    time: ["time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep"],
}


def _absent(name: str) -> Callable[..., Any]:
    def absent(*_given: Any, **_named: Any) -> Any:
        raise RuntimeError(f"{name}: there is no clock, no file, no network and no randomness in a component")

    return absent


def in_component() -> None:
    """For a component that begins to run, not while it is made: prints go to the log, and what there is none of says so."""
    sys.stdout, sys.stderr = _Printed("info"), _Printed("warn")
    for module, names in _ABSENT.items():
        for name in names:
            setattr(module, name, _absent(f"{module.__name__}.{name}".removeprefix("builtins.")))


def crossing(text: Any) -> str:
    """A text as it may cross: half of a pair of surrogates is none."""
    return str(text).encode(errors="backslashreplace").decode()


def shown(value: Any) -> str:
    """A value as an error shows it."""
    text = repr(value)
    return text if len(text) <= 100 else text[:100] + "..."


def raised(error: BaseException) -> str:
    """What was raised, and where. (The standard library's traceback reads sources, and there are no files in a component.)"""
    places, at = [], error.__traceback__
    while at:
        code = at.tb_frame.f_code
        places.append(f"{code.co_filename}:{at.tb_lineno} in {code.co_name}")
        at = at.tb_next
    words = f": {error}" if str(error) else ""
    # Who calls itself without end is told as whoever does not: the last places.
    return f"{type(error).__name__}{words}; at " + ", ".join(places[-5:])


def refusal(error: BaseException) -> str:
    """In which words settings are refused. A ValueError has them; anything else is a mistake of the policy's own, which is told with
    where it was."""
    words = str(error) if isinstance(error, ValueError) else ""
    return crossing(words or raised(error))


def told(call: Callable[[], Any], answers: tuple = ()) -> Any:
    """Calls, and writes what is raised into the log: a failure of the interpreter says nothing of it. `answers` are no failures."""
    try:
        return call()
    except answers:
        raise
    except BaseException as error:
        # Whoever asks to exit, too.
        log(raised(error), "warn")
        raise RuntimeError("a failure, told in the log") from None


def texts(what: str, given: Any) -> List[str]:
    """A list of texts, which `what` is to be."""
    if isinstance(given, list) and all(isinstance(each, str) for each in given):
        return given
    raise TypeError(f"{what} must be a list of texts, which {shown(given)} is not")


def text(what: str, given: Any) -> str:
    """A text, which `what` is to be."""
    if isinstance(given, str):
        return given
    raise TypeError(f"{what} must be a text, which {shown(given)} is not")


def index(what: str, given: Any) -> int:
    """A number of 32 bits, which `what` is to be."""
    if isinstance(given, int) and 0 <= given < 2**32:
        return given
    raise TypeError(f"{what} must be a whole number from 0 on, which {shown(given)} is not")


def _are_indices(given: Any) -> bool:
    """Whether all of these are indices. The array looks at them, which costs a tenth of doing so here."""
    try:
        array("I", given)
        return True
    except (TypeError, OverflowError):
        return False


def _indices(given: Any) -> List[int]:
    """The indices that a ranking consists of."""
    if isinstance(given, (list, range)) and _are_indices(given):
        return list(given)
    ways = "a list of deployments' indices, or a pair of that and a list of probabilities"
    raise TypeError(f"`route` must give {ways}, and gave {shown(given)}")


def _ranking(given: Any) -> Tuple[List[int], List[float]]:
    """What `route` gave, as a ranking's two columns."""
    if isinstance(given, tuple) and len(given) == 2:
        indices, probabilities = given
        if isinstance(probabilities, list) and all(isinstance(each, (int, float)) for each in probabilities):
            return _indices(indices), probabilities
        raise TypeError(f"a ranking's probabilities must be a list of numbers, which {shown(probabilities)} is not")
    return _indices(given), []


def _saved(given: Any) -> Tuple[str, bytes]:
    """What `save` gave."""
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str) and isinstance(given[1], bytes):
        return given
    raise TypeError(f"`save` must give a Saved, of a text and bytes, or None, and gave {shown(given)}")


def export(configure: Callable[[Setup], Any]) -> tuple:
    """The component's exports for a router: `Lifecycle, Routing = export(...)`.

    `configure(setup)` makes the router, or raises an error about a setting that makes no sense. A router has `needs` and
    `route(request, signals, features, attributes)`, which gives the indices of deployments, best first, or a pair of those
    and of the probabilities with which they were drawn. It may have `observe(outcome)` and `save()`, which gives a `Saved` or
    None.
    """
    from wit_world.exports import lifecycle, routing

    setup: Any = None
    router: Any = None
    names: List[str] = []
    rows = 0

    class Lifecycle:
        def configure(self, given):
            nonlocal setup
            in_component()
            setup = given

        def save(self):
            def call():
                saved = router.save() if hasattr(router, "save") else None
                return None if saved is None else lifecycle.SavedState(*_saved(saved))

            return told(call)

    class Routing:
        def start(self, deployments):
            nonlocal router, names, rows
            try:
                router = configure(Setup(setup.settings, deployments, setup.seed, setup.state))
                needs, rows = router.needs, len(deployments)
                names = texts("needs.signals", needs.signals)
                features, attributes = texts("needs.features", needs.features), texts("needs.attributes", needs.attributes)
                return routing.Needs(names, features, attributes, bool(needs.exact_tokens), bool(needs.pure))
            except BaseException as error:
                raise Err(refusal(error))

        def route(self, request, signals, features, attributes):
            try:
                answer = router.route(request, Signals(names, signals, rows), features, attributes)
                if type(answer) is list and _are_indices(answer):
                    return routing.Ranking(answer, [])
                return routing.Ranking(*_ranking(answer))
            except Wait as wait:
                raise Err(routing.Refusal_Wait(wait.milliseconds))
            except Reject as reject:
                raise Err(routing.Refusal_Reject(crossing(reject)))
            except BaseException as error:
                # A failure of the interpreter says nothing of what was raised; the log does. One propensity of no deployment
                # stands for a failure: the gateway counts it and takes its built-in order.
                log(raised(error), "warn")
                return routing.Ranking([], [0.0])

        def observe(self, outcome):
            if hasattr(router, "observe"):
                told(lambda: router.observe(outcome))

    return Lifecycle, Routing
