"""Names of the parts of Meta's SA-Co benchmarks."""

GOLD = ("metaclip", "sa1b", "crowded", "fg_food", "fg_sports_equipment", "attributes", "wiki_common")
"""The subsets of SA-Co Gold, in the order of the paper's tables."""
SILVER = (*("bdd100k", "droid", "ego4d", "food_rec", "geode", "inaturalist", "nga_art", "sav", "yt1b", "fathomnet"),)
"""The domains of SA-Co Silver."""
VEVAL_DOMAINS = ("sav", "yt1b", "smartglasses")
"""The domains of SA-Co VEval, in the order of the paper's Table 4."""
