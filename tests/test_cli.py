import ast
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from recbole_autorec import __version__, cli, invocation
from recbole_autorec.cli import flags as flags_of
from recbole_autorec.config.config import is_parameter
from tests.conftest import DATA, ROOT

TINY = ["--dataset", "tiny", "--data_path", str(DATA)]
QUICK = [*TINY, "--hidden_size", "[8]", "--epochs=2", "--seed=1"]


def run(*arguments, **keywords):
    return subprocess.run(
        [sys.executable, str(ROOT / "run_recbole_autorec.py"), *arguments], capture_output=True, text=True, **keywords
    )


def test_a_run_prints_what_was_trained_each_epoch_and_a_table_and_nothing_else():
    done = run(*QUICK, "--reg_weight", "1", "--output", "out")
    assert done.returncode == 0
    log = done.stderr.splitlines()
    assert log[0] == "IAutoRec on tiny (cpu): 10 users, 6 items, 50 ratings from 0 to 5, density 83.33%"
    assert re.fullmatch(r"split [0-9a-f]{16}: train 41, valid 4, test 5; seed 1", log[1])
    assert re.fullmatch(
        r"standard deviations in stars: users [\d.]+, items [\d.]+, residual [\d.]+; "
        r"dampings in ratings: [\d.e+]+ per user, [\d.e+]+ per item",
        log[2],
    )
    said = log.pop(4)  # once, with the first checkpoint
    assert re.fullmatch(r"checkpoint \S+ contains the training ratings; the export command leaves them out", said)
    for number, line in enumerate(log[3:]):
        what = r"J [\d.]+" if number else "offsets alone"
        assert re.fullmatch(
            rf"epoch   {number}/2  {what}  valid rmse \d\.\d{{4}}  mae \d\.\d{{4}}  train \d+\.\d s(  best)?", line
        )
    assert len(log) == 6
    assert re.fullmatch(
        r"\n +RMSE +MAE\nvalid +\d\.\d{4} +\d\.\d{4}\ntest +\d\.\d{4} +\d\.\d{4}\n\n"
        r"(\d of 5 test pairs have a user or an item without training ratings\n)?"
        r"best epoch \d of 2, training \d+\.\d s, evaluation \d+\.\d s, peak memory \d+ MB\n"
        r"checkpoint saved/IAutoRec-tiny-1-\S+\.pth\n",
        done.stdout,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--foo"], "command line: --foo has no value; give --foo VALUE, such as --foo True."),
        (["--refit", "--epochs", "3"], "command line: --refit has no value; give --refit VALUE, such as --refit True."),
        (["train"], "command line: unexpected argument 'train'; the verb must come first."),
        (["trian"], "command line: unexpected argument 'trian'; did you mean 'train'?"),
        (["5"], "command line: unexpected argument '5'; did you mean '--key 5'?"),
        (["my.yaml"], "command line: unexpected argument 'my.yaml'; did you mean '--config_files my.yaml'?"),
        (["--ouput", "out"], "command line: unknown flag --ouput; did you mean --output?"),
        (["--model"], "command line: argument --model: expected one argument; see --help."),
        (["--data_path=nowhere"], "dataset 'tiny': data_path 'nowhere' is not a folder; give the one with the dataset."),
        (["--hiden_size", "[5]"], "command line: unknown key 'hiden_size'; did you mean 'hidden_size'?"),
        (
            ["--model", "NMF"],
            "unknown model 'NMF'; expected IAutoRec, UAutoRec, AutoRecEnsemble, BiasedMF, Bias, GlobalMean, or one of RecBole's general and context-aware models, such as FM and NeuMF (docs/built-in-models.md). Did you mean ENMF or NeuMF?",
        ),
        (["--config_files", "no.yaml"], "config file 'no.yaml' cannot be read: No such file or directory."),
        (["--resume", "no.pth"], "checkpoint 'no.pth': no such file."),
        (
            ["--epochs", "3"],
            "command line: --epochs is given twice, as '2' and as '3'.",
        ),
        (
            ["--checkpoint_dir", "/dev/null/x"],
            "folder '/dev/null/x' cannot be created: Not a directory; give another one.",
        ),
        (["--output", "/dev/null/x"], "folder '/dev/null/x' cannot be created: Not a directory; give another one."),
        (["--output", str(ROOT / "setup.cfg")], f"folder '{ROOT / 'setup.cfg'}' cannot be created: a file of that name "
         "exists; give another one."),
    ],
)  # fmt: skip
def test_a_mistake_is_one_message_and_exit_code_2(arguments, message, capsys):
    elsewhere = any(argument.startswith("--data_path") for argument in arguments)
    base = [argument for argument in QUICK if argument not in ("--data_path", str(DATA))] if elsewhere else QUICK
    assert cli.main([*base, *arguments]) == 2
    out, err = capsys.readouterr()
    assert err == f"error: {message}\n"
    assert out == ""


def test_values_may_be_given_either_way_and_may_be_negative():
    arguments = ["--dataset=tiny", "--epochs", "5", "--cold_start_rating", "-1", "--metrics=[RMSE]", "--seed=3"]
    known, flags = flags_of.parse(flags_of.parser_for("", "", ""), arguments)
    assert known.dataset == "tiny"
    assert flags == {"seed": "3", "epochs": "5", "cold_start_rating": "-1", "metrics": "[RMSE]"}


def test_an_equals_sign_in_a_value_stays():
    assert flags_of.parse(flags_of.parser_for("", "", ""), ["--checkpoint_dir=a=b"])[1] == {"checkpoint_dir": "a=b"}


def test_config_files_are_read_in_order(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("epochs: 2\nreg_weight: 7\n")
    (tmp_path / "b.yaml").write_text("reg_weight: 1\n")
    arguments = [part for part in QUICK if part != "--epochs=2"]
    assert cli.main([*arguments, "--config_files", "a.yaml", "b.yaml", "--output", "out"]) == 0
    parameters = json.loads((tmp_path / "out" / "result.json").read_text())["parameters"]
    assert (parameters["epochs"], parameters["reg_weight"]) == (2, 1)
    assert "RMSE" in capsys.readouterr().out


def test_interruption_ends_with_130_and_says_where_the_best_epoch_is(monkeypatch, capsys, caplog):
    from recbole_autorec.trainer.autorec_trainer import AutoRecTrainer

    train_epoch = AutoRecTrainer._train_epoch

    def interrupted(self, train_data, epoch_idx, *arguments, **keywords):
        if epoch_idx == 1:
            raise KeyboardInterrupt
        return train_epoch(self, train_data, epoch_idx, *arguments, **keywords)

    monkeypatch.setattr(AutoRecTrainer, "_train_epoch", interrupted)
    assert cli.main([*QUICK]) == 130
    (message,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    path = re.search(r"saved/\S+\.pth", message).group()
    assert message == f"interrupted; epoch 1, the best so far, is in {path}\n--resume {path} continues from it"
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--seed", "1", "--seed", "2"], "--seed is given twice, as '1' and as '2'"),
        (["convert", "--input", "a", "--name", "b", "--decimal", ",", "--decimal", "."], "--decimal is given twice"),
        (["recommend", "--checkpoint", "c", "--users", "", "--new_ratings", "n"], "--users is empty"),
        (["similar", "--checkpoint", "c", "--items="], "--items is empty"),
    ],
)
def test_a_flag_is_given_once_and_not_empty(arguments, expected, capsys):
    assert cli.main(arguments) == 2
    assert f"error: command line: {expected}" in capsys.readouterr().err


@pytest.mark.parametrize("verb", flags_of.VERBS)
def test_help_fits_a_screen_and_has_three_examples_of_flags_that_exist(verb, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run_recbole_autorec.py"])
    with pytest.raises(SystemExit, match="0"):
        cli.main([*([] if verb == "train" else [verb]), "--help"])
    lines = capsys.readouterr().out.splitlines()
    rows = sum(max(1, -(-len(line) // 80)) for line in lines)  # 80 columns; longer lines wrap
    assert rows <= 30, f"{rows} rows"
    *listed, _, title = lines[: lines.index("examples:") + 1]
    assert title == "examples:"
    examples = lines[lines.index("examples:") + 1 :]
    assert len(examples) == 3
    known = set(re.findall(r"--\w+", " ".join(listed)))
    for example in examples:
        words = example.split()
        assert words[:2] == ["python", "run_recbole_autorec.py"]
        assert (words[2] == verb) if verb != "train" else words[2].startswith("--")
        unknown = {word for word in words if word.startswith("--")} - known
        assert not unknown or (verb == "train" and all(is_parameter(name[2:]) for name in unknown))


def test_version_lists_what_a_report_needs():
    done = run("--version")
    lines = dict(line.split() for line in done.stdout.splitlines())
    assert list(lines) == ["recbole_autorec", "python", "recbole", "torch", "numpy", "pandas"]
    assert lines["recbole_autorec"] == __version__
    assert lines["torch"] == torch.__version__
    assert lines["python"] == platform.python_version()


def test_version_needs_no_installed_package(monkeypatch):
    def nothing(name):
        raise invocation.PackageNotFoundError(name)

    monkeypatch.setattr(invocation, "version", nothing)
    assert invocation.versions()["recbole"] == "not installed"


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        ([*QUICK], ["", "        RMSE    MAE"]),
        (["compare", *TINY, "--models", "Bias,GlobalMean", "--repeats", "1"], [""]),
        (["tune", *TINY, "--max_evals", "1"], [""]),
        (["convert", "--input", str(DATA / "tiny" / "tiny.inter"), "--name", "mine"], [""]),
    ],
)
def test_quiet_prints_the_result_alone(arguments, first):
    done = run(*arguments, "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[: len(first)] == first


def test_without_a_terminal_there_is_no_colour_and_no_progress():
    done = run(*QUICK, env={**os.environ, "FORCE_COLOR": ""})
    assert done.returncode == 0
    assert not set("\x1b\r") & set(done.stdout + done.stderr)


def test_help_is_fast_and_names_the_parameters():
    done = run("--help")
    assert done.returncode == 0
    for word in ("--model", "--hidden_size", "--reg_weight", "--refit", "properties/model", "examples:"):
        assert word in done.stdout
    code = "import sys; from recbole_autorec import cli\ntry: cli.main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout.endswith(
        "False\n"
    )


@pytest.mark.parametrize(
    ("shell", "expected"),
    [(None, "python run.py --seed 1"), (SimpleNamespace(), "python run.py --seed 1"), (SimpleNamespace(kernel=1), "")],
    ids=["Python", "IPython", "notebook"],
)
def test_a_notebook_has_no_command_to_repeat(shell, expected, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(sys, "argv", ["run.py", "--seed", "1"])
    assert invocation.command() == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_waiting_threads_hardly_spin_unless_the_user_says_otherwise(given, expected):
    code = "import os, sys, recbole_autorec; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    ours = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    variables = {name: value for name, value in os.environ.items() if name not in ours} | given
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=variables)
    assert done.stdout.split() == [expected, "False"]  # torch reads it when it is loaded


def test_training_does_not_import_ray():
    code = "import sys, recbole_autorec.quick_start; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize("how", [["run_recbole_autorec.py"], ["-m", "recbole_autorec"]])
@pytest.mark.parametrize("version", [(2, 7, 18), (3, 9, 1), (3, 15, 0)])
def test_an_unsupported_python_is_refused_readably(version, how, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.version_info = {version}")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, *how], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: recbole_autorec needs Python 3.10 to 3.14; this is {version[0]}.{version[1]}. In a checkout, choose "
        "one: make run PYTHON=python3.12\n"
    )


def test_what_an_old_python_reads_first_it_can_parse():
    """The grammar of Python 2.7 has no annotations, no f-strings, no unpacking in displays."""
    tree = ast.parse((ROOT / "recbole_autorec" / "__init__.py").read_text())
    newer = (ast.JoinedStr, ast.AnnAssign, ast.Starred, ast.NamedExpr, ast.Match)
    starred = [
        call
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and any(isinstance(a, ast.Starred) for a in call.args)
    ]
    inside = {id(argument) for call in starred for argument in call.args}
    assert not [node for node in ast.walk(tree) if isinstance(node, newer) and id(node) not in inside]
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.arg) and node.annotation]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "RecBole is not installed: pip install recbole-autorec, or in a checkout pip install ."),
        ("1.1.1", "RecBole 1.1.1 is installed; RecBole 1.2 is needed: pip install 'recbole>=1.2,<1.3'"),
        ("2.0.0", "RecBole 2.0.0 is installed; RecBole 1.2 is needed: pip install 'recbole>=1.2,<1.3'"),
    ],
)
def test_another_recbole_is_one_sentence(found, message, tmp_path):
    (tmp_path / "recbole").mkdir()
    line = "raise ModuleNotFoundError('gone', name='recbole')" if found is None else f"__version__ = {found!r}"
    (tmp_path / "recbole" / "__init__.py").write_text(line)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for verb in ([], ["compare"], ["tune"], ["predict", "--checkpoint", "x", "--input", "y"]):
        command = [sys.executable, "-m", "recbole_autorec", *verb]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
        assert (done.returncode, done.stderr) == (2, f"error: {message}\n")
    code = "import recbole_autorec; recbole_autorec.Predictor"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.stderr.splitlines()[-1] == f"recbole_autorec.errors.ConfigError: {message}"


def test_a_missing_package_is_one_sentence(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['torch'] = None")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "recbole_autorec"], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert (done.returncode, done.stderr) == (
        2,
        "error: the package 'torch' is not installed: pip install recbole-autorec, or in a checkout pip install .\n",
    )


def test_it_is_called_as_a_module():
    command = [sys.executable, "-m", "recbole_autorec"]
    help_text = subprocess.run([*command, "--help"], capture_output=True, text=True, cwd=ROOT).stdout
    assert help_text.startswith("usage: python -m recbole_autorec [options]")
    assert "python -m recbole_autorec --dataset ml-100k" in help_text
    done = subprocess.run(
        [*command, *QUICK, "--output", "out"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(Path("out/result.json").read_text())["command"].startswith(
        "python -m recbole_autorec --dataset tiny"
    )


def test_state_makes_a_run_quieter():
    done = run(*QUICK, "--state", "WARNING")
    assert (done.returncode, done.stderr) == (0, "")
    assert "RMSE" in done.stdout
