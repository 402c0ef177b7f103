"""The pages of a comparison, of a search and of a training, in a real browser."""

import shutil

import pytest

from recbole_autorec import compare, run_recbole_autorec, tune
from tests.conftest import DATA, QUICK

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")

AUTOREC = {key: QUICK[key] for key in ("hidden_size", "reg_weight", "lbfgs_max_iter")}
MODELS = {"IAutoRec": AUTOREC, "UAutoRec": AUTOREC, "Bias": None, "<!--<script><b>&amp;": {"model": "GlobalMean"}}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "out"
    shared = {"data_path": str(DATA), "seed": 1, "epochs": 2}
    compare(MODELS, "tiny", 2, config_dict=shared, output=folder, show_progress=False)
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def tuning_address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuning") / "out"
    space = {
        "loguniform": {"reg_weight": [-2, 3]},
        "uniform": {"row_scaling": [0, 0.5]},
        "choice": {"encoder_activation": ["sigmoid", "tanh"], "dropout_prob": [0, 0.1], "learner": ["lbfgs", "adam"]},
    }
    shared = {**QUICK, "data_path": str(DATA)}
    tune("IAutoRec", "tiny", space, max_evals=12, config_dict=shared, output=folder, show_progress=False)
    return (folder / "tuning.html").as_uri()


@pytest.fixture(scope="module")
def training_address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training") / "out"
    run_recbole_autorec("IAutoRec", "tiny", config_dict={**QUICK, "data_path": str(DATA)}, output=folder)
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser, address):
    """Open the page and record its console messages and network requests.

    Performance messages of the graphics driver are not recorded.
    """
    contexts = []

    def open_(width=1280, scheme="light", address=address):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.said, page.asked = [], []
        page.on("console", lambda message: "GL Driver Message" in message.text or page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(address)
        page.wait_for_selector(".plot .main-svg")
        return page

    yield open_
    for context in contexts:
        context.close()


def column(page, number: int) -> list[str]:
    return page.locator(f"table tbody tr > :nth-child({number})").all_inner_texts()


def test_it_opens_without_a_word_from_the_console_and_without_the_network(open_page, address):
    page = open_page()
    page.wait_for_function("document.querySelectorAll('.plot .main-svg').length >= 2 * 7")
    assert page.said == []
    assert [url for url in page.asked if not url.startswith(("data:", "blob:"))] == [address]
    assert page.locator(".plot").count() == 7


@pytest.mark.parametrize("width", [390, 1280])
def test_a_searchs_page_opens_as_quietly_and_sorts(open_page, tuning_address, width):
    page = open_page(width, address=tuning_address)
    page.wait_for_function("document.querySelectorAll('.plot .main-svg').length >= 2 * 7")
    assert page.said == []
    assert [url for url in page.asked if not url.startswith(("data:", "blob:"))] == [tuning_address]
    assert page.locator(".plot").count() == 2 + 5  # progress, parallel and one for each parameter
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    numbers = page.locator("tbody th")
    assert numbers.all_inner_texts() == [str(number) for number in range(1, 13)]
    page.get_by_role("button", name="RMSE", exact=True).click()
    failed = page.get_by_text("failed: ").count()
    assert failed > 0
    scores = page.locator("tbody tr > :nth-child(3)").all_inner_texts()
    numbers = [float(text) for text in scores if text]
    assert numbers == sorted(numbers)
    assert scores[-failed:] == [""] * failed


@pytest.mark.parametrize("width", [390, 1280])
def test_a_trainings_page_opens_as_quietly(open_page, training_address, width):
    page = open_page(width, address=training_address)
    page.wait_for_function("document.querySelectorAll('.plot .main-svg').length >= 2 * 6")
    assert page.said == []
    assert [url for url in page.asked if not url.startswith(("data:", "blob:"))] == [training_address]
    assert page.locator(".plot").count() == 6
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("tbody th").all_inner_texts() == ["train", "valid", "test"]


def test_it_shows_a_row_for_each_model_with_its_name_as_it_is(open_page):
    page = open_page()
    names = column(page, 1)
    assert sorted(names) == sorted(["IAutoRec", "UAutoRec", "Bias", "<!--<script><b>&amp; (GlobalMean)"])
    assert page.locator("table tbody tr").count() == len(MODELS)


def test_a_click_sorts_and_a_second_one_turns_it_round(open_page):
    page = open_page()
    page.get_by_role("button", name="parameters").click()
    upwards = [int(text.replace(",", "")) for text in column(page, page_column(page, "parameters"))]
    assert upwards == sorted(upwards)
    assert len(set(upwards)) > 1
    page.get_by_role("button", name="parameters").click()
    assert [int(text.replace(",", "")) for text in column(page, page_column(page, "parameters"))] == upwards[::-1]
    assert page.locator("th[aria-sort=descending]").count() == 1
    page.get_by_role("button", name="model").click()
    assert column(page, 1) == sorted(column(page, 1), key=str.lower)


def test_empty_cells_stay_last_however_it_is_sorted(open_page):
    page = open_page()
    for _ in range(2):
        page.get_by_role("button", name="vs best", exact=True).click()
        assert column(page, page_column(page, "vs best"))[-1] == ""


def page_column(page, name: str) -> int:
    return page.locator("table thead button").all_inner_texts().index(name) + 1


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_itself_never_scrolls_sideways(open_page, width):
    page = open_page(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_day_and_night_differ_in_page_and_figures(open_page):
    colours = {}
    for scheme in ("light", "dark"):
        page = open_page(scheme=scheme)
        page.wait_for_function(
            "getComputedStyle(document.documentElement).getPropertyValue('--text').trim()"
            " === document.querySelector('.plot').layout.font.color"
        )
        colours[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert colours["light"] != colours["dark"]
