# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Audit your prompts
#
# Before a student is trained: how many tokens do your prompts need, how much of the vocabulary do they use, and which
# student follows from that? Nothing is downloaded, and no weights are needed.

# %%
import json
import os
from pathlib import Path

from litetext.cli import main

PROMPTS = int(os.environ.get("LITETEXT_NOTEBOOK_PROMPTS", "6000"))

# %% [markdown]
# ## Your prompts
#
# One phrase a line. Here two corpora stand in for yours: a short list, and drawn phrases about nouns (`nouns:N`).

# %%
mine = ["white dog", "red car", "cup on the table", "traffic light", "person riding a bicycle", "solar panel"]
Path("mine.txt").write_text("\n".join(mine) + "\n")
corpora = ["mine=mine.txt", f"nouns=nouns:{PROMPTS}"]

# %% [markdown]
# ## The audit
#
# `litetext audit --prompts mine=mine.txt nouns=nouns:6000 --output audit`; with `--text_encoder` it also looks into
# an encoder: spectra, dimension, word order, robustness.

# %%
assert main(["audit", "--prompts", *corpora, "--output", "audit", "--overwrite"]) == 0

# %% [markdown]
# ## What it says
#
# `audit/report.html` is one page with every figure; `audit.json` holds the numbers.

# %%
audit = json.loads(Path("audit/audit.json").read_text())
for name, source in audit["sources"].items():
    print(f"{name}: {source['prompts']:,} prompts")
plan = audit["prescription"]
print("context length:", plan["context_length"])
for warning in plan["warnings"]:
    print("-", warning)

# %% [markdown]
# ## The student that follows
#
# `prescription.yaml` is a config in which every option has its reason: `litetext fit --config
# audit/prescription.yaml` trains it as it is.

# %%
print(Path("audit/prescription.yaml").read_text())
