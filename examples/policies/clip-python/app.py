"""What the component exports."""

from clip import Clip
from witgate_replies import export

Lifecycle, Parsing, Parser = export(Clip)
