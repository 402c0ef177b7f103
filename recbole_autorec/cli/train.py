"""Train one model and return the result as a table."""

from __future__ import annotations

from recbole_autorec.cli.flags import parse, parser_for

DESCRIPTION = """\
Train a model in RecBole and report RMSE and MAE in stars. The default model is I-AutoRec.
The best epoch is chosen on the validation part; the test part is used once, at the end.

Other verbs: compare, tune, convert, predict, evaluate, recommend, similar, export (compare --help and so on)."""

EPILOG = """\
Any other parameter of RecBole or the model, as --key value or --key=value (values are YAML):
  --hidden_size [500]        units of each hidden layer
  --reg_weight 400           the paper's lambda; the default depends on the number of ratings
  --row_scaling 0.5          tame long rows; 0 as in the paper
  --learner adam             instead of lbfgs; also rprop, sgd, ... with --train_batch_size 512
  --epochs 20                maximum number; --stopping_step 3 stops earlier
  --refit True               retrain on train + valid for the chosen number of epochs, then test
  --final True               then retrain on all ratings: the checkpoint's model, which has no score of its own
  --nproc 2                  processes that train together, each on a GPU or on cores; several machines: docs/scaling.md
  --eval_args "{split: {RS: [0.8, 0.1, 0.1]}}"
All parameters, explained: properties/overall.yaml, properties/model/*.yaml, and RecBole's documentation.
Flags override config files, later files override earlier ones, and files override the defaults.

examples:
  %(prog)s --dataset ml-100k
  %(prog)s --dataset ml-1m --data_path dataset --refit True --output results/ml-1m
  %(prog)s --dataset ml-100k --model UAutoRec --learner adam --train_batch_size 512 --epochs 100
  %(prog)s --dataset ml-100k --metrics [NDCG,Recall] --eval_args "{mode: full}" --valid_metric NDCG@10"""


def run(argv: list[str]) -> str:
    parser = parser_for("", DESCRIPTION, EPILOG)
    parser.add_argument(
        "--model", help="IAutoRec (default), UAutoRec, AutoRecEnsemble, BiasedMF, Bias, GlobalMean, or one of RecBole's"
    )
    parser.add_argument("--output", metavar="DIR", help="folder to write result.json to")
    parser.add_argument("--resume", metavar="CHECKPOINT", help="continue from a checkpoint")
    known, flags = parse(parser, argv)

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
