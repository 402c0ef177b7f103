"""docs/stability.md promises what the code has: a change of either must touch the other."""

import configparser
import json
import re

import recbole_autorec
from recbole_autorec import run_recbole_autorec
from recbole_autorec.cli.flags import VERBS
from recbole_autorec.trainer.checkpoint import VERSION
from recbole_autorec.trainer.migration import OLD_RELEASE, OLD_VERSION
from tests.conftest import DATA, ROOT, quick

PAGE = (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")


def promised(what: str) -> str:
    """Return the paragraph about it, in one line."""
    (found,) = re.findall(rf"^\*\*{what}\.\*\* (.*?)\n\n", PAGE, re.MULTILINE | re.DOTALL)
    return " ".join(found.split())


def test_exported_names():
    listed = promised("Names in Python").partition(": ")[2]
    assert re.findall(r"`(\w+)`", listed) == sorted(recbole_autorec.__all__)


def test_verbs():
    listed = promised("Commands").partition("the flags")[0]
    assert sorted(re.findall(r"`(\w+)`", listed)) == sorted(VERBS)


def test_keys_of_the_result_are_those_that_the_docstring_describes(tmp_path):
    described = run_recbole_autorec.__doc__.partition("Returns:")[2].partition("Raises:")[0]
    config_dict = {**quick("IAutoRec"), "data_path": str(DATA), "epochs": 1, "refit": True, "final": True}
    result = run_recbole_autorec("IAutoRec", "tiny", config_dict=config_dict, output=tmp_path / "out")
    assert set(re.findall(r"`(\w+)`", described)) == result.keys()
    assert json.loads((tmp_path / "out" / "result.json").read_text()).keys() == result.keys()


def test_formats_of_checkpoints():
    assert f"writes format version {VERSION}. " in promised("Checkpoints")
    assert f"predicts with format version {OLD_VERSION} of release {OLD_RELEASE} " in promised("Checkpoints")


def test_what_it_runs_on():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    python = re.fullmatch(r">=3\.(\d+), <3\.(\d+)", setup["options"]["python_requires"])
    lowest = dict(re.findall(r"^(\w+) >= ([\d.]+)", setup["options"]["install_requires"], re.MULTILINE))
    assert promised("What it runs on").startswith(
        f"Python 3.{python[1]} to 3.{int(python[2]) - 1}, RecBole {lowest['recbole']}, torch {lowest['torch']} and later."
    )
