"""litetext: the text side of promptable segmentation, small, measured and shippable.

from litetext import Segmenter
segmenter = Segmenter("checkpoints/sam3-tiny", text_encoder="student.ckpt")
results = segmenter("image.png", ["white dog", "cup"])
"""

import lazy_loader

from litetext.commands.moved import install

# The public names stand in __init__.pyi; a module is imported when the first of its names is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

install()  # modules that have moved, under their names of then
