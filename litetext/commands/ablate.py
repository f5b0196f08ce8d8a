"""`litetext ablate`: trains variants of one distillation over several seeds, and scores all of them in one pass."""

import json
import math
import os
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from litetext.files import write_json, write_text

COLUMNS = ("CG_F1", "IL_MCC", "pmF1", "retention", "cosine", "agreement", "drift")
_DIGITS = dict(zip(COLUMNS, (2, 3, 2, 3, 4, 3, 4), strict=True))
_HELD_OUT = ("cosine", "agreement", "drift")
_KEYS = ("fit", "test", "seeds", "options", "test_options", "groups", "run")
_MARK = "fit.json"


class Plan(NamedTuple):
    """What a config asks for.

    Attributes:
        fit: Arguments that name the configs of every fit, with the options common to all.
        test: Those of the evaluation.
        seeds: Seeds of every variant.
        groups: By group, by label: the options in which a variant differs.
        run: Name of the ablation.
    """

    fit: list[str]
    test: list[str]
    seeds: list[int]
    groups: dict[str, dict[str, dict[str, Any]]]
    run: str


def arguments(options: Mapping[str, Any]) -> list[str]:
    """Options by their dotted names as arguments of a command.

    Args:
        options: Such as `{"model.consistency_weight": 0.05}`.

    Returns:
        Such as `["--model.consistency_weight=0.05"]`.
    """
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in options.items()]


def read_plan(config: Mapping[str, Any]) -> Plan:
    """Checks a config.

    Args:
        config: The keys `fit` and `test` (a config's name each, or several), `seeds`, `options` and `test_options`
            (dotted names to values), `groups` (by group, by label: dotted names to values) and `run`.

    Raises:
        ValueError: A key is unknown or missing, or a value is of the wrong kind; the message names it.
    """
    for key in config:
        if key not in _KEYS:
            raise ValueError(f"{key} is no key of an ablation; it has {', '.join(_KEYS)}")
    groups = config.get("groups")
    if not isinstance(groups, dict) or not groups:
        raise ValueError(f"groups is {groups!r}; give at least one, as {{context: {{8: {{data.context_length: 8}}}}}}")
    for group, variants in groups.items():
        if not isinstance(variants, dict) or not variants:
            raise ValueError(f"groups.{group} is {variants!r}; give variants, each a label with its options")
    seeds = config.get("seeds", [0, 1, 2])
    whole = isinstance(seeds, list) and all(type(seed) is int and seed >= 0 for seed in seeds)
    if not whole or not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds is {seeds!r}; give different whole numbers from 0 up, as [0, 1, 2]")
    return Plan(
        [*_configs(config, "fit"), *arguments(_options("options", config.get("options")))],
        [*_configs(config, "test"), *arguments(_options("test_options", config.get("test_options")))],
        seeds,
        {
            str(group): {str(label): _options(f"groups.{group}.{label}", given) for label, given in variants.items()}
            for group, variants in groups.items()
        },
        str(config.get("run", "ablation")),
    )


def _configs(config: Mapping[str, Any], key: str) -> list[str]:
    given = config.get(key)
    names = [name for name in (given if isinstance(given, list) else [given]) if isinstance(name, str)]
    if not names or (isinstance(given, list) and len(names) < len(given)):
        raise ValueError(f"{key} is {given!r}; name the config of litetext {key}, or a list of them")
    return [word for name in names for word in ("--config", name)]


def _options(where: str, given: Any) -> dict[str, Any]:
    given = {} if given is None else given
    if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):
        raise ValueError(f"{where} is {given!r}; give options by their names, as {{trainer.max_epochs: 2}}")
    for key in given:
        if key in ("run", "seed_everything", "ckpt_path", "config") or key.startswith("-"):
            raise ValueError(f"{where} sets {key}, which an ablation sets itself (seeds: [0, 1, 2]; --run NAME)")
    return given


class Variant(NamedTuple):
    """One set of options; variants that come to the same options are one.

    Attributes:
        name: Its differing options and a digest of all options: the folder of its fits.
        argv: Arguments of its fits, without run and seed.
    """

    name: str
    argv: list[str]

    def run(self, plan: Plan, seed: int) -> str:
        """Name of the run of one of its fits."""
        return f"{plan.run}/{self.name}/seed{seed}"


def find_variants(plan: Plan) -> dict[str, dict[str, Variant]]:
    """Builds every variant once, so that a wrong option is found before the first fit.

    Args:
        plan: What is asked for.

    Returns:
        By group, by label.
    """
    from litetext.commands.lightning import check

    known: dict[str, Variant] = {}  # by arguments
    names: dict[str, str] = {}  # by digest
    found: dict[str, dict[str, Variant]] = {}
    for group, variants in plan.groups.items():
        for label, given in variants.items():
            argv = [*plan.fit, *arguments(given)]
            print(f"  {group} | {label}: {' '.join(arguments(given)) or 'as it is'}", flush=True)
            if (key := json.dumps(argv)) not in known:
                built = check("fit", [*argv, "--run", "ablation", "--seed_everything=0"])
                options = built.parser.dump(built.config, skip_none=False, format="json")
                digest = blake2b(options.encode(), digest_size=4).hexdigest()
                known[key] = Variant(names.setdefault(digest, f"{_slug(given)}-{digest}"), argv)
            found.setdefault(group, {})[label] = known[key]
    return found


def _slug(given: Mapping[str, Any]) -> str:
    parts = dict.fromkeys(f"{key.rpartition('.')[2]}-{value}" for key, value in given.items())
    return re.sub(r"[^A-Za-z0-9_.]+", "-", "-".join(parts)).strip("-")[:60] or "base"


def fit_once(run: str, seed: int, argv: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Trains one student, unless that is done; goes on with an interrupted fit.

    Args:
        run: Name of the run.
        seed: Its seed.
        argv: The other arguments of `litetext fit`.

    Returns:
        The best checkpoint, and how it scored on held-out prompts.

    Raises:
        ValueError: The fit wrote no best checkpoint.
    """
    from litetext.commands import lightning as lightning_cli
    from litetext.models.text.students import read_checkpoint

    folder = Path(lightning_cli.CHECKPOINTS, run)
    best, last, mark = folder / "best.ckpt", folder / "last.ckpt", folder / _MARK
    if not (mark.is_file() and best.is_file()):
        begin = perf_counter()
        anew = ["--overwrite"]  # over what is left of this very fit: its folder's name says its options and seed
        ways = [anew, ["--ckpt_path", "last"]] if _readable(last) else [anew]
        while ways:
            lightning_cli.run("fit", [*argv, "--run", run, f"--seed_everything={seed}", *ways.pop()])
            if best.is_file():
                break
        else:
            raise ValueError(
                f"the fit wrote no {best}; it must last until a validation, such as a whole epoch, and keep "
                "checkpoint.filename best"
            )
        write_json(mark, {"seconds": perf_counter() - begin}, indent=None)
    scores = read_checkpoint(str(best)).get("litetext", {}).get("scores", {})
    return str(best), {name: _number(scores.get(name)) for name in _HELD_OUT} | json.loads(mark.read_text())


def _readable(path: Path) -> bool:
    from litetext.models.text.students import read_checkpoint

    try:
        return path.is_file() and bool(read_checkpoint(str(path)))
    except ValueError as error:
        print(f"the fit starts anew: {error}")
        return False


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def spread(values: Iterable[float | None]) -> dict[str, float | None]:
    """Mean, sample standard deviation, least and largest of the numbers of some seeds.

    Args:
        values: One a seed; None where it is undefined, and then all are None.

    Returns:
        `mean`, `sd` (None for a single seed), `min`, `max`.
    """
    numbers = [value for value in values if value is not None]
    if not numbers or len(numbers) < len(list(values)):
        return dict.fromkeys(("mean", "sd", "min", "max"))
    sd = statistics.stdev(numbers) if len(numbers) > 1 else None
    return {"mean": statistics.fmean(numbers), "sd": sd, "min": min(numbers), "max": max(numbers)}


def tables(groups: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The groups as Markdown: mean, standard deviation, and least to largest in brackets.

    Args:
        groups: By group, by label: columns of `spread`.
    """
    lines = []
    for group, variants in groups.items():
        lines += [f"| {group} | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
        for label, columns in variants.items():
            cells = [_cell(columns[name], _DIGITS[name]) for name in COLUMNS]
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(part: Mapping[str, float | None], digits: int) -> str:
    if part["mean"] is None:
        return ""
    if part["sd"] is None:
        return f"{part['mean']:.{digits}f}"
    return f"{part['mean']:.{digits}f} ± {part['sd']:.{digits}f} ({part['min']:.{digits}f} to {part['max']:.{digits}f})"


def ablate(plan: Plan, config: Mapping[str, Any], overwrite: bool = False) -> Path:
    """Trains and scores what is not done yet, and writes and prints the tables.

    Args:
        plan: What is asked for.
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
        return _ablate(plan, config, path)


def _ablate(plan: Plan, config: Mapping[str, Any], path: Path) -> Path:
    import torch

    from litetext.commands import lightning as lightning_cli

    print("variants")
    variants = find_variants(plan)
    built = lightning_cli.check("test", [*plan.test, "--run", plan.run])
    if built.datamodule is not None:  # what is missing for the evaluation should be known before days of training
        built.datamodule.prepare_data()
        built.datamodule.setup("test")
    unique = list({v.name: v for group in variants.values() for v in group.values()}.values())
    fits = [(variant, seed) for seed in plan.seeds for variant in unique]
    encoders: dict[str, str] = {}
    runs: dict[str, dict[str, Any]] = {variant.name: {} for variant in unique}
    for number, (variant, seed) in enumerate(fits, 1):
        print(f"\nfit {number} of {len(fits)}: {variant.name}, seed {seed}", flush=True)
        best, scores = fit_once(variant.run(plan, seed), seed, variant.argv)
        encoders[f"{variant.name}-seed{seed}"] = best
        runs[variant.name][str(seed)] = {"checkpoint": best, **scores}
    # Processes that a fit on several devices started run this command too.
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    together = built.trainer.world_size > 1
    if not together and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # the first scores alone, and must not wait for the others
    if first or together:
        lightning_cli.run("test", [*plan.test, "--run", plan.run, f"--model.text_encoders={json.dumps(encoders)}"])
    if first:
        _write(path, plan, config, variants, runs)
    return path


def _refuse_another(path: Path, config: Mapping[str, Any]) -> None:
    """Refuses to replace the numbers of an ablation that asked for something else; more seeds are the same question."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["config"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    wanted = json.loads(json.dumps(config))
    differ = [key for key in {**before, **wanted} if key not in ("seeds", "run") and before.get(key) != wanted.get(key)]
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
    results = json.loads((path.parent / "results.json").read_text(encoding="utf-8"))
    for name, by_seed in runs.items():
        for seed, entry in by_seed.items():
            entry |= results["encoders"][f"{name}-seed{seed}"]["average"]
    groups = {
        group: {
            label: {"variant": v.name, **{c: spread([runs[v.name][str(s)][c] for s in plan.seeds]) for c in COLUMNS}}
            for label, v in labels.items()
        }
        for group, labels in variants.items()
    }
    teacher = results["encoders"].get("teacher")
    numbers = {"config": config, "teacher": teacher, "partial": results["partial"], "runs": runs, "groups": groups}
    write_json(path, numbers)
    write_text(path.with_suffix(".md"), tables(groups))
    print(f"\nmean ± standard deviation (least to largest) of {len(plan.seeds)} seeds\n\n{tables(groups)}")


def run(argv: Sequence[str]) -> int:
    """Runs an ablation.

    Args:
        argv: Arguments after `ablate`.

    Returns:
        The exit code 0; errors are raised.
    """
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog="litetext ablate",
        description="Trains variants of one fit over several seeds, scores all of them in one pass of litetext test, "
        "and prints a table a group. What is done is not done again: the same command goes on after an interruption.",
        exit_on_error=False,
    )
    parser.add_argument(
        "--config",
        type=str,
        action="append",
        required=True,
        metavar="FILE",
        help="YAML: fit and test (configs of these commands), seeds, options (of all fits), test_options, groups of "
        "variants. ablation.yaml is shipped; of several files later ones win, key by key.",
    )
    parser.add_argument("--run", type=str, default=None, metavar="NAME", help="Name of the ablation and its folders.")
    parser.add_argument("--seeds", type=int, nargs="+", default=None, metavar="N", help="Instead of the config's.")
    parser.add_argument("--overwrite", action="store_true", help="Replace the numbers of another ablation.")
    options = parser.parse_args(list(argv))

    from litetext.commands.lightning import deep_merge, read_config  # slow to import, and --help needs none of it

    config: dict[str, Any] = {}
    for name in options.config:
        config = deep_merge(config, read_config(name))
    config.setdefault("run", Path(options.config[-1]).stem)
    given = {"run": options.run, "seeds": options.seeds}
    config |= {key: value for key, value in given.items() if value is not None}
    print(f"numbers     {ablate(read_plan(config), config, options.overwrite)}")
    return 0
