"""What the component exports."""

from teller import Teller
from witgate_providers import export

Lifecycle, Providing, Decoder = export(Teller)
