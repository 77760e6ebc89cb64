"""What the component exports."""

from preamble import Preamble
from witgate_prompts import export

Lifecycle, Prompting = export(Preamble)
