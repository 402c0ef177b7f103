"""Try every flag that takes a path with every unusable path and print the outcomes as JSON lines. Run in an empty folder."""

import contextlib
import io
import json
import os
import shutil
import sys
import traceback
from pathlib import Path

from recbole_autorec.cli import main
from tests.conftest import DATA

MODEL = str(Path("model.pth").absolute())
SHORT = ["--epochs", "1", "--show_progress", "False", "--data_path", str(DATA), "--dataset", "tiny"]
TRAIN = [*SHORT, "--saved", "False"]
PAIRS = str(DATA / "tiny" / "tiny.inter")
FLAGS = {
    "train --config_files": TRAIN,
    "train --output": TRAIN,
    "train --resume": TRAIN,
    "train --checkpoint_dir": SHORT,
    "train --data_path": ["--dataset", "tiny"],
    "train --dataset": ["--data_path", str(DATA)],
    "compare": [],
    "compare --config": [*TRAIN, "--models", "Bias", "--repeats", "1"],
    "compare --output": [*TRAIN, "--models", "Bias", "--repeats", "1"],
    "tune --space": TRAIN,
    "tune --output": [*TRAIN, "--max_evals", "1"],
    "convert --input": ["--name", "new", "--data_path", "data"],
    "convert --data_path": ["--name", "new", "--input", PAIRS],
    "convert --name": ["--data_path", "data", "--input", PAIRS],
    "predict --checkpoint": ["--input", PAIRS],
    "predict --input": ["--checkpoint", MODEL],
    "predict --new_ratings": ["--checkpoint", MODEL, "--input", PAIRS],
    "predict --output": ["--checkpoint", MODEL, "--input", PAIRS],
    "recommend --output": ["--checkpoint", MODEL, "--users", "all"],
    "export --checkpoint": ["--output", "x.pth"],
    "export --output": ["--checkpoint", MODEL],
    "similar --output": ["--checkpoint", MODEL, "--items", "all"],
}  # fmt: skip
PATHS = {
    "in a folder that may not be entered": "denied/x.csv",
    "that may not be read or written": "secret.csv",
    "in a folder that may not be written": "readonly/x.csv",
    "of 300 bytes": "x" * 300,
    "of 250 bytes": "x" * 246 + ".csv",
    "in a folder of 300 bytes": "x" * 300 + "/x.csv",
    "a loop of links": "loop",
    "beyond a loop of links": "loop/x.csv",
    "beyond a file": "file.csv/x.csv",
    "of bytes that are no text": "bad\udcff.csv",
    "empty": "",
}  # fmt: skip


def run(argv):
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            code = main(argv)
        except BaseException:
            code, errors = 1, io.StringIO(traceback.format_exc())
    return code, errors.getvalue()


def enter(folder):
    """Enter a new folder with the files that PATHS need."""
    Path(folder).mkdir()
    os.chdir(folder)
    for name in ("denied", "readonly"):
        Path(name).mkdir()
    for file in ("denied/x.csv", "readonly/there.csv", "secret.csv", "file.csv"):
        Path(file).write_text("untouched")
    for path, mode in (("denied", 0), ("readonly", 0o555), ("secret.csv", 0)):
        Path(path).chmod(mode)
    Path("loop").symlink_to("loop")


def is_untouched():
    for path in ("denied", "secret.csv"):
        Path(path).chmod(0o755)
    files = {file.as_posix() for folder in ("denied", "readonly") for file in Path(folder).iterdir()}
    return files == {"denied/x.csv", "readonly/there.csv"} and all(
        Path(file).read_text() == "untouched" for file in (*files, "secret.csv", "file.csv")
    )


assert run([*SHORT, "--checkpoint_dir", "saved"])[0] == 0
shutil.copy(*Path("saved").glob("*.pth"), MODEL)
here = Path.cwd()
for place, more in FLAGS.items():
    verb, _, flag = place.partition(" ")
    enter(here / place.replace(" ", ""))
    for kind, path in PATHS.items():
        given = f"Bias={path}" if place == "compare --config" else path
        argv = [*([] if verb == "train" else [verb]), *([flag] if flag else []), given, *more]
        code, said = run(argv)
        print(json.dumps({"place": place, "kind": kind, "code": code, "said": said}), file=sys.__stdout__, flush=True)
    assert is_untouched(), place
os.chdir(here / "train--output" / "readonly")
for place, argv in {"train nowhere": TRAIN, "compare elsewhere": ["compare", *TRAIN, "--models", "Bias", "--repeats", "1",
                                                                  "--output", str(here / "elsewhere")]}.items():  # fmt: skip
    code, said = run(argv)
    print(json.dumps({"place": place, "kind": "readonly", "code": code, "said": said}), file=sys.__stdout__, flush=True)
assert [path.name for path in Path().iterdir()] == ["there.csv"]
