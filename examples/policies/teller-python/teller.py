"""A small API that is nobody's: it takes one prompt and a bound in words, and counts words where others count tokens.

    POST /v1/tell  {"model": "m", "prompt": "hi", "max_words": 75, "stream": false}
    a reply        {"id": "t1", "answer": "Hello.", "words": {"in": 1, "out": 1}, "cut": false}
    streamed       lines of the same: each has a piece of the answer, the last one has the words
    a refusal      {"error": {"name": "too-long", "says": "the prompt is too long"}}

Setting `words_per_100_tokens`: how many words its tokens make; 75 unless given.
"""

from witgate_providers import Beginning, Encoded, End, Fault, Finish, Needs, Settings, Text, Usage, read_object

# What the API has no words for, and whose loss would change what was asked.
REFUSED = ["tools", "functions", "stop", "response_format", "logprobs"]


class Teller:
    # Nothing of one request is remembered at the next.
    needs = Needs(framing="lines", pure=True)

    def __init__(self, setup):
        settings = Settings(setup.settings)
        self.words_per_100_tokens = settings.whole("words_per_100_tokens", 1, 1000, 75)
        settings.finish()

    def encode(self, request, target):
        given = dict(request)
        given.pop("model", None)
        prompt = written(given.pop("messages", []))
        stream = given.pop("stream", False) is True
        # The bound has had two names; the API wants one, so where a client gave none it is what was reserved.
        bounds = [given.pop(name, None) for name in ("max_completion_tokens", "max_tokens")]
        tokens = next((bound for bound in bounds if isinstance(bound, int)), target.max_output_tokens)
        # The API always tells what was used.
        given.pop("stream_options", None)
        given = {name: value for name, value in given.items() if asks(name, value)}
        if given.pop("n", 1) != 1:
            raise Fault("the provider gives one reply at a time", param="n")
        for name in REFUSED:
            if name in given:
                raise Fault(f"the provider has no word for `{name}`", param=name)
        body = {"model": target.model, "prompt": prompt, "max_words": self.words(tokens), "stream": stream}
        return Encoded("/v1/tell", body, dropped=sorted(given))

    def decode(self, body):
        """A whole reply is a stream of one line."""
        events = self.open().push("", body)
        if End() not in events:
            raise Fault("the reply has no words counted")
        return events

    def decode_error(self, status, body):
        try:
            return refused(read_object(body)["error"])
        except (Fault, KeyError):
            # What stands before the API, a proxy perhaps, refuses in words of its own.
            return Fault(f"the provider refused with status {status}")

    def open(self):
        return Told(self)

    def words(self, tokens):
        """So many words fit into these tokens; one at least, for the API takes no bound of none."""
        return max(1, tokens * self.words_per_100_tokens // 100)

    def tokens(self, words):
        """So many tokens these words are. Rounded up: limits would rather count one too many."""
        return -(-words * 100 // self.words_per_100_tokens)


class Told:
    """A reply under way."""

    def __init__(self, teller):
        self.teller = teller
        self.begun = False

    def push(self, name, data):
        line = read_object(data)
        if "error" in line:
            raise refused(line["error"])
        events = []
        if not self.begun:
            # The API does not say which model answers.
            events.append(Beginning(text(line.get("id"))))
            self.begun = True
        if text(line.get("answer")):
            events.append(Text(line["answer"]))
        words = line.get("words")
        counts = [words.get(way) for way in ("in", "out")] if isinstance(words, dict) else []
        if counts and all(isinstance(count, int) and count >= 0 for count in counts):
            events.append(Finish("length" if line.get("cut") is True else "stop"))
            events.append(Usage(*(self.teller.tokens(count) for count in counts)))
            events.append(End())
        return events


def written(messages):
    """One message is the prompt as it stands; of several, each says whose it is."""
    said = []
    for index, message in enumerate(messages):
        place = f"messages[{index}]"
        role = message.get("role", "user")
        if message.get("tool_calls") or message.get("function_call") or role in ("tool", "function"):
            raise Fault("the provider calls no tools", param=place)
        words = content(message.get("content"), place)
        said.append(words if len(messages) == 1 else f"{role}: {words}")
    return "\n\n".join(said)


def content(given, place):
    if not isinstance(given, list):
        return text(given)
    words = []
    for part in given:
        if part.get("type") not in ("text", "refusal"):
            raise Fault(f"the provider takes no content of type `{part.get('type')}`", param=place)
        words.append(text(part.get(part["type"])))
    return "".join(words)


def asks(name, value):
    """Whether a field asks for anything: clients send many that say what would be so without them."""
    if value is None or value is False or value == []:
        return False
    return not (name == "response_format" and value.get("type") == "text")


def refused(error):
    """The API's own word for it is the code."""
    error = error if isinstance(error, dict) else {}
    return Fault(text(error.get("says")), code=text(error.get("name")) or None)


def text(value):
    return value if isinstance(value, str) else ""
