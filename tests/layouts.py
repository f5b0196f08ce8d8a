"""Writers of small corpora in the layouts that the public data sets have."""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_json(path: Path, data: Any) -> Path:
    """Writes `data` as JSON, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def write_lvis(folder: Path, names: Sequence[str], split: str = "val") -> Path:
    """LVIS v1 annotations with these raw category names."""
    categories = [
        {
            "id": i,
            "name": name,
            "synonyms": [name, f"{name}_thing"],
            "synset": f"{name}.n.01",
            "def": "",
            "frequency": "c",
            "image_count": 1,
            "instance_count": 1,
        }
        for i, name in enumerate(names, start=1)
    ]
    data = {"info": {}, "licenses": [], "images": [], "annotations": [], "categories": categories}
    return write_json(folder / f"lvis_v1_{split}.json", data)


def refer_entries(sentences: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """References of the REFER layout, one a list of sentences."""
    return [
        {
            "ref_id": i,
            "ann_id": 100 + i,
            "category_id": 1,
            "image_id": 1000 + i,
            "file_name": f"COCO_train2014_{i:012d}.jpg",
            "split": "train" if i % 2 else "val",
            "sent_ids": list(range(len(group))),
            "sentences": [
                {"sent": sent, "raw": sent.upper(), "tokens": sent.split(), "sent_id": k}
                for k, sent in enumerate(group)
            ],
        }
        for i, group in enumerate(sentences)
    ]


def write_refer(
    root: Path, name: str, sentences: Sequence[Sequence[str]], split: str = "unc", protocol: int = 0
) -> Path:
    """`root/name/refs(split).p`; name is refcoco, refcoco+ or refcocog."""
    path = root / name / f"refs({split}).p"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(refer_entries(sentences), protocol=protocol))
    return path


def write_coco(path: Path, names: Sequence[str], used: Sequence[int], first_id: int = 0) -> Path:
    """A Roboflow COCO file: categories count from `first_id`, `used` are the category ids of its
    annotations."""
    categories = [
        {"id": i, "name": name, "supercategory": "none" if i == 0 else names[0]}
        for i, name in enumerate(names, start=first_id)
    ]
    annotations = [
        {
            "id": i,
            "image_id": 0,
            "category_id": c,
            "bbox": [0, 0, 4, 4],
            "area": 16,
            "iscrowd": 0,
            "segmentation": [],
        }
        for i, c in enumerate(used)
    ]
    images = [{"id": 0, "file_name": "a.jpg", "height": 8, "width": 8}]
    return write_json(path, {"images": images, "categories": categories, "annotations": annotations})


def write_rf100vl(root: Path, datasets: dict[str, tuple[Sequence[str], Sequence[int]]]) -> Path:
    """RF100-VL: data set name to (category names from id 0, category ids used), in train, valid and test."""
    for name, (names, used) in datasets.items():
        for split in ("train", "valid", "test"):
            write_coco(root / name / split / "_annotations.coco.json", names, used if split == "train" else ())
    return root


def saco_pairs(phrases: Sequence[str], first_id: int = 10000000) -> list[dict[str, Any]]:
    """`images[]` of a SA-Co Gold or Silver file, one pair a phrase, two pairs an image."""
    return [
        {
            "id": first_id + i,
            "file_name": f"img_{i // 2}.jpg",
            "text_input": phrase,
            "width": 16,
            "height": 8,
            "queried_category": str(i),
            "is_instance_exhaustive": 1,
            "is_pixel_exhaustive": 1,
        }
        for i, phrase in enumerate(phrases)
    ]


def write_saco_image(path: Path, phrases: Sequence[str], annotations: Sequence[dict[str, Any]] = ()) -> Path:
    """One SA-Co Gold or Silver annotation file."""
    categories = [{"id": 1, "name": "object"}]
    return write_json(
        path,
        {
            "info": {},
            "images": saco_pairs(phrases),
            "annotations": list(annotations),
            "categories": categories,
        },
    )


def write_saco_gold(
    folder: Path, subsets: dict[str, Sequence[str]], annotators: Sequence[str] = ("a", "b", "c")
) -> Path:
    """SA-Co Gold: subset name to phrases, one file an annotator."""
    for subset, phrases in subsets.items():
        for who in annotators:
            write_saco_image(folder / f"gold_{subset}_merged_{who}_release_test.json", phrases)
    return folder


def write_saco_silver(folder: Path, subsets: dict[str, Sequence[str]]) -> Path:
    """SA-Co Silver: subset name to phrases; fathomnet's file name has no "merged"."""
    for subset, phrases in subsets.items():
        middle = "" if subset == "fathomnet" else "_merged"
        write_saco_image(folder / f"silver_{subset}{middle}_test.json", phrases)
    return folder


def write_saco_veval(
    folder: Path, names: Sequence[str], asked: Sequence[int], files: Sequence[str] = ("sav_val", "yt1b_test")
) -> Path:
    """SA-Co VEval: the same map of all names in every file; `asked` are the positions that pairs ask for."""
    for file in files:
        pairs = [
            {"id": i, "video_id": "v0", "category_id": k + 1, "noun_phrase": names[k], "num_masklets": 0}
            for i, k in enumerate(asked)
        ]
        video = {
            "id": "v0",
            "video_name": "v0",
            "file_names": ["0.jpg"],
            "height": 8,
            "width": 8,
            "length": 1,
        }
        data = {
            "info": {},
            "videos": [video],
            "annotations": [],
            "categories": [{"id": i, "name": name} for i, name in enumerate(names, start=1)],
            "video_np_pairs": pairs,
        }
        write_json(folder / f"saco_veval_{file}.json", data)
    return folder
