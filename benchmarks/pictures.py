"""Make the pictures of the documentation anew: pages of a comparison, a search and a training, in headless Chromium.

    python benchmarks/pictures.py                     # some ten minutes on two cores; results/pictures keeps what ran
    python benchmarks/pictures.py --only training.png

Needs the extras `test` and `tune`, and Chromium on the path.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from recbole_autorec import compare, run_recbole_autorec, tune

DOCS = Path(__file__).resolve().parent.parent / "docs"
MODELS = ["IAutoRec", "UAutoRec", "BiasedMF", "Bias", "FM", "DeepFM", "NeuMF"]  # the command of docs/compare.md
WIDTH = 1240  # of the browser's window


def comparison(folder: Path) -> str:
    compare(MODELS, "ml-100k", repeats=5, output=folder)
    return "report.html"


def search(folder: Path) -> str:
    if not (folder / "tuning.html").exists():
        tune("IAutoRec", "ml-100k", output=folder, resume=(folder / "tuning.json").exists())
    return "tuning.html"


def training(folder: Path) -> str:
    if not (folder / "report.html").exists():
        run_recbole_autorec("IAutoRec", "ml-100k", output=folder, config_dict={"saved": False})
    return "report.html"


def section(heading: str) -> str:
    """Return the selector of a section's figures."""
    return f"h2:text-is('{heading}') + p + .pair"


# picture -> (what it shows, first and last element of the page in it, as selectors)
PICTURES: dict[str, tuple[Callable[[Path], str], str, str]] = {
    "comparison.png": (comparison, "h1", section("Test scores")),
    "scores.png": (comparison, "h2:text-is('Test scores')", section("Test scores")),
    "curves.png": (comparison, "h2:text-is('Learning curves')", section("Learning curves")),
    "tuning.png": (search, "h1", section("The search")),
    "training.png": (training, "h1", section("Learning curve")),
}


def take(page: Page, address: str, first: str, last: str, path: Path) -> None:
    """Write the part of a page from the top of its first to the bottom of its last element, with a margin."""
    page.goto(address)
    page.wait_for_selector(".plot .main-svg")
    page.wait_for_timeout(1000)  # figures below the fold are drawn when idle
    top, bottom = (page.locator(selector).first.bounding_box() for selector in (first, last))
    if top is None or bottom is None:
        sys.exit(f"error: {address} does not show what {path.name} shows.")
    end = bottom["y"] + bottom["height"]
    page.screenshot(
        path=path, full_page=True, clip={"x": 0, "y": top["y"] - 20, "width": WIDTH, "height": end - top["y"] + 36}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PICTURES, default=list(PICTURES))
    parser.add_argument("--results", type=Path, default=Path("results/pictures"), help="folder of the three runs")
    known = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("error: no Chromium on the path; install it, such as with apt-get install chromium.")
    pages = {}
    for name in known.only:
        make = PICTURES[name][0]
        folder = known.results / make.__name__
        pages[name] = (folder / make(folder)).resolve().as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        for name, address in pages.items():
            take(page, address, *PICTURES[name][1:], DOCS / name)
            print(DOCS / name)
        browser.close()


if __name__ == "__main__":
    main()
