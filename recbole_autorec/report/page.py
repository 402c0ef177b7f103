"""HTML reports that work offline: a table, figures, settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from recbole_autorec.invocation import command

# (heading, explanation, [(name, caption, figure)])
Section = tuple[str, str, list[tuple[str, str, go.Figure]]]


def render(template: Path, sections: Iterable[Section], versions: dict[str, str], **content: Any) -> str:
    """Render `template`, which extends page.html, from `sections` and `content`; return HTML."""
    loader = jinja2.FileSystemLoader([template.parent, Path(__file__).parent])
    sections = list(sections)
    figures = {name: json.loads(figure.to_json()) for _, _, shown in sections for name, _, figure in shown}
    return (
        jinja2.Environment(autoescape=True, loader=loader)
        .get_template(template.name)
        .render(
            sections=sections,
            command=command(),
            versions=json.dumps(versions, indent=1),
            plotly=get_plotlyjs(),
            figures=json.dumps(figures).replace("<", "\\u003c"),
            **content,
        )
    )


def empty_figure(x: str, y: str, **layout: Any) -> go.Figure:
    """Return a figure with axis titles `x` and `y` and no background; the page sets its light or dark colours."""
    figure = go.Figure()
    figure.update_layout(
        template="none", paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", hovermode="closest",
        margin={"l": 60, "r": 15, "t": 10, "b": 50}, font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "maxheight": 0.6,
                "font": {"size": 12}},
        **{"height": 440, **layout},
    )  # fmt: skip
    figure.update_xaxes(title_text=x, automargin=True)
    figure.update_yaxes(title_text=y, automargin=True)
    return figure


def how_chosen(result: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    """Say how many ratings each part of a training has, and what chose its epoch."""
    sizes = ", ".join(f"{name} {result[f'n_{name}']:,}" for name in ("train", "valid", "test"))
    if not result["n_valid"]:
        return f"Ratings: {sizes}. There is no validation part: the last epoch was taken."
    refit = "; then retrained on train + valid for that many epochs" if parameters["refit"] else ""
    return f"Ratings: {sizes}. The epoch was chosen on the validation part{refit}."


def in_lines(parameters: Mapping[str, Any]) -> str:
    """Return parameters, one per line, with values as JSON."""
    return "\n".join(f"{key}: {json.dumps(value)}" for key, value in parameters.items())
