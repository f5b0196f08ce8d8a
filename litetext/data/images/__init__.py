"""SA-Co Gold, Silver and COCO-style data sets."""
