"""`litetext ablate`: trains variants of one distillation over several seeds, and scores all of them in one pass."""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from litetext.commands.ablation_curve import draw_curve
from litetext.commands.ablation_plan import Plan, arguments, read_plan
from litetext.commands.ablation_tables import SCORED, group_numbers, size_table, tables
from litetext.files import write_json, write_text
from litetext.shipped import code_version

_HELD_OUT = ("cosine", "pooled_cosine", "agreement", "drift")
_MARK = "fit.json"


class Variant(NamedTuple):
    """One set of options; variants that come to the same options are one.

    Attributes:
        name: Its differing options and a digest of all options: the folder of its fits.
        argv: Arguments of its fits, without run and seed.
        content: Hashes of what its fits learn from, which no option says: `teacher` and `prompts`, `pretrained` where
            the student begins with weights of a file, or of a second stage `SAM3`, `start` and `images`.
    """

    name: str
    argv: list[str]
    content: dict[str, str]

    def run(self, plan: Plan, seed: int) -> str:
        """Name of the run of one of its fits."""
        return f"{plan.run}/{self.name}/seed{seed}"


def find_variants(plan: Plan) -> dict[str, dict[str, Variant]]:
    """Builds every variant once, so that a wrong option is found before the first fit.

    Args:
        plan: The ablation's plan.

    Returns:
        By group, by label.
    """
    from litetext.commands.lightning import check

    known: dict[str, Variant] = {}  # by arguments
    names: dict[str, str] = {}  # by digest
    found: dict[str, dict[str, Variant]] = {}
    hashes: dict[str, str] = {}
    for group, variants in plan.groups.items():
        for label, given in variants.items():
            argv = [*plan.fit, *arguments(given)]
            print(f"  {group} | {label}: {' '.join(arguments(given)) or 'as it is'}", flush=True)
            if (key := json.dumps(argv)) not in known:
                built = check("fit", [*argv, "--run", "ablation", "--seed_everything=0"])
                options = built.parser.dump(built.config, skip_none=False, format="json")
                digest = blake2b(options.encode(), digest_size=4).hexdigest()
                known[key] = Variant(
                    names.setdefault(digest, f"{_slug(given)}-{digest}"), argv, _content(built, hashes)
                )
            found.setdefault(group, {})[label] = known[key]
    return found


def _content(built: Any, hashes: dict[str, str]) -> dict[str, str]:
    """Hashes of weights, prompts and images, which may change while their paths stay the same."""
    from litetext.data.images.task import TaskDataModule
    from litetext.data.prompts.corpora import read_sources
    from litetext.data.prompts.datamodule import PromptDataModule
    from litetext.models.hub import find_weights
    from litetext.modules.cache_key import files_hash
    from litetext.modules.distill import DistillModule
    from litetext.modules.task_distill import TaskDistillModule
    from litetext.modules.teacher import load_teacher

    content: dict[str, str] = {}
    if isinstance(built.model, TaskDistillModule):
        if (key := json.dumps(built.model.read_from)) not in hashes:
            hashes[key] = json.dumps(built.model.learns_from())
        content |= json.loads(hashes[key])
    if isinstance(built.datamodule, TaskDataModule):
        if (key := json.dumps(built.datamodule.read_from)) not in hashes:
            built.datamodule.setup("fit")
            keys = [built.datamodule.digest, *(image.key for image in built.datamodule.images)]
            hashes[key] = blake2b("\n".join(keys).encode(), digest_size=16).hexdigest()
        content["images"] = hashes[key]
    if isinstance(built.model, DistillModule):
        path = built.model.teacher_path
        if path not in hashes:
            hashes[path] = load_teacher(path).fingerprint
        content["teacher"] = hashes[path]
        student = built.config[built.config["subcommand"]]["model"]["init_args"]["student"]
        if name := student.get("init_args", {}).get("pretrained"):
            content["pretrained"] = files_hash([Path(find_weights(name))])
    if isinstance(built.datamodule, PromptDataModule):
        sources = built.datamodule.sources
        if (key := json.dumps(sources)) not in hashes:
            prompts = json.dumps([[source.name, source.prompts] for source in read_sources(sources)])
            hashes[key] = blake2b(prompts.encode(), digest_size=16).hexdigest()
        content["prompts"] = hashes[key]
    return content


def merge_plans(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merges two configs of ablations; `over` wins.

    Args:
        base: A config.
        over: Another.

    Returns:
        Mappings merged key by key, but the value of an option as a whole: a user who gives `data.sources` does
        not train on those of the shipped config besides.
    """
    from litetext.commands.config_files import deep_merge

    merged = deep_merge(base, over)
    for key in ("options", "test_options"):
        if isinstance(base.get(key), dict) and isinstance(over.get(key), dict):
            merged[key] = {**base[key], **over[key]}
    return merged


def _slug(given: Mapping[str, Any]) -> str:
    parts = dict.fromkeys(f"{key.rpartition('.')[2]}-{value}" for key, value in given.items())
    return re.sub(r"[^A-Za-z0-9_.]+", "-", "-".join(parts)).strip("-")[:60] or "base"


def fit_once(
    run: str, seed: int, argv: Sequence[str], content: Mapping[str, str] | None = None, overwrite: bool = False
) -> tuple[str, dict[str, Any]]:
    """Trains one student, unless that is done; goes on with an interrupted fit.

    Args:
        run: Name of the run.
        seed: Its seed.
        argv: The other arguments of `litetext fit`.
        content: Hashes of what it learns from, see `Variant`.
        overwrite: Train it anew where a fit is there that learnt from something else.

    Returns:
        The best checkpoint, and how it scored on held-out prompts; the `code` that trained, and `seconds` of training,
        None where the fit went on from an interrupted one.

    Raises:
        ValueError: The fit wrote no best checkpoint, or what is there learnt from something else.
    """
    from litetext.checkpoints.lightning import read_checkpoint
    from litetext.commands import lightning as lightning_cli
    from litetext.models.text.students import load_student

    folder = Path(lightning_cli.CHECKPOINTS, run)
    best, last, mark = folder / "best.ckpt", folder / "last.ckpt", folder / _MARK
    done = _done(mark, content or {}, overwrite) if best.is_file() else None
    if done is None:
        seconds: float | None = None
        anew = ["--overwrite"]  # over what is left of this very fit: its folder's name says its options and seed
        ways = [anew, ["--ckpt_path", "last"]] if not mark.is_file() and _readable(last) else [anew]
        while ways:
            way, begin = ways.pop(), perf_counter()
            lightning_cli.run("fit", [*argv, "--run", run, f"--seed_everything={seed}", *way])
            seconds = perf_counter() - begin if way is anew else None  # nobody knows what was before an interruption
            if best.is_file():
                break
        else:
            raise ValueError(
                f"the fit wrote no {best}; it must last until a validation, such as a whole epoch, and keep "
                "checkpoint.filename best"
            )
        done = {"seconds": seconds, "code": code_version(), **(content or {})}
        write_json(mark, done, indent=None)
    elif done.get("code") != code_version():
        print(f"done before, by another version of the code ({done.get('code', 'unknown')}): {best}")
    stored = read_checkpoint(str(best))
    about = stored.get("litetext", {})
    scores = about.get("scores", {})
    parameters = load_student(str(best)).parameter_count  # buffers, as of BatchNorm, are none
    size = {"parameters": parameters, "teacher_parameters": about.get("teacher_parameters")}
    return str(best), {name: _number(scores.get(name)) for name in _HELD_OUT} | size | done


def _done(mark: Path, content: Mapping[str, str], overwrite: bool) -> dict[str, Any] | None:
    """What is noted of a finished fit; None where there is none, or another one that shall go."""
    try:
        stored = json.loads(mark.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    differ = [key for key, value in content.items() if stored.get(key) != value]
    if differ and not overwrite:
        raise ValueError(
            f"{mark.parent} is trained already, but learnt from other things than are there now ({', '.join(differ)}); "
            "give --run NAME for an ablation beside it, or --overwrite to train it anew"
        )
    return None if differ else stored


def _readable(path: Path) -> bool:
    from litetext.checkpoints.lightning import read_checkpoint

    try:
        return path.is_file() and bool(read_checkpoint(str(path)))
    except ValueError as error:
        print(f"the fit starts anew: {error}")
        return False


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def run_plan(plan: Plan, config: Mapping[str, Any], overwrite: bool = False) -> Path:
    """Trains and scores what is not done yet, and writes and prints the tables.

    Args:
        plan: The ablation's plan.
        config: The config it was read from, to be kept beside the numbers.
        overwrite: Whether the numbers of another ablation of this name may be replaced.

    Returns:
        The file with the numbers, `lightning_logs/RUN/ablation.json`.

    Raises:
        ValueError: The numbers of another ablation are there, or another process runs this one.
    """
    from litetext.commands import lightning as lightning_cli
    from litetext.modules.run_folder import check_run_name, sole_writer

    check_run_name(plan.run)
    path = Path(lightning_cli.LOGS, plan.run, "ablation.json")
    if not overwrite:
        _refuse_another(path, config)
    with sole_writer([Path(lightning_cli.CHECKPOINTS, plan.run)], "litetext ablate", plan.run):
        return _ablate(plan, config, path, overwrite)


def _ablate(plan: Plan, config: Mapping[str, Any], path: Path, overwrite: bool) -> Path:
    import torch

    from litetext.commands import lightning as lightning_cli

    print("variants")
    variants = find_variants(plan)
    built = lightning_cli.check("test", [*plan.test, "--run", plan.run]) if plan.test else None
    if (
        built is not None and built.datamodule is not None
    ):  # what is missing for the evaluation should be known before days of training
        built.datamodule.prepare_data()
        built.datamodule.setup("test")
    unique = list({v.name: v for group in variants.values() for v in group.values()}.values())
    fits = [(variant, seed) for seed in plan.seeds for variant in unique]
    encoders: dict[str, str] = {}
    runs: dict[str, dict[str, Any]] = {variant.name: {} for variant in unique}
    for number, (variant, seed) in enumerate(fits, 1):
        print(f"\nfit {number} of {len(fits)}: {variant.name}, seed {seed}", flush=True)
        best, scores = fit_once(variant.run(plan, seed), seed, variant.argv, variant.content, overwrite)
        encoders[f"{variant.name}-seed{seed}"] = best
        runs[variant.name][str(seed)] = {"checkpoint": best, **scores}
    # Processes that a fit on several devices started run this command too.
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    together = built is not None and built.trainer.world_size > 1
    if not together and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # the first scores alone, and must not wait for the others
    if built is not None and (first or together):
        lightning_cli.run("test", [*plan.test, "--run", plan.run, f"--model.text_encoders={json.dumps(encoders)}"])
    if first:
        _write(path, plan, config, variants, runs)
    return path


def _refuse_another(path: Path, config: Mapping[str, Any]) -> None:
    """Refuses to replace the numbers of an ablation with another plan; more seeds are no other plan."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["config"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    wanted = json.loads(json.dumps(config))
    free = ("seeds", "run", "against", "paper")  # the same numbers in another form
    differ = [key for key in {**before, **wanted} if key not in free and before.get(key) != wanted.get(key)]
    if differ or not set(before.get("seeds", [])) <= set(wanted.get("seeds", [])):
        raise ValueError(
            f"{path} holds the numbers of another ablation ({', '.join(differ) or 'seeds'} differ); give --run NAME "
            "for one beside it, or --overwrite to replace it"
        )


def _write(
    path: Path,
    plan: Plan,
    config: Mapping[str, Any],
    variants: Mapping[str, Mapping[str, Variant]],
    runs: dict[str, dict[str, Any]],
) -> None:
    results: dict[str, Any] = {"encoders": {}, "partial": None}
    if plan.test:
        results = json.loads((path.parent / "results.json").read_text(encoding="utf-8"))
    parts: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in runs}  # what is folded over the seeds
    for name, by_seed in runs.items():
        for seed, entry in by_seed.items():
            scored = results["encoders"].get(f"{name}-seed{seed}", {})
            entry |= scored.get("average", dict.fromkeys(SCORED))
            parts[name][seed] = {**entry, **{part: scored[part] for part in ("subsets", "kinds") if part in scored}}
    groups = {
        group: group_numbers(
            {label: [parts[v.name][str(s)] for s in plan.seeds] for label, v in labels.items()},
            {label: v.name for label, v in labels.items()},
            plan.against[group],
        )
        for group, labels in variants.items()
    }
    teacher = results["encoders"].get("teacher")
    firsts = {name: by_seed[str(plan.seeds[0])] for name, by_seed in runs.items()}
    parameters = {name: entry["parameters"] for name, entry in firsts.items()}
    sizes = {
        name: {"parameters": n, "bytes": 4 * n, "teacher": firsts[name]["teacher_parameters"]}
        for name, n in parameters.items()
    }
    numbers = {"config": config, "teacher": teacher, "partial": results["partial"], "parameters": parameters}
    write_json(path, {**numbers, "runs": runs, "groups": groups})
    shown = tables(groups, plan.paper)
    figure = path.with_name("curve.svg")
    if plan.curve and draw_curve(figure, groups, sizes, plan.curve):
        shown += "\n" + "\n".join(size_table(groups, sizes))
        print(f"figure      {figure}")
    write_text(path.with_suffix(".md"), shown)
    print(
        f"\nmean ± standard deviation (least to largest) of {len(plan.seeds)} seeds; differences seed by seed\n\n"
        f"{shown}"
    )


def ablate(
    *, config: list[str], run: str | None = None, seeds: list[int] | None = None, overwrite: bool = False
) -> None:
    """Trains variants of one fit over several seeds, scores all of them in one pass of litetext test.

    Prints a table a group, and how variants differ seed by seed, with 95% intervals. What is done is not done again:
    the same command goes on after an interruption.

    Args:
        config: YAML: fit and test (configs of these commands), seeds, options (of all fits), test_options, groups of
            variants, against (by group, the label to compare with), paper (texts beside our numbers). ablation.yaml is
            shipped; of several files later ones win, key by key, and an option's value is replaced as a whole.
        run: Name of the ablation and its folders.
        seeds: Instead of the config's, as 1 2 3.
        overwrite: Replace the numbers of another ablation, and fits that learnt from another teacher, other prompts or
            images.

    Raises:
        FileNotFoundError: If a config does not exist.
        ValueError: If a config is not that of an ablation, or the numbers of another one are there.
    """
    from litetext.commands.config_files import read_config

    content: dict[str, Any] = {}
    for name in config:
        content = merge_plans(content, read_config(name))
    content.setdefault("run", Path(config[-1]).stem)
    content |= {key: value for key, value in {"run": run, "seeds": seeds}.items() if value is not None}
    print(f"numbers     {run_plan(read_plan(content), content, overwrite)}")
