"""No answer is longer than so many characters. What is within them passes as it comes; the rest is left out.

Setting `most`: how many; 2000 unless given.
"""

from witgate_replies import Needs, Settings, Text


class Clip:
    # Of all that a model gives, the text alone; nothing of one reply is remembered at the next.
    needs = Needs(deltas=["text"], pure=True)

    def __init__(self, setup):
        settings = Settings(setup.settings)
        self.most = settings.whole("most", 1, 1_000_000, 2000)
        settings.finish()

    def open(self, about):
        return Clipped(self.most)


class Clipped:
    """One answer: how many characters are left."""

    def __init__(self, left):
        self.left = left

    def push(self, delta):
        if not isinstance(delta, Text):
            return [delta]
        words = delta.words[: self.left]
        self.left -= len(words)
        return [Text(words)] if words else []

    def finish(self, reason):
        return []
