"""The rooms of flows/: a module imports from its own room or from one below it."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

from flows.settings import ROOT

LAYERS = (  # from top to bottom
    {"program"},
    {"server"},
    {"elt", "backfill", "archive"},
    {"land", "build"},
    {"cli", "status", "ask", "export"},
    {"prepare", "plan"},
    {"report"},
    {"models"},
    {"warehouse"},
    {"parameters"},
    {"tlc"},
    {"alerts", "progress", "interrupt"},
    {"temporary_server"},
    {"settings", "environment", "errors"},
)
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in (ROOT / "flows").rglob("*.py")
    if path.name != "__init__.py"
}


def imports_of(path: Path) -> set[str]:
    """The project's modules that one imports anywhere in it, functions included."""
    named = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            named |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        elif isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
    return named & MODULES.keys()


IMPORTS = {module: imports_of(path) for module, path in MODULES.items()}


def layer(module: str) -> int:
    [number] = [n for n, rooms in enumerate(LAYERS) if module.split(".")[1] in rooms]
    return number


def test_no_import_goes_up():
    upward = {
        f"{module} → {imported}"
        for module in MODULES
        for imported in IMPORTS[module]
        if layer(imported) < layer(module)
    }
    assert upward == set()


def test_no_imports_are_a_circle():
    assert set(TopologicalSorter(IMPORTS).static_order()) == MODULES.keys()  # or a CycleError


def test_each_room_is_in_use():
    assert {module.split(".")[1] for module in MODULES} == set().union(*LAYERS)
