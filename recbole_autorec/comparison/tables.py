"""Format the table of a comparison for the terminal, a notebook, Markdown and LaTeX."""

from __future__ import annotations

import pandas as pd

from recbole_autorec.comparison.results import Results


def readable(comparison: Results, table: pd.DataFrame) -> pd.DataFrame:
    """Format `Results.table` as text, with the columns that people compare."""
    lines = []
    for label, row in table.iterrows():
        line = {"row": label if label == row["model"] else f"{label} ({row['model']})"}
        if pd.notna(row["error"]) and row["repeats"] == 0:
            lines.append({**line, comparison.metrics[0].upper(): "failed"})
            continue
        for metric in comparison.metrics:
            interval = _number(row.get(f"{metric}_interval"), " ± {:.4f}")
            line[metric.upper()] = _number(row.get(metric), "{:.4f}") + interval
        for name, heading in (("best", "vs best"), ("reference", f"vs {comparison.plan.reference}")):
            if f"{name}_difference" in table:
                line[heading] = _difference(row, name)
                line[f"p {heading}"] = _number(row[f"{name}_p"], "{:.3g}")
                line[f"significant {heading}"] = {True: "yes", False: "no"}.get(row[f"{name}_significant"], "")
        line |= {
            "best epoch": _number(row.get("best_epoch"), "{:.3g}"),
            "train s": _number(row.get("train_seconds"), "{:,.1f}"),
            "s/epoch": _number(row.get("seconds_per_epoch"), "{:,.2f}"),
            "eval s": _number(row.get("eval_seconds"), "{:,.1f}"),
            "peak MB": _number(row.get("peak_memory_mb"), "{:,.0f}"),
            "parameters": _number(row.get("n_parameters"), "{:,.0f}"),
            "repeats": f"{row['repeats']:g}" + ("" if pd.isna(row["error"]) else ", then failed"),
        }
        lines.append(line)
    return pd.DataFrame(lines).fillna("").set_index("row").rename_axis(None)


def explanation(comparison: Results) -> list[str]:
    """Explain the table and how it was made, one sentence per item."""
    plan, splits = comparison.plan, comparison.splits()
    drawn = "folds of one partition" if plan.kfold else "random splits, each with its own seed"
    mean = f": mean over {plan.repeats} {drawn}, ± half of the 95 % interval of the mean" if plan.repeats > 1 else ""
    unit = "" if plan.ranks else ", in stars"
    sentences = [
        f"{', '.join(m.upper() for m in comparison.metrics)} on the test part{unit}{mean}; every model on the same "
        f"{'splits' if plan.repeats > 1 else 'split'} ({', '.join(splits[n] for n in splits)}). The epoch was chosen "
        "on the validation part.",
    ]
    if not plan.ranks:
        sentences.append(
            "vs: difference, with the 95 % interval of a paired bootstrap over the test ratings, and p of the "
            "corrected paired t-test over repeats (Nadeau and Bengio 2003). significant: the interval excludes 0 and, "
            "with two repeats or more, p < 0.05."
        )
    else:
        sentences.append("vs: difference, and p of the corrected paired t-test over repeats (Nadeau and Bengio 2003).")
    if splits and not plan.ranks and not comparison.resamples:
        sentences.append("No bootstrap interval here: a test part has only one rating, which cannot be resampled.")
    if plan.blend:
        sentences.append(
            "blend: weighted sum of the predictions of all rows that did not fail, fitted by least squares to the "
            "validation ratings; it is not a candidate for best."
        )
    return sentences + failures(comparison)


def failures(comparison: Results) -> list[str]:
    """Explain each failed row in one sentence."""
    reasons = {row.label: comparison.error(row.label) for row in comparison.rows}
    return [f"{label} failed: {why}" for label, why in reasons.items() if why is not None]


def terminal(comparison: Results, table: pd.DataFrame) -> str:
    return _narrow(comparison, table).to_string()


def notebook(comparison: Results, table: pd.DataFrame) -> str:
    return _narrow(comparison, table).to_html()


def _narrow(comparison: Results, table: pd.DataFrame) -> pd.DataFrame:
    text = readable(comparison, table)
    return text.drop(columns=[c for c in text if str(c).startswith("p vs") or c in ("s/epoch", "eval s")])


def markdown(comparison: Results, table: pd.DataFrame) -> str:
    title = f"# {comparison.plan.metric.upper()} on {comparison.dataset}\n\n"
    text = readable(comparison, table)
    lines = [
        ["", *text.columns],
        ["---"] * (len(text.columns) + 1),
        *text.itertuples(name=None),
    ]
    rows = "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
    return title + rows + "\n\n" + "\n\n".join(explanation(comparison)) + "\n"


def latex(comparison: Results, table: pd.DataFrame) -> str:
    """Return a booktabs table; the best value of each metric is bold, the second best underlined."""
    text = readable(comparison, table)
    text = text.drop(columns=[c for c in text if c in ("s/epoch", "eval s", "peak MB", "repeats")])
    marked = text.apply(lambda column: column.map(_escape))
    for metric in comparison.metrics:
        if metric in table:
            order = table[metric].to_numpy(float) * (-1 if comparison.plan.ranks else 1)
            cells = list(marked[metric.upper()])
            for place, mark in zip(order.argsort(kind="stable"), ("textbf", "underline"), strict=False):
                if pd.notna(order[place]):
                    cells[place] = f"\\{mark}{{{cells[place]}}}"
            marked[metric.upper()] = cells
    notes = "".join(f"% {sentence}\n" for sentence in explanation(comparison))
    columns = "l" + "r" * len(marked.columns)
    tabular = marked.rename(index=_escape, columns=_escape).to_latex(escape=False, column_format=columns)
    return f"% needs \\usepackage{{booktabs}}\n{notes}{tabular}"


def _number(value, form: str) -> str:
    return "" if pd.isna(value) else form.format(value)


def _difference(row: pd.Series, name: str) -> str:
    interval = "" if pd.isna(row[f"{name}_low"]) else f" [{row[f'{name}_low']:+.4f}, {row[f'{name}_high']:+.4f}]"
    return _number(row[f"{name}_difference"], "{:+.4f}") + interval


def _escape(text: str) -> str:
    special = {"\\": "\\textbackslash{}", "±": "$\\pm$", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%_#${}" else c) for c in str(text))
