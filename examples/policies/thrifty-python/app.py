"""What the component exports."""

from thrifty import Thrifty
from witgate import export

Lifecycle, Routing = export(Thrifty)
