"""An export to the Hugging Face hub: asked for a token before anything is written, uploaded when all is written."""

from pathlib import Path
from typing import Any

from litetext.files import reason


def ready_to_push(repo: str) -> str:
    """Checks that an upload can go through, before any work.

    Args:
        repo: Its id on the hub, owner/name or a name of the user's own.

    Returns:
        The user's name there.

    Raises:
        ValueError: There is no token, the hub does not take it or does not answer, or the id is none.
    """
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ValueError(f"--push {repo} is no id of a repository: {str(error).splitlines()[0]}") from error
    if constants.HF_HUB_OFFLINE:
        raise ValueError(f"--push {repo} needs the hub, and HF_HUB_OFFLINE is set; unset it, or leave --push out")
    if get_token() is None:
        raise ValueError(f"--push {repo} needs a token of the hub; log in with `hf auth login`, or set HF_TOKEN")
    try:
        who: dict[str, Any] = HfApi(library_name="litetext").whoami()
    except Exception as error:  # an unknown token, no network: each has its own kind
        raise ValueError(
            f"--push {repo}: the hub does not take the token ({reason(error)}); `hf auth login` again"
        ) from error
    return str(who.get("name"))


def push(folder: str | Path, repo: str) -> str:
    """Uploads an export as one commit; the repository is made if need be.

    Args:
        folder: The export, which stays.
        repo: Its id on the hub.

    Returns:
        The commit's address.

    Raises:
        ValueError: The hub refuses; the folder is whole all the same.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="litetext")
    try:
        name = api.create_repo(repo, exist_ok=True).repo_id
        commit = api.upload_folder(repo_id=name, folder_path=folder, commit_message="Add what litetext exported")
    except Exception as error:  # no right to write, no network: each has its own kind
        raise ValueError(f"--push {repo}: {reason(error)}; {folder} is written, upload it with `hf upload`") from error
    return str(commit.commit_url)
