# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Distil and segment in ten minutes
#
# A student of the text encoder of the shipped SAM3 (`checkpoints/sam3-nouns`, which knows a drawn world of nouns),
# trained and used on a few minutes of one processor core, without a download. With `facebook/sam3` as teacher and
# your own prompts the same lines make a student for photographs.

# %%
import os
from pathlib import Path

from litetext import Segmenter
from litetext.cli import main

EPOCHS = int(os.environ.get("LITETEXT_NOTEBOOK_EPOCHS", "8"))
PROMPTS = int(os.environ.get("LITETEXT_NOTEBOOK_PROMPTS", "20000"))

# %% [markdown]
# ## Distil
#
# `quickstart.yaml` names the teacher, the student's sizes and the corpus. `main` is the command line: `litetext fit
# --config quickstart.yaml --run notebook`.

# %%
options = ["--run", "notebook", "--overwrite", "--trainer.enable_progress_bar", "false"]
options += [f"--trainer.max_epochs={EPOCHS}", f"--data.sources.nouns=nouns:{PROMPTS}"]
assert main(["fit", "--config", "quickstart.yaml", *options]) == 0
student = "checkpoints/notebook/best.ckpt"

# %% [markdown]
# ## Something to look at
#
# Held-out scenes in the layout of SA-Co Gold: images, phrases, and the marks of three annotators.

# %%
if not Path("scenes").exists():
    assert main(["nouns", "scenes", "--number", "2"]) == 0
image = "scenes/images/common/00000.png"
phrases = ["dog", "apple", "red car", "bird left of the house"]

# %% [markdown]
# ## Segment, with the teacher's text encoder and with the student's
#
# All phrases share one pass of the vision tower. Boxes are left, top, right, bottom in pixels; masks have the image's
# size.

# %%
for name, text_encoder in {"teacher": None, "student": student}.items():
    segmenter = Segmenter("checkpoints/sam3-nouns", text_encoder=text_encoder)
    print(f"{name}: {segmenter.encoder.parameter_count:,} parameters")
    for found in segmenter(image, phrases):
        print(f"  {found.phrase}: {[round(score, 2) for score in found.scores.tolist()]}")
        for annotation in found.to_coco():
            print("   ", annotation["bbox"], annotation["area"])

# %% [markdown]
# ## On disk
#
# The same from the command line: a picture for each image, and `predictions.json` for all.

# %%
argv = ["segment", image, "--phrases", *phrases, "--sam3", "checkpoints/sam3-nouns", "--text_encoder", student]
assert main([*argv, "--output", "found", "--overwrite"]) == 0
print(sorted(path.name for path in Path("found").iterdir()))

# %% [markdown]
# ## What it is worth
#
# `litetext test --config nouns.yaml --model.text_encoders.mine checkpoints/notebook/best.ckpt` scores teacher and
# student on the whole embedded benchmark; see [the results](../results/nouns.md).
