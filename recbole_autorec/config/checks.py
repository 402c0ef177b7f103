"""Allowed values of each parameter, and messages for others: where, what came in, what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from math import inf
from typing import Any

import recbole

from recbole_autorec.conversion.convert import PARTS
from recbole_autorec.distributed.collectives import world_size_of
from recbole_autorec.model.masked_autoencoder import ACTIVATIONS
from recbole_autorec.model.registry import NEWER, predicts_stars, why_no_ratings

FULL_BATCH_LEARNERS = ("lbfgs", "rprop")  # need the gradient of the whole objective
RECBOLE_LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop")
LEARNERS = (*FULL_BATCH_LEARNERS, *RECBOLE_LEARNERS)
SPARSE_LEARNERS = ("sgd", "adagrad", "sparse_adam")  # they accept sparse gradients
LARGEST = 1e15  # rating: single precision holds the sum of squares of a hundred million

Check = tuple[Callable[[Any], bool], str]

RATING_METRICS = ("rmse", "mae")
# RecBole fails on its coverage and popularity metrics; AUC and LogLoss are for 0/1 labels.
RANKING_METRICS = ("recall", "mrr", "ndcg", "hit", "map", "precision", "gauc")


def is_number(value: Any, low: float = -inf, high: float = inf) -> bool:
    """Return whether `value` is a finite number in [low, high]."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < inf and low <= value <= high


def is_whole(value: Any, low: int, high: float = inf) -> bool:
    return isinstance(value, int) and is_number(value, low, high)


def _are_penalties(value: Any) -> bool:
    return is_number(value, 0) or (isinstance(value, list) and len(value) == 2 and all(is_number(w, 0) for w in value))


def _is_plain_name(value: Any) -> bool:
    """Return whether `value` names a file or folder without leading to another folder."""
    return isinstance(value, str) and value not in ("", ".", "..") and not set(value) & {"/", "\\", "\0"}


def _is_member(value: Any) -> bool:
    return isinstance(value, dict) and value.get("model") in ("IAutoRec", "UAutoRec")


def _whole(low: int) -> Check:
    return lambda value: is_whole(value, low), f"a whole number >= {low}"


def _one_of(*choices: str) -> Check:
    return lambda value: isinstance(value, str) and value in choices, f"one of {', '.join(choices)}"


_SWITCH = (lambda value: isinstance(value, bool), "True or False")
_FOLDER = (lambda value: isinstance(value, str) and value != "", "a folder")
_OFF = (lambda value: not value, "~ (otherwise RMSE is not in stars)")
_POWER = (lambda value: is_number(value, -1, 1), "a number from -1 to 1 (the paper: 0)")
_SEPARATOR = (lambda value: isinstance(value, str) and len(value) == 1, "one character")
_THREE = (
    lambda v: v is None or (isinstance(v, list) and len(v) == 3 and all(map(_is_plain_name, v))),
    "three names, such as [train, valid, test]",
)

_NO_DECAY = (lambda value: value == 0, "0 (it would also penalise biases; use reg_weight)")
_POSITIVE = (lambda value: is_number(value, 0) and value > 0, "a number > 0")
_SHARE = (lambda value: is_number(value, 0) and value < 1, "a number from 0 to less than 1")
_NOT_NEGATIVE = (lambda value: is_number(value, 0), "a number >= 0")
_DAMPING = (lambda value: value is None or is_number(value, 0), "a number >= 0, or ~ to estimate it from the ratings")

# key -> (is it allowed?, what is allowed), for every model. Defaults are in properties/*.yaml.
CHECKS: dict[str, Check] = {
    "dataset": (_is_plain_name, "the name of a folder in data_path"),
    "learner": _one_of(*RECBOLE_LEARNERS),
    "learning_rate": _POSITIVE,
    "clip_grad_norm": (
        lambda v: (
            v is None
            or (isinstance(v, dict) and is_number(v.get("max_norm")) and not set(v) - {"max_norm", "norm_type"})
        ),
        "~, or {max_norm: 5}",
    ),
    "epochs": _whole(1),
    "eval_step": _whole(1),
    "stopping_step": _whole(0),
    "train_batch_size": _whole(1),
    "eval_batch_size": _whole(1),
    "metric_decimal_place": _whole(1),
    "loss_decimal_place": _whole(1),
    "refit": _SWITCH,
    "final": _SWITCH,
    "features": _SWITCH,
    "saved": _SWITCH,
    "seed": (lambda v: is_whole(v, 0, 2**32 - 1), "a whole number from 0 to 4294967295"),
    "worker": _whole(0),
    "show_progress": _SWITCH,
    "use_gpu": _SWITCH,
    "gpu_id": (
        lambda v: v is None or is_whole(v, 0) or (isinstance(v, str) and not set(v) & set("[]() ")),
        "a GPU's number, several as in 0,1, or ~",
    ),
    "nproc": _whole(1),
    "world_size": (lambda v: v == -1 or is_whole(v, 1), "a whole number >= 1, or -1 for nproc"),
    "ip": (lambda v: isinstance(v, str) and v != "", "an address"),
    "port": (lambda v: v is None or is_whole(v, 1, 65535), "a whole number from 1 to 65535, or ~"),
    "group_offset": _whole(0),
    "reproducibility": _SWITCH,
    "shuffle": _SWITCH,
    "enable_amp": _SWITCH,
    "enable_scaler": _SWITCH,
    "log_wandb": (
        lambda v: v is False or (v is True and find_spec("wandb") is not None),
        "False, or True if wandb is installed (pip install wandb)",
    ),
    "state": (
        lambda v: isinstance(v, str) and v.upper() in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        "one of DEBUG, INFO, WARNING, ERROR, CRITICAL",
    ),
    "checkpoint_dir": _FOLDER,
    "data_path": _FOLDER,
    "download_url": (
        lambda v: v is None or (isinstance(v, str) and "://" in v),
        "an address, such as https://host/folder, or ~ for GroupLens's",
    ),
    "field_separator": _SEPARATOR,
    "seq_separator": _SEPARATOR,
    "rm_dup_inter": (lambda v: v in ("first", "last"), "first or last (each pair keeps one rating)"),
    "benchmark_filename": _THREE,
    "threshold": _OFF,
    "normalize_all": _OFF,
    "normalize_field": _OFF,
}

# class -> the same for its own parameters; subclasses inherit them.
MODEL_CHECKS: dict[str, dict[str, Check]] = {
    "AutoRec": {
        "hidden_size": (
            lambda v: isinstance(v, list) and len(v) > 0 and all(is_whole(k, 1) for k in v),
            "a list of whole numbers >= 1, such as [500] (the paper's)",
        ),
        "encoder_activation": _one_of(*ACTIVATIONS),
        "decoder_activation": _one_of(*ACTIVATIONS),
        "reg_weight": (
            lambda v: v is None or _are_penalties(v),
            "a number >= 0, a pair [encoder, decoder] of them, or ~ to compute it from the number of ratings",
        ),
        "offsets": _SWITCH,
        "user_damping": _DAMPING,
        "item_damping": _DAMPING,
        "dropout_prob": _SHARE,
        "cold_start_rating": (
            lambda v: v is None or is_number(v, -LARGEST, LARGEST),
            "a rating in stars, or ~ to predict from the offsets",
        ),
        "clip_prediction": _SWITCH,
        "learner": _one_of(*LEARNERS),
        "lbfgs_max_iter": _whole(1),
        "lbfgs_history_size": _whole(1),
        "rprop_steps": _whole(1),
        "min_improvement": _SHARE,
        "weight_decay": _NO_DECAY,
        "numerical_features": (lambda v: not v, "[] (AutoRec uses only ids and ratings)"),
        "calibration": _SWITCH,
    },
    "RowAutoRec": {
        "reg_scale": (lambda v: _are_penalties(v), "a number >= 0, or a pair [encoder, decoder] of them"),
        "reg_floor": _NOT_NEGATIVE,
        "row_scaling": _POWER,
        "column_scaling": _POWER,
        "init_std": _POSITIVE,
    },
    "AutoRecEnsemble": {
        "members": (
            lambda v: isinstance(v, list) and len(v) > 0 and all(map(_is_member, v)),
            "a list of IAutoRecs and UAutoRecs, such as [{model: IAutoRec}, {model: UAutoRec, hidden_size: [250]}]",
        ),
        "offsets": (lambda v: v is True, "True (an ensemble combines offsets and interactions)"),
    },
    # RecBole evaluates the name (model/context_aware_recommender/kd_dagfm.py), and with more than one category it
    # unpickles item_emb.npy beside the data (model/general_recommender/ldiffrec.py).
    "KD_DAGFM": {"teacher": _one_of("CrossNet", "CIN")},
    "LDiffRec": {"n_cate": (lambda v: v == 1, "1 (else RecBole unpickles a file beside the data, which may run code)")},
    "Bias": {"user_damping": _DAMPING, "item_damping": _DAMPING, "clip_prediction": _SWITCH},
    "BiasedMF": {
        "user_damping": _DAMPING,
        "item_damping": _DAMPING,
        "embedding_size": _whole(1),
        "reg_weight": _NOT_NEGATIVE,
        "init_std": _POSITIVE,
        "clip_prediction": _SWITCH,
        "learner": _one_of(*SPARSE_LEARNERS),
        "clip_grad_norm": (lambda v: v is None, "~ (torch cannot clip sparse gradients)"),
        "weight_decay": _NO_DECAY,
    },
}


def find_faults(parameters: Mapping[str, Any], model_class: type, where: Callable[[str], str]) -> list[str]:
    """Return one line per fault; `where` returns the place where a key's value was given."""
    checks = dict(CHECKS)
    for base in reversed(model_class.__mro__):
        checks |= MODEL_CHECKS.get(base.__name__, {})
    rules = [(key, not allowed(parameters.get(key)), f"; expected {what}.") for key, (allowed, what) in checks.items()]
    faults = _faults_of(parameters, where, rules)
    if not faults:
        faults = _contradictions(parameters, where)
    return (
        faults
        + (_split_faults(parameters, where) or _part_faults(parameters, where))
        + _metric_faults(parameters, where)
        + _model_faults(parameters, model_class, where)
        + ([] if faults else _process_faults(parameters, model_class, where))
    )


def compares_ratings(parameters: Mapping[str, Any]) -> bool:
    """Return True if the metrics are for ratings, False if they are for rankings."""
    metrics = parameters["metrics"]
    first = metrics[0] if isinstance(metrics, list) and metrics else metrics
    return str(first).lower() not in RANKING_METRICS


def _model_faults(parameters: Mapping[str, Any], model_class: type, where: Callable[[str], str]) -> list[str]:
    of_ratings, reason = compares_ratings(parameters), why_no_ratings(model_class)
    rates, rating = of_ratings or predicts_stars(model_class), parameters["RATING_FIELD"]
    unused = parameters.get("unused_col") or {}
    name, faults = model_class.__name__, []
    if of_ratings and reason:
        faults.append(
            f"model {name} ranks items instead of predicting ratings: {reason}. Compare rankings with compare "
            '--metric ndcg@10, or run it with --metrics [NDCG] --valid_metric NDCG@10 --eval_args "{mode: full}".'
        )
    return faults + _faults_of(parameters, where, [
        ("unused_col", isinstance(unused, dict) and rating in (unused.get("inter") or []),
         f" must not drop {rating!r}; remove it there."),
        ("train_neg_sample_args", rates and parameters.get("train_neg_sample_args") is not None,
         "; expected ~ (an unrated item is unknown, not disliked)."),
        ("inter_matrix_type", of_ratings and parameters.get("inter_matrix_type", "01") != "01",  # DMF
         "; expected '01' when predicting ratings (otherwise RecBole multiplies the rating by itself)."),
        ("LABEL_FIELD", rates and parameters["LABEL_FIELD"] != rating,
         f"; expected {rating!r}, the RATING_FIELD (predictions are compared with ratings); or leave it out."),
        ("numerical_features", rating in (parameters.get("numerical_features") or []),
         f" contains {rating!r}, the value to predict; leave it out."),
    ])  # fmt: skip


def _contradictions(parameters: Mapping[str, Any], where: Callable[[str], str]) -> list[str]:
    learner = parameters["learner"]
    return _faults_of(parameters, where, [
        ("decoder_activation", parameters.get("offsets") and parameters["decoder_activation"] != "identity",
         " with offsets, which need a linear output; set offsets False, or decoder_activation identity."),
        ("dropout_prob", learner == "lbfgs" and parameters["dropout_prob"],
         " with learner 'lbfgs', whose line search needs a deterministic loss; set it to 0, or use learner adam."),
        ("clip_grad_norm", learner in FULL_BATCH_LEARNERS and parameters.get("clip_grad_norm"),
         f" with learner {learner!r}, which needs the unclipped gradient; remove it, or use learner adam."),
    ])  # fmt: skip


def _faults_of(
    parameters: Mapping[str, Any], where: Callable[[str], str], rules: list[tuple[str, Any, str]]
) -> list[str]:
    """Return one line for each rule that is broken; a rule is (key, whether its value is wrong, why)."""
    return [f"{where(key)}: {key}={parameters.get(key)!r}{why}" for key, wrong, why in rules if wrong]


def _process_faults(parameters: Mapping[str, Any], model_class: type, where: Callable[[str], str]) -> list[str]:
    nproc, world_size, offset = parameters["nproc"], world_size_of(parameters), parameters["group_offset"]
    if offset + nproc > world_size:
        return [
            f"{where('nproc')}: nproc={nproc} and group_offset={offset} with world_size={world_size}; expected "
            "group_offset + nproc <= world_size, the number of processes on all machines."
        ]
    reason = why_no_ratings(model_class)
    if world_size > 1 and reason:
        return [
            f"world_size={world_size}: model {model_class.__name__} must be trained by one process, like all models "
            f"that predict no ratings ({reason}): its loss is not a sum or mean over shares of a batch."
        ]
    return []


def _split_faults(parameters: Mapping[str, Any], where: Callable[[str], str]) -> list[str]:
    place, eval_args = where("eval_args"), parameters["eval_args"]
    keys = ("split", "group_by", "order", "mode")
    if not isinstance(eval_args, dict):
        return [f"{place}: eval_args={eval_args!r}; expected keys {', '.join(keys)}."]
    faults = [
        f"{place}: unknown key {key!r} in eval_args; expected {', '.join(keys)}."
        for key in eval_args
        if key not in keys
    ]
    order, group_by, split = eval_args.get("order"), eval_args.get("group_by"), eval_args.get("split")
    why = _why_no_split(split, order, group_by)
    return faults + _faults_of(eval_args, lambda _: place, [
        ("order", order not in ("RO", "TO"), "; expected RO (random) or TO (by time)."),
        ("group_by", group_by not in ("none", "user", None), "; expected none or user."),
        ("split", why, why),
    ])  # fmt: skip


def _why_no_split(split: Any, order: Any, group_by: Any) -> str:
    """Say what is wrong with a split; "" if nothing is."""
    kind, shares = next(iter(split.items())) if isinstance(split, dict) and len(split) == 1 else (None, None)
    if kind not in ("RS", "TS", "LS", "KF") or (kind == "LS" and shares != "valid_and_test"):
        return "; expected {RS: [0.81, 0.09, 0.1]} or similar, {TS: [...]}, {LS: valid_and_test}, or {KF: [1, 5]}."
    if kind == "TS" and recbole.__version__ == "1.2.0":
        return f" is not in RecBole 1.2.0. {NEWER}; or give {{RS: [...]}} with order TO."
    if kind == "KF":
        if not (
            isinstance(shares, list)
            and len(shares) == 2
            and is_whole(shares[1], 2)
            and is_whole(shares[0], 1, shares[1])
        ):
            return "; expected a fold and the number of folds, such as {KF: [1, 5]}."
        if order != "RO" or group_by not in ("none", None):
            return " draws folds over all ratings; expected order RO and group_by none."
    elif kind != "LS" and not (
        isinstance(shares, list)
        and len(shares) == 3
        and all(is_number(s, 0) for s in shares)
        and all(shares if kind == "TS" else shares[:1])
    ):
        zero = "; 0 for no valid or no test part" if kind == "RS" else ""
        return f"; expected three shares > 0: train, valid, test{zero}."
    elif kind == "TS" and order != "TO":
        return f" is by time, but order={order!r}; expected order TO."
    return ""


def lacks(parameters: Any, part: str) -> str:
    """Say that the split has no valid or test part; "" if it has one. `parameters` may be a Config."""
    split = parameters["eval_args"]["split"]
    share = 1 if parameters["benchmark_filename"] else split.get("RS", [1, 1, 1])[PARTS.index(part)]
    return "" if share else f"split={split!r} has no {part} part"


def _part_faults(parameters: Mapping[str, Any], where: Callable[[str], str]) -> list[str]:
    """Return faults of parameters that need a part which the split lacks."""
    needs = [
        ("refit", "valid", "to add; leave refit out"),
        ("final", "valid", "to choose the epoch by; leave final out and train on {RS: [1, 0, 0]}"),
        ("final", "test", "to add; use refit: True instead"),
    ]
    faults = [
        f"{where(key)}: {key}=True, but {lack} {why}."
        for key, part, why in needs
        if parameters[key] is True and (lack := lacks(parameters, part))
    ]
    if "members" in parameters and (lack := lacks(parameters, "valid")):
        faults.append(f"{where('eval_args')}: {lack} to weigh the ensemble's members by; give it a share > 0.")
    return faults


def _metric_faults(parameters: Mapping[str, Any], where: Callable[[str], str]) -> list[str]:
    metrics = parameters["metrics"]
    metrics = [metrics] if isinstance(metrics, str) else metrics
    place = where("metrics")
    if not isinstance(metrics, list) or not metrics or not all(isinstance(m, str) for m in metrics):
        return [f"{place}: metrics={metrics!r}; expected a list of names, such as [RMSE, MAE]."]
    names = [m.lower() for m in metrics]
    known_metrics = f"{', '.join(RATING_METRICS)} for ratings, or {', '.join(RANKING_METRICS)} for rankings"
    unknown = [m for m in metrics if m.lower() not in RATING_METRICS + RANKING_METRICS]
    if unknown:
        return [f"{place}: unknown metric {m!r}; expected {known_metrics}." for m in unknown]
    ranks = names[0] in RANKING_METRICS
    if any((name in RANKING_METRICS) != ranks for name in names):
        return [f"{place}: metrics={metrics!r} mixes two kinds; expected {known_metrics}."]

    faults = []
    if isinstance(parameters["eval_args"], dict):
        mode = parameters["eval_args"].get("mode")
        modes = list(mode.values()) if isinstance(mode, dict) else [mode]
        known = not isinstance(mode, dict) or (mode and not set(mode) - {"valid", "test"})
        if not known or not all(
            isinstance(m, str) and re.fullmatch(r"labeled|full|(uni|pop)[1-9]\d*", m) for m in modes
        ):
            expected = "labeled, full, uni100 or similar, or a mode for valid and one for test"
            faults.append(f"{where('eval_args')}: mode={mode!r}; expected {expected}.")
        elif not ranks and set(modes) != {"labeled"}:
            faults.append(
                f"{where('eval_args')}: mode={mode!r} ranks items, but metrics={metrics!r} compare ratings; "
                "use mode labeled, or ranking metrics such as [NDCG, Recall]."
            )
        elif ranks and "labeled" in modes:
            faults.append(
                f"{place}: metrics={metrics!r} rank items, but mode 'labeled' has only rated pairs; "
                "add --eval_args \"{'mode': 'full'}\", or use RMSE and MAE."
            )

    topk = [parameters["topk"]] if isinstance(parameters["topk"], int) else parameters["topk"]
    if not isinstance(topk, list) or not topk or not all(is_whole(k, 1) for k in topk):
        return [*faults, f"{where('topk')}: topk={parameters['topk']!r}; expected whole numbers >= 1, such as [10]."]
    computed = [f"{name}@{k}" for name in names for k in topk if name != "gauc"] if ranks else names
    computed += ["gauc"] if "gauc" in names else []
    if str(parameters["valid_metric"]).lower() not in computed:
        faults.append(
            f"{where('valid_metric')}: valid_metric={parameters['valid_metric']!r} is not computed; "
            f"expected one of {', '.join(computed)}."
        )
    return faults
