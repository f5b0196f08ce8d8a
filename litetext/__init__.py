"""litetext: the text side of promptable segmentation, small, measured and shippable."""
