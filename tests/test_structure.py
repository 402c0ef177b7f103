"""Imports point down the layers, and convert needs neither RecBole nor torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "recbole_autorec"
# From the top; modules on one line do not import one another.
LAYERS = [
    ("__main__",),
    ("cli",),
    ("comparison", "tuning", "serving"),
    ("quick_start",),
    ("trainer",),
    ("data",),
    ("config",),
    ("conversion", "report", "distributed"),
    ("reading",),
    ("model",),
    ("installation", "invocation", "interruptions", "files", "process_memory", "parameter_roles"),
    ("errors",),
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def imports() -> list[tuple[str, str]]:
    """Return (importing, imported) modules of the package, without imports for type checkers only."""
    names = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }
    found = []
    for name, path in names.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        checked = [
            node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        ]
        hidden = {id(inner) for node in checked for inner in ast.walk(node)}
        for node in ast.walk(tree):
            if id(node) in hidden or not isinstance(node, ast.ImportFrom | ast.Import):
                continue
            module = node.module if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                full = f"{module}.{alias.name}".lstrip(".").removeprefix("recbole_autorec").lstrip(".")
                if full in names and full:
                    found.append((name, full))
                elif (base := (module or "").removeprefix("recbole_autorec.")) in names:
                    found.append((name, base))
    return [(mine, theirs) for mine, theirs in found if mine not in ("", theirs)]


def test_imports_point_down():
    upwards = [
        (mine, theirs)
        for mine, theirs in imports()
        if (top := mine.split(".")[0]) != (other := theirs.split(".")[0]) and RANK[top] >= RANK[other]
    ]
    assert upwards == []


def test_there_are_no_circles():
    below: dict[str, set[str]] = {}
    for mine, theirs in imports():
        below.setdefault(mine, set()).add(theirs)
    left = set(below)
    while free := {name for name in left if not below[name] & left}:
        left -= free
    assert left == set()


@pytest.mark.parametrize("missing", ["recbole", "torch"])
def test_convert_needs_neither(missing, tmp_path):
    (tmp_path / "a.csv").write_text("1,2,3\n")
    code = (
        f"import sys; sys.modules[{missing!r}] = None\nfrom recbole_autorec import cli, convert\n"
        "sys.exit(cli.main(['convert', '--input', 'a.csv', '--name', 'mine']))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.splitlines()[1:2]) == (
        0, ["dataset/mine: 1 rating from 3 to 3, 1 user, 1 item, in mine.inter"]
    ), run.stderr  # fmt: skip
