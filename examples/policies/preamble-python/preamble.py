"""The operator's instructions come first, then everything the client wrote, as it wrote it.

Setting `text`: the instructions; it must be given.
"""

from witgate_prompts import Needs, Prompt, Settings, kept, new


class Preamble:
    # Nothing of one request is remembered at the next.
    needs = Needs(pure=True)

    def __init__(self, setup):
        settings = Settings(setup.settings)
        self.text = settings.text("text", "the instructions")
        settings.finish()

    def build(self, request):
        return Prompt([new("system", self.text), *kept(request.messages)])
