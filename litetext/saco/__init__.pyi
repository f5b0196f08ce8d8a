from .instances import Instances as Instances
from .instances import Truth as Truth
from .segments import Segments as Segments
