"""Two files of `litetext bench --output`: which figures differ by more than their spread."""

from pathlib import Path
from typing import Any, NamedTuple

from litetext.bench.record import with_spread

RELEASED = Path(__file__).resolve().parent / "released"
"""Files of the last release, BENCHMARK-KIND.json."""


class Change(NamedTuple):
    """One figure in both files.

    Attributes:
        name: Of the figure.
        before: Its value in the first file.
        after: Its value in the second.
        before_spread: Smallest and largest value over rounds in the first, None where one round was run.
        after_spread: The same in the second.
    """

    name: str
    before: float
    after: float
    before_spread: tuple[float, float] | None
    after_spread: tuple[float, float] | None

    @property
    def beyond(self) -> bool | None:
        """Whether the ranges of both lie apart; None where one is not known and the values differ."""
        if self.before == self.after:
            return False
        if self.before_spread is None or self.after_spread is None:
            return None
        return self.before_spread[1] < self.after_spread[0] or self.after_spread[1] < self.before_spread[0]


class RecordComparison(NamedTuple):
    """What differs between two files.

    Attributes:
        benchmark: Whose figures both are.
        machine: Facts of the machines that differ, each with both values.
        options: Options that differ, each with both values: the figures then answer different questions.
        changes: Figures that both hold.
        single: Figures that one file alone holds, with its place: `before` or `after`.
        texts: Figures in words that differ, such as why something was skipped, each with both.
    """

    benchmark: str
    machine: dict[str, tuple[Any, Any]]
    options: dict[str, tuple[Any, Any]]
    changes: list[Change]
    single: dict[str, str]
    texts: dict[str, tuple[Any, Any]]


def compare_records(before: dict[str, Any], after: dict[str, Any]) -> RecordComparison:
    """Compares two files, figure by figure.

    Args:
        before: What `litetext.bench.record.read_record` returned.
        after: The same.

    Raises:
        ValueError: If they are of different benchmarks.
    """
    if before["benchmark"] != after["benchmark"]:
        raise ValueError(
            f"the files are of different benchmarks, {before['benchmark']} and {after['benchmark']}; "
            "compare two of the same"
        )
    numbers = [_numbers(before), _numbers(after)]
    changes = [
        Change(name, numbers[0][name], numbers[1][name], _range(before, name), _range(after, name))
        for name in numbers[0]
        if name in numbers[1]
    ]
    return RecordComparison(
        before["benchmark"],
        _differences(_flat(before["machine"]), _flat(after["machine"])),
        _differences(before["options"], after["options"]),
        changes,
        {name: "before" for name in numbers[0] if name not in numbers[1]}
        | {name: "after" for name in numbers[1] if name not in numbers[0]},
        _differences(_texts(before), _texts(after)),
    )


def _numbers(record: dict[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in record["figures"].items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _texts(record: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in record["figures"].items() if isinstance(value, str)}


def _range(record: dict[str, Any], name: str) -> tuple[float, float] | None:
    found = record["spread"].get(name)
    return (found[0], found[1]) if found else None


def _differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = dict.fromkeys([*before, *after])
    return {n: (before.get(n), after.get(n)) for n in names if before.get(n) != after.get(n)}


def _flat(machine: dict[str, Any]) -> dict[str, Any]:
    """Facts of a machine with one name each; the day says nothing about it."""
    versions = machine.get("versions") or {}
    rest = {name: value for name, value in machine.items() if name not in ("versions", "date")}
    return rest | {f"version of {name}": value for name, value in versions.items()}


def released(benchmark: str, machine_kind: str) -> Path:
    """The figures of the last release that ship with the package.

    Args:
        benchmark: Name of the benchmark.
        machine_kind: Kind of processor, as `litetext.bench.machine.kind` names it.

    Raises:
        FileNotFoundError: If none were measured on such a processor; the message says on which.
    """
    path = RELEASED / f"{benchmark}-{machine_kind}.json"
    if not path.is_file():
        there = sorted(file.stem for file in RELEASED.glob("*.json"))
        raise FileNotFoundError(
            f"the release has no figures of {benchmark} on {machine_kind}, only {', '.join(there) or 'none at all'}; "
            "give two files"
        )
    return path


def show(comparison: RecordComparison) -> None:
    """Prints what differs: machine and options first, then figures beyond their spread, then what is not known.

    Args:
        comparison: What `compare_records` returned.
    """
    for what, (before, after) in comparison.machine.items():
        print(f"machine: {what} {_shown(before)} -> {_shown(after)}")
    for name, (before, after) in comparison.options.items():
        print(f"option: {name} {_shown(before)} -> {_shown(after)}: the figures answer different questions")
    width = max((len(change.name) for change in comparison.changes), default=0)
    groups = {
        True: "beyond the spread of both runs",
        None: "different, spread not known (one round)",
        False: "within the spread",
    }
    for beyond, title in groups.items():
        chosen = [change for change in comparison.changes if change.beyond is beyond]
        print(f"{title}: {len(chosen)} of {len(comparison.changes)} figures")
        for change in chosen if beyond is not False else []:
            ratio = f" ({change.after / change.before:.2f}x)" if change.before else ""
            before, after = (
                with_spread(change.before, change.before_spread),
                with_spread(change.after, change.after_spread),
            )
            print(f"  {change.name:<{width}}  {before} -> {after}{ratio}")
    for name, (before, after) in comparison.texts.items():
        print(f"in words: {name}: {before or 'nothing'} -> {after or 'nothing'}")
    for name, side in comparison.single.items():
        print(f"only {side}: {name}")


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    return "not known" if value is None else str(value) if value != {} else "none"
