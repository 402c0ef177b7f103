"""Wire the parts together: config, data, model, trainer, result."""

from __future__ import annotations

import gc
import os
import warnings
from contextlib import contextmanager, nullcontext
from functools import reduce
from logging import getLogger
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import pandas as pd
import torch
from recbole import trainer as recbole_trainers
from recbole.data.utils import create_samplers, get_dataloader
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import EvaluatorType, ModelType, init_seed

from recbole_autorec.config.config import Config, of_a_file
from recbole_autorec.conversion.convert import PARTS, convert
from recbole_autorec.data.dataloader import RowDataLoader
from recbole_autorec.data.dataset import (
    RatingDataset,
    fetch_known,
    merge,
    part_sizes,
    split_fingerprint,
    tested_pairs,
)
from recbole_autorec.distributed import collectives, launcher
from recbole_autorec.errors import CheckpointError, DataError
from recbole_autorec.files import clear_leftovers, locked, make_folder, write_json, write_text
from recbole_autorec.invocation import command, versions
from recbole_autorec.model.autorec import RowAutoRec
from recbole_autorec.model.general_recommender.autorecensemble import AutoRecEnsemble
from recbole_autorec.model.rating_recommender import in_stars
from recbole_autorec.model.registry import predicts_stars
from recbole_autorec.process_memory import peak_memory_mb
from recbole_autorec.trainer.checkpoint import load_checkpoint, no_forgery, rebuilt
from recbole_autorec.trainer.ensemble_trainer import EnsembleTrainer
from recbole_autorec.trainer.full_batch_trainer import row_trainer
from recbole_autorec.trainer.rating_trainer import RatingTrainer, SolvedTrainer

logger = getLogger(__name__)

FRAME_NAME = "dataframe"  # name of a dataset given as a DataFrame
HINT = "give another --output."


def run_recbole_autorec(
    model: str | type | None = None,
    dataset: str | pd.DataFrame | None = None,
    config_file_list: list[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    flags: dict[str, str] | None = None,
    output: str | Path | None = None,
    resume: str | Path | None = None,
) -> dict[str, Any]:
    """Train a model, choose the epoch on the validation part, and test it once.

    Args:
        model: name of the model, or its class; see Config.
        dataset: name of a folder in `data_path`; or a pandas DataFrame with columns user, item, rating and optionally
            timestamp, under any names that `convert` recognises. The dataset is then called "dataframe".
        config_file_list: YAML files; see Config.
        config_dict: parameters by name; see Config.
        flags: parameters by name, as text from the command line; see Config.
        output: folder for result.json and a page that shows it, report.html.
        resume: checkpoint to continue from.

    Returns:
        A dict with

        * `valid` and `test`: metric -> value, RMSE and MAE in stars; empty without such a part
        * `checkpoint`: its path; None if not saved, or saved on another machine
        * `model`, `dataset`, `seed`, and `parameters`, those that differ from the defaults
        * `best_epoch`, from 1; 0 is the offsets alone; without a validation part, the last one
        * `epochs_run`; `curve`, a list of [epoch, training seconds, validation score]
        * `train_seconds`, `eval_seconds`, `peak_memory_mb` (MiB), `n_parameters`
        * `n_train`, `n_valid`, `n_test`, in ratings; `n_cold`, the test pairs whose user or item has no training rating
        * `final`: whether the checkpoint's model was retrained on all parts; then `valid`, `test` and `n_cold` are of
          the model before
        * `split_fingerprint`, `versions`, `command`

    Raises:
        AutoRecError: anything the user can fix; the message says how.

    Examples:
        >>> result = run_recbole_autorec("IAutoRec", "ml-100k", config_dict={"hidden_size": [50], "epochs": 2})
        >>> result["test"]["rmse"] < 0.9
        True
    """
    if isinstance(dataset, pd.DataFrame):
        with TemporaryDirectory() as folder:
            convert(dataset, FRAME_NAME, folder)
            given = {**(config_dict or {}), "data_path": folder}
            result = run_recbole_autorec(model, FRAME_NAME, config_file_list, given, flags, output, resume)
        return {**result, "parameters": {k: v for k, v in result["parameters"].items() if k != "data_path"}}
    config = Config(model, dataset, config_file_list, config_dict, flags)
    getLogger("recbole_autorec").setLevel(config["state"])
    if launcher.is_shared(config):
        fetch_known(config)  # once, before each process looks for it
        arguments = {"model": model, "dataset": dataset, "config_file_list": config_file_list,
                     "config_dict": config_dict, "flags": flags, "output": output, "resume": resume}  # fmt: skip
        return launcher.launch(config, run_recbole_autorec, arguments)
    with quiet_recbole():
        data, parts = load_and_split(config)
    with nullcontext() if output is None or collectives.rank() > 0 else locked(output, "training") as folder:
        result, trainer = train_and_test(config, data, parts, resume)
        if folder is not None:
            write_json(folder / "result.json", result, HINT)
            write_text(folder / "report.html", _page(config, parts, result, trainer), HINT)
    return result


def train_and_test(
    config: Config, data: RatingDataset, parts: list[RatingDataset], resume: str | Path | None = None
) -> tuple[dict[str, Any], RatingTrainer]:
    """Train, choose the epoch and test on parts that are already split.

    Args:
        config: parameters of the run.
        data: the whole dataset, for the log.
        parts: its train, valid and test parts; see load_and_split.
        resume: checkpoint to continue from.

    Returns:
        What run_recbole_autorec returns, and the trainer. The trainer has the predictions of both parts, in stars:
            `valid_scores` and `test_scores`.

    Raises:
        AutoRecError: anything the user can fix; the message says how.
    """
    with quiet_recbole():
        if config["saved"] or collectives.world_size() > 1:  # RecBole's processes would race to make it
            # an hour old: processes of other machines that share the folder are not visible here
            clear_leftovers(make_folder(config["checkpoint_dir"]), "*.pth", age=3600)
        fingerprint = split_fingerprint(parts)
        _log_data(config, data, parts, fingerprint)

        train_data, valid_data, test_data = build_dataloaders(config, data, parts)
        trainer = build_trainer(config, parts[0])
        for line in trainer.model.about() if predicts_stars(config.model_class) else ():
            logger.info(line)
        if resume is not None:
            trainer.resume_checkpoint(resume)
        begun = {"device": config["device"].type, "start_epoch": trainer.start_epoch, "parts": trainer.n_parts}
        collectives.check_alike({**config.plain_parameters, **begun}, fingerprint)
        keywords = {"saved": config["saved"], "show_progress": config["show_progress"]}
        checkpoint, resumed = collectives.broadcast(trainer.saved_model_file), trainer.n_parts
        course = None
        try:
            if resumed == 1:
                if valid_data is None:
                    logger.info("no validation part: training never stops early, and the last epoch is used")
                trainer.fit(train_data, valid_data, **keywords)
            for n_parts in (2,) * config["refit"] + (3,) * config["final"]:
                if n_parts < resumed:
                    continue
                chosen, valid_scores, epochs_are = trainer.chosen(), trainer.valid_scores, trainer.epochs_are
                test_scores = trainer.test_scores
                course, again_on = chosen["course"], reduce(merge, parts[:n_parts])
                if n_parts == 3 > resumed:
                    course["test"] = trainer.evaluate(test_data)
                    test_scores = trainer.last_scores
                how_long = f"{n_epochs} {epochs_are}" if (n_epochs := course["best_epoch"]) else "offsets alone"
                logger.info(f"refit on {' + '.join(PARTS[:n_parts])}, {how_long}")
                del trainer
                gc.collect()  # frees the first optimiser before the second is built
                train_data = build_dataloaders(config, data, [again_on, *parts[1:]])[0]
                trainer = build_trainer(config, again_on)
                trainer.valid_scores, trainer.test_scores = valid_scores, test_scores
                if resumed == n_parts:
                    trainer.resume_checkpoint(resume)
                else:
                    trainer.follow(chosen)
                trainer.saved_model_file = checkpoint
                trainer.fit(train_data, **keywords)
            course = trainer.course()
            if config["final"]:
                test_result = course["test"]
            elif test_result := trainer.evaluate(test_data):
                trainer.test_scores = trainer.last_scores
        except KeyboardInterrupt:
            best_epoch = (course or trainer.course())["best_epoch"]
            if config["saved"] and os.path.exists(checkpoint):
                best = ", the best so far," if len(parts[1]) else ""
                what = "what was trained so far" if best_epoch is None else f"epoch {best_epoch}{best}"
                logger.warning(f"interrupted; {what} is in {checkpoint}\n--resume {checkpoint} continues from it")
            elif best_epoch is None:
                logger.warning("interrupted before the first epoch ended: there is no checkpoint")
            raise

    result = {
        "model": config["model"],
        "dataset": config["dataset"],
        "seed": config["seed"],
        "parameters": config.changed_parameters(),
        "valid": course["valid"] or {},
        "test": test_result or {},
        "best_epoch": course["best_epoch"],
        "epochs_run": course["epochs_run"],
        "train_seconds": round(course["train_seconds"], 3),
        "eval_seconds": round(course["eval_seconds"], 3),
        "peak_memory_mb": round(peak_memory_mb()),
        "n_parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        **{f"n_{name}": len(part) for name, part in zip(PARTS, parts, strict=True)},
        "n_cold": _count_cold(parts[: 1 + config["refit"]], parts[2]),
        "split_fingerprint": fingerprint,
        "curve": course["curve"],
        "checkpoint": checkpoint if config["saved"] and collectives.rank() == 0 else None,
        "final": config["final"],
        "versions": versions(),
        "command": command(),
    }
    return result, trainer


def load_data_and_model(model_file: str | Path, config_dict: dict[str, Any] | None = None) -> tuple[Any, ...]:
    """Rebuild what a checkpoint was trained with, like RecBole's function of the same name.

    Args:
        model_file: path of the checkpoint.
        config_dict: parameters to change, and data_path unless the dataset is in dataset/ or is RecBole's ml-100k:
            paths, addresses and devices are never taken from a file.

    Returns:
        (config, model, dataset, train_data, valid_data, test_data). The model is in evaluation mode; the loader of an
        empty part is None.

    Raises:
        CheckpointError: it is unreadable or was trained on other ratings.

    Examples:
        >>> result = run_recbole_autorec("Bias", "ml-100k")
        >>> config, model, dataset, train_data, valid_data, test_data = load_data_and_model(result["checkpoint"])
        >>> model.predict(test_data.dataset.inter_feat[:3]).shape
        torch.Size([3])
    """
    checkpoint = load_checkpoint(model_file)
    theirs = dict(checkpoint["parameters"])
    model, dataset = theirs.pop("model"), theirs.pop("dataset")
    with quiet_recbole(), no_forgery(model_file):
        config = Config(model, dataset, config_dict={**of_a_file(theirs), **(config_dict or {})})
        if not Path(config["data_path"]).is_dir():  # a dataset named by a file is never downloaded
            raise CheckpointError(
                f"checkpoint '{model_file}' was trained on dataset {dataset!r}, which is not in "
                f"'{Path(config['data_path']).parent}'; give its data_path in config_dict."
            )
        data, parts = load_and_split(config)
        candidates = (reduce(merge, parts[:n_parts]) for n_parts in (1, 2, 3))
        trained_on = next(
            (part for part in candidates if split_fingerprint([part]) == checkpoint["train_fingerprint"]), None
        )
        if trained_on is None:
            raise CheckpointError(
                f"checkpoint '{model_file}' was trained on other ratings than dataset '{config['dataset']}' has now: "
                "the data have changed, or a changed parameter splits or filters them differently."
            )
        loaders = build_dataloaders(config, data, [trained_on, *parts[1:]])
        model = rebuilt(lambda: build_model(config, trained_on), checkpoint, model_file, os.path.getsize(model_file))
        return config, model, data, *loaders


def load_and_split(config: Config) -> tuple[RatingDataset, list[RatingDataset]]:
    """Load the dataset and split it.

    Args:
        config: names the dataset, its folder, the split (`eval_args`) and its `seed`.

    Returns:
        The dataset, and its train, valid and test parts; a part may be empty.

    Raises:
        DataError: the files are missing or invalid, or a part has too few ratings.

    Examples:
        >>> config = Config("IAutoRec", "ml-100k")
        >>> data, parts = load_and_split(config)
        >>> [len(part) for part in parts]
        [81000, 9000, 10000]
    """
    data = RatingDataset(config)
    return data, data.build()


def build_dataloaders(config: Config, data: RatingDataset, parts: list[RatingDataset]) -> list[Any]:
    """Build RecBole's loaders. AutoRec trains on rows of ratings, so its training loader yields ids of rows.

    Args:
        config: sets `train_batch_size` (rows, or ratings for other models) and `eval_batch_size` (pairs).
        data: the whole dataset.
        parts: its train, valid and test parts.

    Returns:
        The loaders of train, valid and test; None for an empty part.

    Raises:
        DataError: the data cannot be ranked, as someone has rated every item; only with ranking metrics.

    Examples:
        >>> config = Config("IAutoRec", "ml-100k")
        >>> train_data, valid_data, test_data = build_dataloaders(config, *load_and_split(config))
        >>> 1600 < sum(len(interaction) for interaction in train_data) < 1682  # rows: items with training ratings
        True
    """
    try:
        samplers = create_samplers(config, data, parts)
    except ValueError as error:  # a user who rated everything leaves nothing to rank
        raise DataError(f"dataset '{data.dataset_name}' cannot be ranked: {error}") from error
    train_loader = RowDataLoader if issubclass(config.model_class, RowAutoRec) else get_dataloader(config, "train")
    return [
        train_loader(config, parts[0], samplers[0], shuffle=config["shuffle"]),
        *(
            get_dataloader(config, phase)(config, collectives.part_to_evaluate(config, part), sampler, shuffle=False)
            if len(part)
            else None
            for phase, part, sampler in zip(("valid", "test"), parts[1:], samplers[1:], strict=True)
        ),
    ]


def build_model(config: Config, train_part: RatingDataset) -> AbstractRecommender:
    """Build a model on its training ratings; it predicts stars if the metrics are in stars.

    Args:
        config: names the model and sets its parameters.
        train_part: the training part only; the whole dataset would leak test ratings.

    Returns:
        The model, on the configured device, not yet trained.

    Examples:
        >>> config = Config("IAutoRec", "ml-100k")
        >>> data, parts = load_and_split(config)
        >>> build_model(config, parts[0]).autoencoder.encoder_weight.shape  # D users and RecBole's padding id, K
        torch.Size([944, 500])
    """
    model_class = config.model_class
    if config["eval_type"] == EvaluatorType.VALUE and not predicts_stars(model_class):
        model_class = in_stars(model_class)
    return model_class(config, train_part).to(config["device"])


def build_trainer(config: Config, train_part: RatingDataset) -> RatingTrainer:
    """Build a model and its trainer; the same seed builds the same model.

    Args:
        config: names the model and sets its parameters and the `seed`.
        train_part: the training part only.

    Returns:
        The trainer; `trainer.model` is the model.

    Examples:
        >>> config = Config("IAutoRec", "ml-100k", config_dict={"hidden_size": [50], "epochs": 2, "saved": False})
        >>> data, parts = load_and_split(config)
        >>> train_data, valid_data, test_data = build_dataloaders(config, data, parts)
        >>> trainer = build_trainer(config, parts[0])
        >>> valid_rmse, _ = trainer.fit(train_data, valid_data, saved=False)
        >>> trainer.evaluate(test_data)["rmse"] < 0.9
        True
    """
    init_seed(config["seed"], config["reproducibility"])
    start = perf_counter()
    model = build_model(config, train_part)
    seconds = perf_counter() - start  # some models are solved by their constructor
    collectives.check_model(model)
    trainer = get_trainer(config)(config, model)
    trainer.train_seconds = seconds
    return trainer


def get_trainer(config: Config) -> type[RatingTrainer]:
    """Return our trainer class, on top of RecBole's own if it has one for the model or for a class that it extends.

    Args:
        config: names the model and the `learner`.

    Examples:
        >>> get_trainer(Config("BiasedMF", "ml-100k")).__name__
        'RatingTrainer'
    """
    model_class: Any = config.model_class
    if issubclass(model_class, RowAutoRec):
        return row_trainer(config["learner"])
    if issubclass(model_class, AutoRecEnsemble):
        return EnsembleTrainer
    solved = model_class.type == ModelType.TRADITIONAL
    if predicts_stars(model_class):
        return SolvedTrainer if solved else RatingTrainer
    special = recbole_trainers.TraditionalTrainer if solved else RatingTrainer
    for base in reversed(model_class.__mro__):  # RecBole only looks up the name of the class itself
        if base.__module__.startswith("recbole.model."):
            special = getattr(recbole_trainers, f"{base.__name__}Trainer", special)
    return special if special is RatingTrainer else type(f"Rating{special.__name__}", (RatingTrainer, special), {})


@contextmanager
def quiet_recbole():
    """Hide warnings from inside RecBole and its dependencies, which users cannot act on; show all others."""
    with warnings.catch_warnings():
        for inside in ("recbole", "thop", "tensorboard", "hyperopt", "ray"):
            for category in (FutureWarning, DeprecationWarning, UserWarning):
                warnings.filterwarnings("ignore", category=category, module=rf"{inside}\.")
        yield


def _log_data(config, data, parts, fingerprint):
    n_users, n_items, n_ratings = data.user_num - 1, data.item_num - 1, sum(map(len, parts))
    values = torch.cat([part.inter_feat[data.rating_field] for part in parts])
    sizes = ", ".join(f"{name} {len(part):,}" for name, part in zip(PARTS, parts, strict=True))
    logger.info(
        f"{config['model']} on {config['dataset']} ({config['device']}): {n_users:,} users, {n_items:,} items, "
        f"{n_ratings:,} ratings from {values.min():g} to {values.max():g}, "
        f"density {n_ratings / n_users / n_items:.2%}\nsplit {fingerprint}: {sizes}; seed {config['seed']}"
    )


def _page(config: Config, parts: list[RatingDataset], result: dict[str, Any], trainer: RatingTrainer) -> str:
    from recbole_autorec.report.training import report  # plotly takes a while to import

    about = trainer.model.about() if predicts_stars(config.model_class) else []
    sizes = {name: part_sizes(part) for name, part in zip(PARTS, parts, strict=True)}
    tested = tested_pairs(parts) if len(trainer.test_scores) else None
    return report(result, config.plain_parameters, sizes, about, tested, trainer.test_scores.numpy())


def _count_cold(train: list[RatingDataset], test: RatingDataset) -> int:
    """Count the pairs of `test` whose user or item has no rating in the parts of `train`."""
    cold = torch.zeros(len(test), dtype=torch.bool)
    for field in (test.uid_field, test.iid_field):
        counts = torch.stack([torch.bincount(part.inter_feat[field], minlength=part.num(field)) for part in train])
        cold |= counts.sum(0)[test.inter_feat[field]] == 0
    return int(cold.sum())
