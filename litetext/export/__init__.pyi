from .targets import export as export
from .parity import Parity as Parity
