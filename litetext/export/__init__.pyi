from .parity import Parity as Parity
from .targets import export as export
