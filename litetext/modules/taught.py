"""What a checkpoint says of a distillation, and whether a run may go on from it."""

from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from litetext.data.epochs import EpochDataModule
from litetext.models.finite import check_tensors
from litetext.modules.resume import stored_options


def describe(module: Any) -> dict[str, Any]:
    """Plain values and tensors: what the student is and reads, who taught it, how it scored."""
    about: dict[str, Any] = {
        "student": dict(module.student.config),
        "teacher": module.teacher_path,
        "teacher_parameters": module.teacher_parameters,
        "teacher_fingerprint": module.teacher_fingerprint,
        "sources": dict(module.prompts.sources),
        "context_length": module.student.context_length,
        "scores": dict(module.scores),
        "scored_step": module.scored_step,
    }
    if module.student.reads is not None:
        about["tokenizer"] = module.student.reads.state()
    return about


def warn_of_trained(trainer: Any, checkpoint: dict[str, Any]) -> None:
    """Says in `validate` where what is held out now may have been trained on: the scores would be too good.

    What is held out is decided by a hash of each text or name, so that a smaller share holds out nothing else.

    Args:
        trainer: The run's trainer.
        checkpoint: As Lightning read it.
    """
    if trainer is None or trainer.state.fn != "validate":
        return
    there, data = stored_options(checkpoint), trainer.datamodule
    if not isinstance(data, EpochDataModule):
        return
    share, sources = there.get("data.val_fraction"), there.get("data.val_sources")
    own = getattr(data, "val_sources", None) or None
    if own is not None or sources not in (None, "[]"):
        if sources == str(own) and checkpoint.get(type(data).__name__, {}).get("prompts") == getattr(
            data, "digest", ""
        ):
            return
        rank_zero_warn(
            f"the run of the checkpoint held out data.val_sources {sources}, here {own} are, or other prompts: it may "
            "have been trained on some of those that are scored, and the scores be too good"
        )
    elif isinstance(share, float) and data.val_fraction > share:
        rank_zero_warn(
            f"the run of the checkpoint held out data.val_fraction {share}, here {data.val_fraction} is: it was "
            "trained on some of what is scored, and the scores are too good"
        )


def check_resumed(module: Any, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Refuses the checkpoint of another student, and in `fit` of another teacher.

    Args:
        module: Who shall go on.
        checkpoint: As Lightning read it.

    Returns:
        What `describe` returned when it was written.

    Raises:
        ValueError: Naming each option that differs.
    """
    about = checkpoint.get("litetext", {})
    stored = about.get("student")
    if stored is None:
        raise ValueError("the checkpoint holds no litetext student; give one that `litetext fit` wrote")
    mine = dict(module.student.config)
    differ = [f"{k} {stored.get(k)!r} there, {mine.get(k)!r} here" for k in mine if stored.get(k) != mine[k]]
    if differ:
        raise ValueError(f"the checkpoint is of another student: {'; '.join(differ)}; use its own config")
    check_tensors(checkpoint["state_dict"].items(), "--ckpt_path")
    warn_of_trained(module._trainer, checkpoint)
    was = about.get("teacher_fingerprint") or module.teacher_fingerprint
    fitting = module._trainer is not None and module.trainer.state.fn == "fit"
    if fitting and was != module.teacher_fingerprint:
        raise ValueError(
            f"the checkpoint learnt from another teacher ({about.get('teacher')}, fingerprint {was[:12]}) than "
            f"model.teacher {module.teacher_path} ({module.teacher_fingerprint[:12]}); name the same one, or begin anew"
        )
    return about
