"""The result of a training as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd


def summary(result: Mapping[str, Any]) -> str:
    """Format a result of run_recbole_autorec as a table of scores and sentences."""
    scores = {part: result[part] for part in ("valid", "test") if result[part]}
    table = pd.DataFrame(scores).T.rename(columns=str.upper)
    shown = "" if table.empty else f"{table.to_string(float_format='%.4f')}\n\n"
    return f"\n{shown}" + "\n".join(sentences(result))


def sentences(result: Mapping[str, Any]) -> list[str]:
    """Say what the scores do not: cold pairs, parts without a score, epochs, time, memory, the checkpoint."""
    given, said = result["parameters"], []
    if result["n_cold"]:
        said.append(
            f"{result['n_cold']:,} of {result['n_test']:,} test pairs have a user or an item without training ratings"
        )
    said += [f"no {part} score: the split has no {part} part" for part in ("valid", "test") if not result[part]]
    if result["final"]:
        n_ratings = sum(result[f"n_{part}"] for part in ("train", "valid", "test"))
        which = "the checkpoint's model" if given.get("saved", True) else "the final model, which is not saved,"
        said.append(
            f"{which} was trained on all {n_ratings:,} ratings and has no score of its own; the scores "
            "above are of the model before"
        )
    said.append(
        f"best epoch {result['best_epoch']} of {result['epochs_run']}, training {result['train_seconds']:.1f} s, "
        f"evaluation {result['eval_seconds']:.1f} s, peak memory {result['peak_memory_mb']} MB"
    )
    elsewhere = given.get("group_offset") and given.get("saved", True)
    checkpoint = result["checkpoint"] or ("of the first machine" if elsewhere else "not saved")
    return [*said, f"checkpoint {checkpoint}"]
