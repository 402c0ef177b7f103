"""The notebooks in examples/ run in an empty folder, and are committed with small outputs.

`python -m tests.test_notebooks` runs them and writes their outputs into examples/.
"""

import ast
import json
import os
import platform
import re
import sys
import tempfile
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from tests.conftest import ROOT

NOTEBOOKS = {path.stem: path for path in sorted((ROOT / "examples").glob("*.ipynb"))}
NO_OUTPUT = {"install", "page"}  # tags of cells committed without output: pip's words, and 4 MB of plotly


class ThisPython(AsyncKernelManager):
    """Starts the Python that runs the tests, whatever kernels are registered on the machine."""

    @property
    def kernel_spec(self) -> KernelSpec:
        quiet = "--log-level=ERROR"  # it warns that its sockets on this machine are not encrypted
        return KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", quiet])


def execute(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Run a notebook in `folder`, except its cell that installs packages, and return it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    env = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}  # the kernel's own shows figures
    env |= {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
    env |= {"IPYTHONDIR": str(folder / ".ipython")}
    client = NotebookClient(
        notebook, timeout=600, kernel_manager_class=ThisPython, skip_cells_with_tag="install", record_timing=False,
        coalesce_streams=True, resources={"metadata": {"path": str(folder)}},
    )  # fmt: skip
    client.execute(env=env)
    return notebook


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell) -> set[str]:
    return set(cell.metadata.get("tags", []))


def shown(notebook, source: str, mime: str = "text/plain") -> str:
    """Return what the cell that contains `source` shows as its result."""
    (cell,) = (cell for cell in code_cells(notebook) if source in cell.source)
    (data,) = (output.data for output in cell.outputs if "data" in output)
    return data[mime]


def printed(notebook, name: str) -> str:
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == name)


def rows(notebook, source: str) -> int:
    return len(re.findall("<tr>", shown(notebook, source, "text/html")))  # the header's <tr has a style


@pytest.fixture(scope="module", params=NOTEBOOKS)
def run(request, tmp_path_factory):
    """Run a notebook, once: its name, folder and outputs."""
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, execute(NOTEBOOKS[request.param], folder)


def check_first_run(folder, notebook):
    assert ast.literal_eval(shown(notebook, 'result["test"]'))["rmse"] < 0.9
    assert "epoch   1/20" in printed(notebook, "stdout")
    assert rows(notebook, 'recommend("196"') == 10
    assert rows(notebook, "fold_in_user") == 10
    assert "Empire Strikes Back" in shown(notebook, "similar_items")
    assert shown(notebook, "curve.plot", "image/png")


def check_your_own_data(folder, notebook):
    assert ast.literal_eval(shown(notebook, "evaluate(held_out)"))["rmse"] < 0.9
    assert rows(notebook, 'recommend("196", k=10).join') == 10
    assert "Toy Story" not in shown(notebook, "fold_in_user")
    best = pd.read_csv(folder / "recommendations.csv")
    assert (best.groupby("user").size() == 10).all()
    assert best["title"].notna().all()
    assert (folder / "model.pth").is_file()
    assert shown(notebook, "boxplot", "image/png")


def check_comparison(folder, notebook):
    assert (folder / "results" / "first" / "report.html").is_file()
    table = pd.read_csv(folder / "results" / "first" / "table.csv", index_col=0)
    assert list(table["repeats"]) == [3] * 5
    assert table["error"].isna().all()
    assert table["rmse"]["IAutoRec"] < 0.9
    assert rows(notebook, "GlobalMean") == 5
    assert shown(notebook, "<iframe", "text/html").startswith('<div><iframe srcdoc="&lt;!doctype html&gt;')
    assert shown(notebook, "plt.errorbar", "image/png")
    assert json.loads((folder / "results" / "first" / "result.json").read_text())["command"] == ""
    assert "12 of 15 trainings found" in printed(notebook, "stderr")


def test_a_notebook_runs_and_shows_what_it_says(run):
    name, folder, notebook = run
    assert notebook.metadata.language_info.version == platform.python_version()
    {"first_run": check_first_run, "your_own_data": check_your_own_data, "comparison": check_comparison}[name](
        folder, notebook
    )


def test_a_run_shows_no_warning(run):
    _, _, notebook = run
    progress = r"repeat \d/\d .*|.*trainings found in.*| +RMSE  .*|\w+ +\d\.\d{4} .*|"
    told = printed(notebook, "stderr").splitlines()
    assert [line for line in told if not re.fullmatch(progress, line)] == []


def kinds(notebook) -> list[set[tuple[str, str]]]:
    """Return the kinds of output of each code cell."""
    cells = [cell for cell in code_cells(notebook) if not tags(cell) & NO_OUTPUT]
    return [{(output.output_type, output.get("name", "")) for output in cell.outputs} for cell in cells]


def test_the_committed_outputs_are_of_the_committed_cells(run):
    name, _, notebook = run
    assert kinds(nbformat.read(NOTEBOOKS[name], as_version=4)) == kinds(notebook)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_committed_notebook_is_valid_small_and_knows_no_machine(name):
    text = NOTEBOOKS[name].read_text(encoding="utf-8")
    notebook = nbformat.read(NOTEBOOKS[name], as_version=4)
    nbformat.validate(notebook)
    assert len(text) < 150_000
    words = re.sub(r'"image/png": "[^"]*"', "", text)
    assert re.findall(r'[^"\s]*(?:/tmp|/home|/root|/usr|/opt|/work|Users)/[^"\s]*', words) == []
    assert str(ROOT) not in words
    install, *others = code_cells(notebook)
    assert tags(install) == {"install"}
    assert install.source.startswith("%pip install -q recbole-autorec")
    assert not any(cell.outputs for cell in code_cells(notebook) if tags(cell) & NO_OUTPUT)
    assert [cell.execution_count for cell in others] == list(range(1, len(others) + 1))
    assert [line for cell in notebook.cells for line in cell.source.splitlines() if len(line) > 120] == []


def test_there_are_three_notebooks():
    assert set(NOTEBOOKS) == {"first_run", "your_own_data", "comparison"}


def write_outputs() -> None:
    for path in NOTEBOOKS.values():
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
        for cell in code_cells(notebook):
            if tags(cell) & NO_OUTPUT:
                cell.outputs = []
        notebook.metadata.language_info = {"name": "python"}  # without the version of this Python
        nbformat.write(notebook, path)


if __name__ == "__main__":
    write_outputs()
