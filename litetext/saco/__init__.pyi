from .instances import Instances as Instances
from .instances import Segments as Segments
from .instances import Truth as Truth
