"""Write a router for Witgate in Python: give `export` a function that makes one. Other roles have a module beside this one, and
share settings and log with it.

What a policy may know is handed to it: time, seeds, signals. Treat it as if there were no clock, no file and no network: the
same inputs must always give the same answer.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Callable, List, NamedTuple, Optional

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
    """Raise it from `route` to be asked again in so many milliseconds."""


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


def log(message: str, level: str = "info") -> None:
    """A line in the gateway's log (`debug`, `info`, `warn`): 20 a call, each cut at 1 KiB."""
    if _log:
        _log.write(getattr(_log.Level, level.upper()), message)


def raised(error: BaseException) -> str:
    """What was raised, and where. (The standard library's traceback reads sources, and there are no files in a component.)"""
    places, at = [], error.__traceback__
    while at:
        code = at.tb_frame.f_code
        places.append(f"{code.co_filename}:{at.tb_lineno} in {code.co_name}")
        at = at.tb_next
    return f"{type(error).__name__}: {error}; at " + ", ".join(places)


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
            setup = given

        def save(self):
            saved = router.save() if hasattr(router, "save") else None
            if saved is None:
                return None
            return lifecycle.SavedState(saved.schema, saved.data)

    class Routing:
        def start(self, deployments):
            nonlocal router, names, rows
            try:
                router = configure(Setup(setup.settings, deployments, setup.seed, setup.state))
            except Exception as error:
                raise Err(str(error))
            needs = router.needs
            names, rows = needs.signals, len(deployments)
            return routing.Needs(names, needs.features, needs.attributes, needs.exact_tokens, needs.pure)

        def route(self, request, signals, features, attributes):
            try:
                answer = router.route(request, Signals(names, signals, rows), features, attributes)
                return routing.Ranking(*answer) if isinstance(answer, tuple) else routing.Ranking(answer, [])
            except Wait as wait:
                raise Err(routing.Refusal_Wait(wait.args[0]))
            except Reject as reject:
                raise Err(routing.Refusal_Reject(str(reject)))
            except Exception as error:
                # A failure of the interpreter says nothing of what was raised; the log does. One propensity of no deployment
                # stands for a failure: the gateway counts it and takes its built-in order.
                log(raised(error), "warn")
                return routing.Ranking([], [0.0])

        def observe(self, outcome):
            if not hasattr(router, "observe"):
                return
            try:
                router.observe(outcome)
            except Exception as error:
                log(raised(error), "warn")
                raise

    return Lifecycle, Routing
