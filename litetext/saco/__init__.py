"""What annotation and predictions files of SA-Co, COCO and VEval hold, checked before anything is counted with it."""

import lazy_loader

# The public names stand in __init__.pyi; a module is imported when the first of its names is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
