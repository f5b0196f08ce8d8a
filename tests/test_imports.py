"""No import goes in a circle, imports for type checkers alone included."""

import grimp


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Modules that reach themselves, in groups (Tarjan's strongly connected components of more than one module)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_: list[str] = []
    found = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        open_.append(module)
        for other in sorted(imports[module]):
            if other not in number:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in open_:
                lowest[module] = min(lowest[module], number[other])
        if lowest[module] == number[module]:
            first = open_.index(module)
            found.append(sorted(open_[first:]))
            del open_[first:]

    for module in sorted(imports):
        if module not in number:
            visit(module)
    return [group for group in found if len(group) > 1]


def test_no_circles() -> None:
    graph = grimp.build_graph("litetext", exclude_type_checking_imports=False, cache_dir=None)
    imports = {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}
    assert len(imports) > 200
    assert circles(imports) == []


def test_a_circle_is_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == [["b", "c"]]
