"""Students of a folder or of the hub by `MobileClipText.from_pretrained`."""

from pathlib import Path
from typing import Any

from litetext.models.text.mobileclip import MobileClipText


def student_from_pretrained(name: str, **options: Any) -> MobileClipText:
    """Opens a student that `save_pretrained`, `push_to_hub` or `litetext export` wrote.

    Args:
        name: A local folder, or an id on the hub.
        options: Those of `huggingface_hub.PyTorchModelHubMixin.from_pretrained`: `revision`, `token`, `cache_dir`,
            `force_download`, `local_files_only`.

    Raises:
        ValueError: If it holds no student.
    """
    from huggingface_hub import snapshot_download

    from litetext.models.text.loading import load_text_encoder

    folder = Path(name)
    if not folder.is_dir():
        known = ("revision", "token", "cache_dir", "force_download", "local_files_only")
        given = {key: options[key] for key in known if options.get(key) is not None}
        folder = Path(snapshot_download(name, allow_patterns=["config.json", "*.safetensors"], **given))
    student = load_text_encoder(folder)
    if not isinstance(student, MobileClipText):
        raise ValueError(f"{name} holds SAM3's own text encoder, and no student; see load_text_encoder")
    return student
