"""Command line: flags in, a table out. No traceback for a user's mistake, exit code 2."""

from __future__ import annotations

import argparse
import ctypes
import logging
import sys
from contextlib import suppress

from recbole_autorec.errors import AutoRecError, ConfigError

DESCRIPTION = """\
Train I-AutoRec or U-AutoRec in RecBole and report RMSE and MAE in stars.
The epoch is chosen on a validation part; the test part is used once, at the end."""

EPILOG = """\
every other parameter of RecBole or the model, as --key value or --key=value (values are YAML):
  --hidden_size [500]        units of each hidden layer
  --reg_weight 400           the paper's lambda
  --row_scaling 0.5          tame long rows; 0 is the paper
  --learner adam             instead of lbfgs; also rprop, sgd, ... with --train_batch_size 512
  --epochs 15                at most; --stopping_step 3 ends earlier
  --refit True               train again on train + valid for the chosen number of epochs, then test
  --eval_args "{split: {RS: [0.8, 0.1, 0.1]}}"
The whole list with meanings: properties/overall.yaml, properties/model/*.yaml, and RecBole's documentation.
A flag beats a config file, a later file an earlier one, and any file the defaults.

examples:
  %(prog)s --dataset ml-100k
  %(prog)s --dataset ml-1m --data_path dataset --refit True --output results/ml-1m
  %(prog)s --dataset ml-100k --model UAutoRec --learner adam --train_batch_size 512 --epochs 100
  %(prog)s --dataset ml-100k --metrics [NDCG,Recall] --eval_args "{mode: full}" --valid_metric NDCG@10"""


def parse(argv: list[str] | None) -> tuple[argparse.Namespace, dict[str, str]]:
    """Our own flags, and every other --key value as text."""
    parser = argparse.ArgumentParser(
        prog="run_recbole_autorec.py" if sys.argv[0].endswith(".py") else "recbole-autorec",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--model", help="IAutoRec (default) or UAutoRec")
    parser.add_argument(
        "--dataset", help="folder in data_path with RecBole's atomic files, or ml-100k (default), which RecBole carries"
    )
    parser.add_argument("--config_files", nargs="+", default=[], metavar="FILE", help="YAML files with parameters")
    parser.add_argument("--data_path", help="folder of the datasets (default: dataset/)")
    parser.add_argument("--seed", help="of the split, the weights and the batches (default: 2020)")
    parser.add_argument("--output", metavar="DIR", help="write result.json there")
    parser.add_argument("--resume", metavar="CHECKPOINT", help="continue from a checkpoint")
    known, rest = parser.parse_known_args(argv)
    flags = {key: getattr(known, key) for key in ("data_path", "seed") if getattr(known, key) is not None}

    while rest:
        key, equals, value = rest.pop(0).partition("=")
        if not key.startswith("--"):
            raise ConfigError(f"command line: {key!r} stands alone; parameters are given as --key value.")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ConfigError(f"command line: {key} has no value; give {key} VALUE, such as {key} True.")
            value = rest.pop(0)
        if flags.get(key[2:], value) != value:
            raise ConfigError(f"command line: {key} is given twice, as {flags[key[2:]]!r} and as {value!r}.")
        flags[key[2:]] = value
    return known, flags


def _return_large_blocks() -> None:
    """Let glibc give freed blocks of 16 MB and more back at once.

    It would keep up to 32 MB each, and L-BFGS's vectors fragment such a heap: 0.4 GB on ML-1M.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").mallopt(-3, 16 << 20)  # M_MMAP_THRESHOLD


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv`; the exit code."""
    try:
        known, flags = parse(argv)
        _return_large_blocks()
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        from recbole_autorec.quick_start import run_recbole_autorec

        result = run_recbole_autorec(
            known.model,
            known.dataset,
            known.config_files,
            flags=flags,
            output=known.output,
            resume=known.resume,
        )
    except AutoRecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(report(result))
    return 0


def report(result: dict) -> str:
    """The result as a table for people."""
    import pandas as pd

    table = pd.DataFrame({"valid": result["valid"], "test": result["test"]}).T
    table.columns = [name.upper() for name in table.columns]
    return (
        f"\n{table.to_string(float_format='%.4f')}\n\n"
        f"best epoch {result['best_epoch']} of {result['epochs_run']}, training {result['train_seconds']:.1f} s, "
        f"evaluation {result['eval_seconds']:.1f} s, peak memory {result['peak_memory_mb']} MB\n"
        f"checkpoint {result['checkpoint'] or 'not saved'}"
    )
