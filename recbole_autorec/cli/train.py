"""Train one model and return the result as a table."""

from __future__ import annotations

from recbole_autorec.cli.flags import parse, parser_for

DESCRIPTION = """\
Train a model in RecBole and report RMSE and MAE in stars. Validation ratings
choose the epoch; test ratings are used once, at the end. Other verbs: compare,
tune, convert, predict, evaluate, recommend, similar, export."""

EPILOG = """\
Every parameter of the model or RecBole is a --KEY with a VALUE in YAML:
  --hidden_size [500]  hidden units        --epochs 20    maximum number
  --reg_weight 400     the paper's lambda  --refit True   then on train + valid
  --learner adam       instead of lbfgs    --final True   then on all ratings
  --row_scaling 0.5    0 is the paper      --nproc 2      several processes
properties/overall.yaml and properties/model/ list them with their meanings.

examples:
  %(prog)s --dataset ml-100k
  %(prog)s --dataset ml-1m --refit True --output results/1m
  %(prog)s --model UAutoRec --learner adam --epochs 100"""


def run(argv: list[str]) -> str:
    parser = parser_for("", DESCRIPTION, EPILOG)
    parser.add_argument("--model", metavar="NAME", help="IAutoRec (default), UAutoRec, ..., or one of RecBole's")
    parser.add_argument("--output", metavar="DIR", help="write result.json and a page, report.html")
    parser.add_argument("--resume", metavar="CHECKPOINT", help="continue from a checkpoint")
    known, flags = parse(parser, argv)
    if not vars(known).pop("show_progress"):
        flags |= {"show_progress": "False", "state": "WARNING"}

    from recbole_autorec.process_memory import return_large_blocks
    from recbole_autorec.quick_start import run_recbole_autorec

    return_large_blocks()
    return summary(run_recbole_autorec(**vars(known), flags=flags))


def summary(result: dict) -> str:
    """Format the result as a table."""
    import pandas as pd

    scores = {part: result[part] for part in ("valid", "test")}
    table = pd.DataFrame({part: found for part, found in scores.items() if found}).T
    table.columns = [name.upper() for name in table.columns]
    shown = "" if table.empty else f"{table.to_string(float_format='%.4f')}\n\n"
    notes = [f"no {part} score: the split has no {part} part\n" for part, found in scores.items() if not found]
    given = result["parameters"]
    if result["final"]:
        n_ratings = sum(result[f"n_{part}"] for part in ("train", *scores))
        which = "the checkpoint's model" if given.get("saved", True) else "the final model, which is not saved,"
        notes.append(
            f"{which} was trained on all {n_ratings:,} ratings and has no score of its own; the scores "
            "above are of the model before\n"
        )
    elsewhere = given.get("group_offset") and given.get("saved", True)
    n_cold, n_test = result["n_cold"], result["n_test"]
    cold = f"{n_cold:,} of {n_test:,} test pairs have a user or an item without training ratings\n" if n_cold else ""
    return (
        f"\n{shown}{cold}{''.join(notes)}"
        f"best epoch {result['best_epoch']} of {result['epochs_run']}, training {result['train_seconds']:.1f} s, "
        f"evaluation {result['eval_seconds']:.1f} s, peak memory {result['peak_memory_mb']} MB\n"
        f"checkpoint {result['checkpoint'] or ('of the first machine' if elsewhere else 'not saved')}"
    )
