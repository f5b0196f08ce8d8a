"""Prunes a tracking session of SAM3 after each frame: all that no later frame reads goes.

transformers keeps everything. The results stay the same bit for bit when frames follow one another forwards.
"""

from typing import Any

_DRAWN = ("pred_masks", "high_res_masks")
_MEMORY = ("maskmem_features", "maskmem_pos_enc")


def prune_session(session: Any, frame: int, model: Any) -> None:
    """Drops what the frames after this one do not read.

    What is kept of an object: the memories of the last `num_maskmem - 1` frames and of the last `max_cond_frame_num`
    frames at which it was detected anew, and pointers (one vector each) of the last `max_object_pointers_in_encoder`
    frames and of every frame at which it was detected anew, at most one in `recondition_every_nth_frame`.

    Args:
        session: A `Sam3VideoInferenceSession` that has just seen `frame`.
        frame: Number of the frame.
        model: The Sam3VideoModel.
    """
    config = model.config.tracker_config
    recent = frame - config.num_maskmem + 2  # the first frame whose memory the next frame reads
    pointers = frame - config.max_object_pointers_in_encoder + 2
    for outputs in session.output_dict_per_obj.values():
        passing, fixed = outputs["non_cond_frame_outputs"], outputs["cond_frame_outputs"]
        for t in [t for t in passing if t < min(recent, pointers)]:
            del passing[t]
        closest = sorted(fixed) if config.max_cond_frame_num < 0 else sorted(fixed)[-config.max_cond_frame_num :]
        for t, output in [*passing.items(), *fixed.items()]:
            for key in _DRAWN:
                output.pop(key, None)
            if t < recent and t not in (closest if t in fixed else ()):
                for key in _MEMORY:
                    output.pop(key, None)
        for output in fixed.values():  # they are slices of all objects' memories, and stay longer than the others
            for key in _MEMORY:
                if (part := output.get(key)) is not None and part.untyped_storage().nbytes() > part.nbytes:
                    output[key] = part.clone()
    for table in (session.mask_inputs_per_obj, session.frames_tracked_per_obj):
        for by_frame in table.values():
            by_frame.clear()
    session.cache.clear_all()
    session.obj_id_to_tracker_score_frame_wise.clear()
    session.suppressed_obj_ids.clear()
    # Of these only the number matters, up to the threshold.
    for table, most in (
        (session.unmatched_frame_inds, model.hotstart_unmatch_thresh),
        (session.overlap_pair_to_frame_inds, model.hotstart_dup_thresh),
    ):
        for frames in table.values():
            del frames[: -max(1, most)]


def park_session(session: Any) -> None:
    """Moves the memories of a session's objects to the CPU; the tracker takes them back frame by frame.

    Args:
        session: A `Sam3VideoInferenceSession`, after `prune_session`.
    """
    for outputs in session.output_dict_per_obj.values():
        for by_frame in outputs.values():
            for output in by_frame.values():
                for key in _MEMORY:
                    if (part := output.get(key)) is not None:
                        output[key] = part.cpu()
