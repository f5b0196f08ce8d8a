"""What a checkpoint says of a distillation, and whether a run may go on from it."""

from typing import Any

from litetext.models.finite import check_tensors


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
    was = about.get("teacher_fingerprint") or module.teacher_fingerprint
    fitting = module._trainer is not None and module.trainer.state.fn == "fit"
    if fitting and was != module.teacher_fingerprint:
        raise ValueError(
            f"the checkpoint learnt from another teacher ({about.get('teacher')}, fingerprint {was[:12]}) than "
            f"model.teacher {module.teacher_path} ({module.teacher_fingerprint[:12]}); name the same one, or begin anew"
        )
    return about
