"""The documentation: links resolve, commands parse, Python runs, the site builds, and no page repeats another."""

from __future__ import annotations

import ast
import html
import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter, defaultdict
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
import yaml

from recbole_autorec import AutoRecError, Config, cli
from recbole_autorec.comparison.plan import make_plan
from recbole_autorec.config.config import is_parameter
from recbole_autorec.quick_start import quiet_recbole
from tests.conftest import ROOT

PAGES = sorted(
    [*(ROOT / "docs").rglob("*.md"), *(ROOT / f"{n}.md" for n in ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG"))]
)
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(page, language, code) for page, text in TEXTS.items() for language, code in FENCE.findall(text)]
PROSE = {page: FENCE.sub("", text) for page, text in TEXTS.items()}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split())  # type: ignore[index]


def code_of(language: str) -> dict[str, list[str]]:
    """Return page -> its blocks in a language."""
    found = defaultdict(list)
    for page, its_language, code in BLOCKS:
        if its_language == language:
            found[page].append(code)
    return found


def test_every_block_names_its_language():
    assert {language for _, language, _ in BLOCKS} <= {"bash", "python", "yaml", "text", "bibtex"}
    unmarked = [
        (page, found)
        for page, text in PROSE.items()
        for found in re.findall(r"^    (?:python|pip|make) .*", text, re.M)
    ]
    assert unmarked == []


# Links, as on GitHub; those of the site are in the last test.


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def broken_links(page: str, text: str) -> list[str]:
    broken = []
    for target in re.findall(
        r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)", re.sub(r"`[^`\n]*`", "``", FENCE.sub("", text))
    ):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / unquote(path) if path else ROOT / page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", TEXTS)
def test_relative_links_images_and_anchors_exist(page):
    assert broken_links(page, TEXTS[page]) == []


@pytest.mark.parametrize(
    ("link", "is_broken"),
    [
        ("[a](docs/data.md)", False),
        ("[a](docs/data.md#rules)", False),
        ("[a](docs/date.md)", True),
        ("[a](docs/data.md#rule)", True),
        ("![a](docs/a.png)", True),
    ],
)
def test_a_broken_link_is_found(link, is_broken):
    assert bool(broken_links("README.md", link)) is is_broken


NAMED = re.compile(r"`((?:benchmarks|docs|examples|properties|recbole_autorec|tests)/[\w./-]*\w/?|test_\w+_\w+_\w+)`")


@pytest.mark.parametrize("page", TEXTS)
def test_files_and_tests_that_the_text_names_exist(page):
    if page == "CHANGELOG.md":  # of earlier releases
        return
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("*.py"))
    names = NAMED.findall(PROSE[page])
    assert [name for name in names if "/" in name and not (ROOT / name.replace("MODEL", "IAutoRec")).exists()] == []
    assert [name for name in names if "/" not in name and f"def {name}(" not in tests] == []


# Commands.


class Asked(BaseException):
    """What a verb would have run: its function's arguments."""


OURS = re.compile(r"^(?:python run_recbole_autorec\.py|python -m recbole_autorec|recbole-autorec)(?: (.*))?$")
ENTRY_POINTS = {
    "train": "quick_start.run_recbole_autorec",
    "compare": "comparison.compare.compare",
    "tune": "tuning.tune.tune",
    "convert": "conversion.convert.convert",
}


def commands(text: str) -> list[str]:
    """Return the commands of a shell block, without comments and with continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", text)
    return [command for line in joined.splitlines() if (command := re.sub(r"\s+# .*$|^# .*$", "", line).strip())]


COMMANDS = [(page, command) for page, codes in code_of("bash").items() for code in codes for command in commands(code)]
COMMANDS += [("README.md", found) for found in re.findall(r"`(make[^`]*)`", PROSE["README.md"])]
OUR_COMMANDS = sorted({OURS.match(command)[1] or "" for _, command in COMMANDS if OURS.match(command)})  # type: ignore[index]


@pytest.fixture
def like_a_checkout(tmp_path, monkeypatch):
    """A folder with a checkout's files, and those that the commands of the docs have written before."""
    for name in ("benchmarks", "properties", "examples", "dataset"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("results/tune/best.yaml", "comparison.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # --gpu_id sets it, and the fixture restores it
    return tmp_path


def asked(argv: list[str], monkeypatch) -> dict:
    """Return the arguments that a command line gives to its verb's function, which does not run."""

    def ask(*arguments, **keywords):
        raise Asked(keywords)

    for place in ENTRY_POINTS.values():
        module, _, name = place.rpartition(".")
        monkeypatch.setattr(import_module(f"recbole_autorec.{module}"), name, ask)
    monkeypatch.setattr("recbole_autorec.serving.predictor.Predictor.load", ask)
    try:
        code = cli.main(argv)
    except Asked as caught:
        return caught.args[0]
    pytest.fail(f"exit code {code}")


def check_command(command: str, monkeypatch) -> None:
    argv = shlex.split(command.replace("MODEL", "IAutoRec").replace("SEED", "1"))
    given = asked(argv, monkeypatch)
    with quiet_recbole():
        if argv[0] == "compare":
            keys = ("dataset", "repeats", "kfold", "metric", "reference", "blend")
            settings = {key: value for key, value in given.items() if key in keys}
            models, file, configs, files, flags = (
                given.get(key) for key in ("models", "file", "configs", "config_file_list", "flags")
            )
            make_plan(models, file, configs, files or (), None, flags, **settings).configs()
        elif "flags" in given:
            Config(given["model"], given["dataset"], given["config_file_list"], flags=given["flags"])
        if argv[0] == "tune":
            space = given["space"] or f"properties/hyper/{given['model'] or 'IAutoRec'}.hyper"
            assert Path(space).is_file(), space


@pytest.mark.parametrize("command", OUR_COMMANDS)
@pytest.mark.usefixtures("like_a_checkout")
def test_our_commands_parse_and_their_parameters_are_valid(command, monkeypatch):
    check_command(command, monkeypatch)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("--datset ml-100k", pytest.fail.Exception),
        ("--epochs -1", AutoRecError),
        ("--config_files properties/presets/papers.yaml", AutoRecError),
        ("tune --max_eval 3", pytest.fail.Exception),
        ("tune --model UAutoRec --space my.hyper", AssertionError),
        ("compare --models IAutoRac,Bias", AutoRecError),
        ("predict --checkpoints a.pth", pytest.fail.Exception),
        ("predictions --checkpoint a.pth", pytest.fail.Exception),
    ],
)
@pytest.mark.usefixtures("like_a_checkout")
def test_a_wrong_command_is_found(command, error, monkeypatch):
    with pytest.raises(error):
        check_command(command, monkeypatch)


@pytest.mark.parametrize(("page", "command"), sorted({(page, c) for page, c in COMMANDS if not OURS.match(c)}))
def test_other_commands_name_what_exists(page, command):
    program, *arguments = shlex.split(command.partition(" >")[0])
    assert program in ("make", "pip", "python", "curl", "ray", "chmod", "source"), command
    if program == "make":
        targets = [argument for argument in arguments if "=" not in argument]
        variables = [argument.partition("=")[0] for argument in arguments if "=" in argument]
        assert set(targets) <= TARGETS
        assert all(re.search(rf"\$\({name}\)|^{name} \?=|\$\(if \$\({name}\)", MAKEFILE, re.M) for name in variables)
    if program == "python" and arguments[0].endswith(".py"):
        source = (ROOT / arguments[0]).read_text(encoding="utf-8")
        flags = [argument.partition("=")[0] for argument in arguments if argument.startswith("--")]
        removed = {"init_bias"} if "large.py" in arguments[0] else set()  # a command of release 0.1.0
        assert [
            f
            for f in flags
            if not re.search(rf'"(--)?{f[2:]}"', source) and not is_parameter(f[2:]) and f[2:] not in removed
        ] == []


def test_files_of_flags_in_the_text_exist():
    flags = set(re.findall(r"`--(\w+)(?:[ =][^`]*)?`", "".join(PROSE.values())))
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "recbole_autorec" / "cli").glob("*.py"))
    source += "".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py"))
    reading = ["columns", "separator", "encoding", "header", "quotes", "decimal", "date_format", "not_rated"]
    known = {*re.findall(r'"--(\w+)"', source), *reading, *(f"new_{name}" for name in reading), "key", "KEY"}
    assert sorted(flag for flag in flags if flag not in known and not is_parameter(flag)) == []


# YAML and Python.


@pytest.mark.parametrize(("page", "code"), [(page, code) for page, codes in code_of("yaml").items() for code in codes])
def test_yaml_blocks_are_valid(page, code, tmp_path):
    content = yaml.safe_load(code)
    (tmp_path / "block.yaml").write_text(code)
    with quiet_recbole():
        if "models" in content:
            make_plan(None, tmp_path / "block.yaml").configs()
        else:
            Config(config_file_list=[tmp_path / "block.yaml"])


# What a block does, made shorter here; each must occur.
SHORTER = {
    ("docs/compare.md", "repeats=3"): "repeats=1, config_dict={'epochs': 1}",
    ("docs/predict.md", '"ml-100k")["checkpoint"]'): '"ml-100k", config_dict={"epochs": 2})["checkpoint"]',
    ("docs/tuning.md", "max_evals=20"): "max_evals=2, config_dict={'epochs': 1}",
    ("docs/tuning.md", 'algo="random")'): 'algo="random", max_evals=2)',
    ("README.md", '"ml-100k")'): '"ml-100k", config_dict={"epochs": 2})',
}
PYTHON = code_of("python")


@pytest.fixture
def with_files(tmp_path):
    """A folder with the files that the blocks read: some ratings of ml-100k, and a search."""
    inter = Path(import_module("recbole").__file__).parent / "dataset_example" / "ml-100k" / "ml-100k.inter"
    ratings = pd.read_csv(inter, sep="\t", nrows=5000, dtype=str)
    ratings.columns = ["user", "item", "rating", "timestamp"]
    ratings.to_csv(tmp_path / "ratings.csv", index=False)
    (tmp_path / "my.yaml").write_text("model: IAutoRec\ndataset: ml-100k\nepochs: 1\nhidden_size: [20]\n")
    (tmp_path / "my.hyper").write_text("row_scaling choice [0,0.7]\n")
    return tmp_path


@pytest.mark.parametrize("page", PYTHON)
@pytest.mark.filterwarnings("ignore:.*training rating", "ignore:.*(deprecated|pkg_resources|inplace)")
def test_python_blocks_run_one_after_another(page, with_files):
    code = "\n\n".join(PYTHON[page])
    for (its_page, long), short in SHORTER.items():
        if its_page == page:
            assert long in code, f"SHORTER names {long!r}, which is not in {page}"
            code = code.replace(long, short)
    with quiet_recbole():
        exec(compile(code, page, "exec"), {"__name__": "block"})


def test_python_blocks_import_public_names():
    private = [
        (page, f"{node.module}.{alias.name}")
        for page, codes in PYTHON.items()
        for code in codes
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("recbole_autorec")
        for alias in node.names
        if alias.name.startswith("_") or not hasattr(import_module(node.module), alias.name)
    ]
    assert private == []


# No page repeats another.


def sentences(text: str) -> set[str]:
    """Return the longer sentences of a page's prose, without tables, headings and markup."""
    lines = [line for line in text.splitlines() if not re.match(r"\s*(\||#|!\[|:::|<)", line)]
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(line.strip() if line.strip() else "\n" for line in lines))
    parts = re.split(r"(?<=[.:;!?])\s+|\n| \* ", plain)
    return {" ".join(re.findall(r"[\w'-]+", part.lower())) for part in parts if len(part.split()) >= 10}


def test_no_page_repeats_a_sentence_of_another():
    pages_of = defaultdict(set)
    for page, text in PROSE.items():
        for sentence in sentences(text):
            pages_of[sentence].add(page)
    assert {sentence: sorted(pages) for sentence, pages in pages_of.items() if len(pages) > 1} == {}


# The site.


class Links(HTMLParser):
    """The targets of a page's links, its anchors, and its tags."""

    def __init__(self, text: str):
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for key, value in attrs:
            if key in ("href", "src") and value is not None:
                self.targets.append(value)
            if key in ("id", "name") and value:
                self.anchors.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "SITE_URL": "", "REPO_URL": ""}
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    assert "WARNING" not in run.stderr, run.stderr
    return folder


def test_the_links_of_the_site_exist(site):
    pages = {path: Links(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    assert len(pages) > 20
    broken = []
    for path, found in pages.items():
        for target in found.targets:
            if re.match(r"https?://|mailto:|data:|javascript:", target) or path.name == "404.html":
                continue
            name, _, anchor = target.partition("#")
            file = path.parent / unquote(name) if name not in ("", ".") else path
            file = file / "index.html" if file.is_dir() else file
            linked = pages.get(Path(os.path.normpath(file)))
            if not file.exists() or (anchor and linked is not None and unquote(anchor) not in linked.anchors):
                broken.append((path.relative_to(site).as_posix(), target))
    assert broken == []


def test_no_placeholder_is_taken_for_a_tag(site):
    tags = set().union(*(Links(path.read_text(encoding="utf-8")).tags for path in site.rglob("*.html")))
    known = (
        "a article body br button circle code div em footer form g h1 h2 h3 h4 h5 head header hr html img input label "
    )
    known += (
        "li link main meta nav ol p path pre script small span strong style svg table tbody td th thead title tr ul"
    )
    assert tags <= {*known.split()}


def test_the_site_asks_no_other_server(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'(?:src|<link[^>]*href)="(https?://[^"]*)"', text) == []


def test_every_parameter_is_in_the_site(site):
    text = html.unescape((site / "parameters.html").read_text(encoding="utf-8"))
    for file in [ROOT / "properties" / "overall.yaml", *(ROOT / "properties" / "model").glob("*.yaml")]:
        for key, value in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).items():
            for name in [key, *(value if key == "eval_args" else ())]:
                assert f"<code>{name}</code>" in text, (file.name, name)


def test_every_public_name_is_in_the_reference_with_what_it_raises(site):
    import recbole_autorec

    text = "".join(path.read_text(encoding="utf-8") for path in (site / "api").glob("*.html"))
    inventory = set(re.findall(r'id="(recbole_autorec\.[\w.]+)"', text))
    missing = [
        name for name in recbole_autorec.__all__ if name != "__version__" and f"recbole_autorec.{name}" not in inventory
    ]
    assert missing == []
    assert "&gt;&gt;&gt;" in text


def test_searching_finds_a_page(site):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert any("fold_in_user" in entry["location"] for entry in index["docs"])
