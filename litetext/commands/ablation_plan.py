"""The plan of an ablation: its config, read and checked."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

_KEYS = ("fit", "test", "seeds", "options", "test_options", "groups", "against", "paper", "curve", "run")


class Plan(NamedTuple):
    """The plan in a config.

    Attributes:
        fit: Arguments that name the configs of every fit, with the options common to all.
        test: Those of the evaluation; empty where there is no segmenter, and held-out prompts alone count.
        seeds: Seeds of every variant.
        groups: By group, by label: the options in which a variant differs.
        against: By group, the label that the others are compared with.
        paper: By group, by label: what is quoted beside our numbers.
        run: Name of the ablation.
        curve: Title of a figure of quality against parameters; empty for none.
    """

    fit: list[str]
    test: list[str]
    seeds: list[int]
    groups: dict[str, dict[str, dict[str, Any]]]
    against: dict[str, str]
    paper: dict[str, dict[str, str]]
    run: str
    curve: str = ""


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
            (dotted names to values), `groups` (by group, by label: dotted names to values), `against` (by group, the
            label that the others are compared with; by default the first without options, or the first), `paper` (by
            group, by label: a text that stands beside our numbers), `curve` (title of a figure of quality against
            parameters) and `run`. Without `test` the students are compared on held-out prompts alone.

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
    known = {
        str(group): {str(label): _options(f"groups.{group}.{label}", given) for label, given in variants.items()}
        for group, variants in groups.items()
    }
    return Plan(
        [*_configs(config, "fit"), *arguments(_options("options", config.get("options")))],
        []
        if config.get("test") is None
        else [*_configs(config, "test"), *arguments(_options("test_options", config.get("test_options")))],
        seeds,
        known,
        _against(config.get("against"), known),
        _paper(config.get("paper"), known),
        str(config.get("run", "ablation")),
        str(config.get("curve") or ""),
    )


def _against(given: Any, groups: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, str]:
    given = _of_groups("against", given, groups)
    for group, label in given.items():
        if str(label) not in groups[group]:
            raise ValueError(f"against.{group} is {label!r}; the group has {', '.join(groups[group])}")
    return {
        group: str(given.get(group, next((label for label, o in variants.items() if not o), next(iter(variants)))))
        for group, variants in groups.items()
    }


def _paper(given: Any, groups: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for group, texts in _of_groups("paper", given, groups).items():
        if not isinstance(texts, dict):
            raise ValueError(f"paper.{group} is {texts!r}; give a text for each label, as {{MSE: 50.3 / 0.74 / 62.1}}")
        for label, text in texts.items():
            if str(label) not in groups[group]:
                raise ValueError(f"paper.{group}.{label}: the group has {', '.join(groups[group])}")
            found.setdefault(group, {})[str(label)] = str(text)
    return found


def _of_groups(key: str, given: Any, groups: Mapping[str, Any]) -> dict[str, Any]:
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise ValueError(f"{key} is {given!r}; give a value for each group that shall have one, by its name")
    for group in given:
        if str(group) not in groups:
            raise ValueError(f"{key}.{group}: there is no such group; groups has {', '.join(groups)}")
    return {str(group): value for group, value in given.items()}


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
