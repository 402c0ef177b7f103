r"""Test RMSE and seconds of training of public rating predictors and ours, on one machine and the same splits.

    pip install matplotlib myfm cmfrec threadpoolctl libmf scikit-surprise
    python -m venv .venv/lenskit && .venv/lenskit/bin/pip install lenskit   # it needs an older pandas
    python benchmarks/peers.py ml-1m ml-1m:0.1 ml-100k --data_path dataset --python lenskit=.venv/lenskit/bin/python \
      --results peers.json --chart docs/peers.svg                           # half an hour on two cores

ml-1m:0.1 is a random tenth of the ratings. Each method chooses its settings and its number of epochs on the validation
part (9 %), trains again on train + validation (90 %), and is tested on the rest; the test part chooses nothing. peer.py
has the settings of the others; ours are the defaults, unless the row says otherwise. "choosing" and "training" are the
seconds of training before and after the choice; the columns after them are the seconds of the latter until the test
RMSE falls to a target. All may use --threads threads; myFM and scikit-surprise use one.

A method that is not installed is left out. `--results` keeps what was measured; what is already in it is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from peer import PEERS
from sparse import thinned

from recbole_autorec.config.config import Config
from recbole_autorec.data.dataset import merge
from recbole_autorec.process_memory import return_large_blocks
from recbole_autorec.quick_start import build_dataloaders, build_trainer, load_and_split, quiet_recbole

TARGETS = (0.85, 0.84)
ENSEMBLE = Path(__file__).parents[1] / "properties" / "presets" / "ensemble.yaml"
LARGE_BATCHES = {"learner": "adam", "train_batch_size": 2048, "learning_rate": 0.006, "init_std": 0.05, "epochs": 150,
                 "stopping_step": 20}  # fmt: skip
OURS: dict[str, tuple[str | None, list[str], dict[str, Any]]] = {  # name: model, config files, parameters
    "I-AutoRec (ours)": ("IAutoRec", [], {}),
    "I-AutoRec, adam, batch 2048 (ours)": ("IAutoRec", [], LARGE_BATCHES),
    "U-AutoRec (ours)": ("UAutoRec", [], {}),
    "ensemble of four (ours)": (None, [str(ENSEMBLE)], {}),
}
NOT_IN_CHART = {"U-AutoRec (ours)", "LensKit FunkSVD"}


def ours(data: dict[str, Any], model: str | None, files: list[str], parameters: dict[str, Any]) -> dict[str, Any]:
    """Do what `--refit True` does, and test after each epoch of the refit."""
    config = Config(model, config_file_list=files, config_dict={**data, **parameters})
    with quiet_recbole():
        dataset, parts = load_and_split(config)
        train, valid, test = build_dataloaders(config, dataset, parts)
        trainer = build_trainer(config, parts[0])
        trainer.fit(train, valid, verbose=False, saved=False)
        chosen, choosing = trainer.chosen(), trainer.train_seconds

        everything = merge(parts[0], parts[1])
        train = build_dataloaders(config, dataset, [everything, *parts[1:]])[0]
        trainer = build_trainer(config, everything)
        trainer.follow(chosen)
        points, train_epoch = [], trainer._train_epoch

        def train_and_test(*arguments, **keywords):
            loss = train_epoch(*arguments, **keywords)
            if trainer.epochs_are == "epochs":  # the weights of an ensemble suit all its members together
                points.append((trainer.train_seconds, trainer.evaluate(test, load_best_model=False)["rmse"]))
            return loss

        trainer._train_epoch = train_and_test
        trainer.fit(train, verbose=False, saved=False)
        points.append((trainer.train_seconds, trainer.evaluate(test)["rmse"]))
    return {"settings": {trainer.epochs_are: chosen["course"]["best_epoch"]}, "choosing": choosing, "points": points}


def theirs(name: str, folder: Path, python: str, threads: int) -> dict[str, Any] | None:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LK_NUM_THREADS", "RAYON_NUM_THREADS")
    limits = dict.fromkeys(names, str(threads))
    script = Path(__file__).with_name("peer.py")
    run = subprocess.run([python, script, name, folder], env={**os.environ, **limits}, capture_output=True, text=True)
    if run.returncode:
        print(f"{name}: {(run.stderr.strip() or 'failed').splitlines()[-1]}", flush=True)
        return None
    return json.loads((folder / "answer.json").read_text())


def prepare(name: str, data_path: str | None, folder: Path) -> dict[str, Any]:
    """Return the parameters that load a dataset, thinned if its name says so, and write its split for peer.py."""
    source, _, keep = name.partition(":")
    data: dict[str, Any] = {"dataset": source, "seed": 1, "saved": False, "show_progress": False}
    if data_path and (Path(data_path) / source).is_dir():  # RecBole has ml-100k itself
        data["data_path"] = data_path
    with quiet_recbole():
        if keep:
            file = Path(Config("Bias", config_dict=data)["data_path"]) / f"{source}.inter"
            ratings = pd.read_csv(file, sep="\t", dtype={"user_id:token": str, "item_id:token": str})
            thinned(ratings, float(keep), times=1, seed=3, folder=folder)
            data |= {"dataset": "thinned", "data_path": str(folder)}
        _, parts = load_and_split(Config("Bias", config_dict=data))
    columns = [[part.inter_feat[field].numpy() for field in ("user_id", "item_id", "rating")] for part in parts]
    arrays = (np.stack([user - 1, item - 1, rating]) for user, item, rating in columns)  # RecBole counts from 1
    np.savez(folder / "split.npz", **dict(zip(("train", "valid", "test"), arrays, strict=True)))
    return data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", help="name, or name:SHARE for a random share of its ratings")
    parser.add_argument("--data_path")
    parser.add_argument("--python", nargs="+", default=[], metavar="PACKAGE=PATH", help="Python that has a package")
    parser.add_argument("--methods", nargs="+", default=[*OURS, *PEERS], choices=[*OURS, *PEERS], metavar="NAME")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--results", type=Path, help="JSON file to which results are added")
    parser.add_argument("--chart", type=Path, help="file for a chart of RMSE by seconds")
    arguments = parser.parse_args()
    return_large_blocks()
    torch.set_num_threads(arguments.threads)
    pythons = dict(pair.split("=", 1) for pair in arguments.python)
    known = arguments.results is not None and arguments.results.exists()
    results: dict[str, dict[str, Any]] = json.loads(arguments.results.read_text()) if known else {}
    print(f"{platform.machine()}, torch {torch.__version__}, {arguments.threads} threads")
    for name in arguments.datasets:
        print(
            f"\n{name:<36}{'choosing':>9}{'training':>9}" + "".join(f"{t:>8}" for t in TARGETS) + "    test  settings"
        )
        measured = results.setdefault(name, {})
        with TemporaryDirectory() as folder:
            data = prepare(name, arguments.data_path, Path(folder))
            for method in arguments.methods:
                if method not in measured:
                    if method in OURS:
                        result = ours(data, *OURS[method])
                    else:
                        python = pythons.get(PEERS[method][0], sys.executable)
                        result = theirs(method, Path(folder), python, arguments.threads)
                    if result is None:
                        continue
                    measured[method] = result
                    if arguments.results:
                        arguments.results.write_text(json.dumps(results))
                print(row(method, **measured[method]), flush=True)
    if arguments.chart:
        draw(results, arguments.chart)


def row(method: str, settings: dict[str, Any], choosing: float, points: list[tuple[float, float]]) -> str:
    seconds, rmse = points[-1]
    to_target = [next((s for s, rmse in points if rmse <= target), None) for target in TARGETS]
    reached = "".join(f"{'-' if s is None else format(s, '.1f'):>8}" for s in to_target)
    chosen = ", ".join(f"{key} {value}" for key, value in settings.items())
    chose = f"{choosing:.1f}" if choosing else "-"
    return f"{method:<36}{chose:>9}{seconds:>9.1f}{reached}  {rmse:.4f}  {chosen}"


def draw(results: dict[str, dict[str, Any]], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(results), figsize=(12, 5), squeeze=False)
    for axes, (name, measured) in zip(panels[0], results.items(), strict=True):
        for number, method in enumerate(method for method in [*OURS, *PEERS] if method not in NOT_IN_CHART):
            if method in measured:
                seconds, rmses = zip(*measured[method]["points"], strict=True)
                colour = "black" if method == "I-AutoRec (ours)" else f"C{number}"
                axes.plot(seconds, rmses, color=colour, linewidth=2 if method in OURS else 1)
                marker = "D" if method in OURS else "o"
                axes.plot(seconds[-1], rmses[-1], marker, color=colour, markersize=6, label=method)
        lowest = min(result["points"][-1][1] for result in measured.values())
        axes.set(xscale="log", xlabel="seconds of training", title=name, ylim=(lowest - 0.005, lowest + 0.075))
    panels[0][0].set_ylabel("test RMSE")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="lower center", ncol=4, fontsize=9, frameon=False)
    figure.tight_layout(rect=(0, 0.13, 1, 1))
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
