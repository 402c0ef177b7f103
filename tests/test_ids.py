"""Ids stay text, even if a column looks like numbers, dates, booleans or missing values."""

import csv
import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_autorec import DataError, Predictor, convert, run_recbole_autorec
from recbole_autorec.data import dataset as dataset_module
from recbole_autorec.data.dataset import RatingDataset
from recbole_autorec.quick_start import build_model, load_and_split, quiet_recbole
from recbole_autorec.reading import separated
from recbole_autorec.serving.batch import predict_file, recommend_to
from tests.conftest import QUICK, config_for

SEVEN = ["01", "1", "1.0", "true", "nan", "NA", "1e3"]
FORMATS = ["csv", "tsv", "jsonl", "parquet", "csv.gz", "zip"]

numbers = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.builds("{}{}".format, st.sampled_from(["0", "00", "+", "-0"]), st.integers(0, 99)),
    st.floats(allow_nan=False).map(repr),
    st.sampled_from(["1.", "1.0", ".5", "0.50", "1e3", "1E3", "1000", "1_000", "0x10", "inf", "-inf", "Infinity"]),
)
truths = st.sampled_from(["true", "True", "TRUE", "tRUE", "false", "False", "FALSE", "fALSE"])
missing = st.sampled_from(
    ["nan", "NaN", "-nan", "NA", "N/A", "n/a", "<NA>", "null", "NULL", "None", "#N/A", "#NA", "-"]
)
dates = st.one_of(
    st.dates().map(str), st.sampled_from(["2020-1-1", "1/2/2020", "01/02/2020", "20200101", "2020-01-01T00:00:00"])
)
KINDS = {"numbers": numbers, "truths": truths, "missing": missing, "dates": dates}
columns = st.one_of(
    *(st.lists(kind, min_size=2, max_size=6, unique=True) for kind in KINDS.values()),
    st.lists(st.one_of(*KINDS.values()), min_size=2, max_size=10, unique=True),
)
often = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def write(path: Path, names: list[str], rows: list[tuple]) -> str:
    """Write `rows` in the format of the file's name."""
    suffix = path.name.partition(".")[2]
    if suffix == "parquet":
        pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra tune)")
        from pyarrow import parquet

        parquet.write_table(pyarrow.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), path)
        return str(path)
    plain = path if suffix in ("csv", "tsv", "jsonl") else path.with_name("plain.csv")
    with plain.open("w", newline="", encoding="utf-8") as file:
        if suffix == "jsonl":
            file.writelines(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
        else:
            csv.writer(file, delimiter="\t" if suffix == "tsv" else ",").writerows([names, *rows])
    if suffix == "csv.gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
    elif suffix == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(plain, "ratings.csv")
    return str(path)


def ratings_by(users: list[str], items: list[str]) -> list[tuple[str, str, int]]:
    return [(user, item, 1 + (a + b) % 5) for a, user in enumerate(users) for b, item in enumerate(items)]


def written_ids(folder: Path, column: int) -> list[str]:
    lines = (folder / f"{folder.name}.inter").read_text(encoding="utf-8").splitlines()[1:]
    return [line.split("\t")[column] for line in lines]


@pytest.mark.parametrize("suffix", FORMATS)
@often
@given(users=columns, items=columns)
def test_convert_finds_the_ids_again(suffix, tmp_path_factory, users, items):
    folder = tmp_path_factory.mktemp("ids")
    rows = ratings_by(users, items)
    path = write(folder / f"a.{suffix}", ["user", "item", "rating"], rows)
    convert(path, "toy", folder / "data", show_progress=False)
    assert written_ids(folder / "data" / "toy", 0) == [user for user, _, _ in rows]
    assert written_ids(folder / "data" / "toy", 1) == [item for _, item, _ in rows]


@pytest.mark.parametrize("part", [3, 1 << 24])
@often
@given(users=columns, items=columns)
def test_the_dataset_has_the_ids_of_the_inter_file(part, tmp_path_factory, users, items):
    folder = tmp_path_factory.mktemp("ids")
    (folder / "toy").mkdir()
    rows = ratings_by(users, items)
    lines = ["user_id:token\titem_id:token\trating:float", *(f"{user}\t{item}\t{stars}" for user, item, stars in rows)]
    (folder / "toy" / "toy.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, quiet_recbole():
        patch.setattr(dataset_module, "PART", part)  # also read the file in several parts
        data = RatingDataset(config_for("GlobalMean", "toy", data_path=str(folder)))
    assert list(data.field2id_token["user_id"]) == ["[PAD]", *users]
    assert list(data.field2id_token["item_id"]) == ["[PAD]", *items]
    names = data.field2id_token["user_id"], data.field2id_token["item_id"]
    found = zip(*(data.inter_feat[field] for field in ("user_id", "item_id", "rating")), strict=True)
    assert [(names[0][user], names[1][item], stars) for user, item, stars in found] == rows


def test_ids_that_are_numbers_are_read_fast_and_once(monkeypatch, tmp_path):
    """They are not read again, nor line by line, unlike ids that pandas does not take for text."""
    calls, read_csv = [], pd.read_csv
    monkeypatch.setattr(
        pd, "read_csv", lambda *arguments, **keywords: calls.append(1) or read_csv(*arguments, **keywords)
    )
    monkeypatch.setattr(separated, "_line_by_line", None)
    numbers = ["1", "01", "1.0", "2e3"]
    convert(write(tmp_path / "a.csv", ["user", "item", "rating"], ratings_by(numbers, numbers)), "toy", "data")
    assert len(calls) == 1
    with quiet_recbole():
        RatingDataset(config_for("GlobalMean", "toy", data_path="data"))
    assert len(calls) == 2


@pytest.fixture
def predictor(tmp_path):
    """A predictor of seven users and seven items, converted from csv and trained."""
    rows = [row for row in ratings_by(SEVEN, SEVEN) if row[0] != row[1]]  # leaves everyone an item to recommend
    convert(write(tmp_path / "a.csv", ["user", "item", "rating"], rows), "seven", "data", show_progress=False)
    parameters = {**QUICK, "saved": True, "epochs": 1, "data_path": "data", "refit": True}
    result = run_recbole_autorec("UAutoRec", "seven", config_dict=parameters)
    return result["checkpoint"]


def test_training_knows_seven_users(predictor):
    loaded = Predictor.load(predictor)
    assert sorted(loaded.users) == sorted(SEVEN)
    assert sorted(loaded.items) == sorted(SEVEN)


@pytest.mark.parametrize("suffix", FORMATS)
def test_predict_answers_for_the_ids_that_are_asked_for(predictor, tmp_path, suffix):
    pairs = [(user, item) for user in SEVEN for item in SEVEN]
    predict_file(predictor, write(tmp_path / f"pairs.{suffix}", ["user", "item"], pairs), "answer.jsonl")
    answers = [json.loads(line) for line in Path("answer.jsonl").read_text().splitlines()]
    assert [(answer["user"], answer["item"]) for answer in answers] == pairs
    assert not any("unknown" in answer["note"] for answer in answers)
    expected = Predictor.load(predictor).predict(*map(list, zip(*pairs, strict=True)))
    np.testing.assert_allclose([answer["rating"] for answer in answers], expected, atol=6e-5)


def test_recommend_tells_the_seven_apart(predictor, tmp_path):
    recommend_to(predictor, ",".join(SEVEN), 7, "answer.csv")
    with Path("answer.csv").open() as file:
        assert list(dict.fromkeys(row["user"] for row in csv.DictReader(file))) == SEVEN
    new = write(
        tmp_path / "new.csv", ["user", "item", "rating"], [("True", "01", 5), ("1.00", "1", 2), ("NaN", "1.0", 4)]
    )
    recommend_to(predictor, None, 7, "new.csv", new)
    with Path("new.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(dict.fromkeys(row["user"] for row in rows)) == ["True", "1.00", "NaN"]
    assert {row["item"] for row in rows if row["user"] == "True"} == set(SEVEN) - {"01"}


def features(tmp_path) -> tuple[RatingDataset, list[RatingDataset], object]:
    """Return a dataset whose .item and .user files lack values of every type, its parts, and the config."""
    folder = tmp_path / "data" / "toy"
    folder.mkdir(parents=True)
    items, users = ["i0", "NA", "nan", "01", "i4"], [f"u{number}" for number in range(8)]
    lines = [f"{user}\t{item}\t{stars}" for user, item, stars in ratings_by(users, items)]
    (folder / "toy.inter").write_text("\n".join(["user_id:token\titem_id:token\trating:float", *lines]) + "\n")
    (folder / "toy.item").write_text(
        "item_id:token\tyear:float\tkind:token\tgenres:token_seq\tshares:float_seq\n"
        "i0\t1990\ta\tx y\t0.5 0.25\n"
        "NA\t\tb\t\t1\n"
        "nan\t2000\t\ty\t\n"
        "01\t2010\ta\tz y x\t2 3 4\n"
    )
    (folder / "toy.user").write_text("user_id:token\tage:float\n" + "".join(f"u{n}\t{n or ''}\n" for n in range(7)))
    config = config_for(
        "FM",
        "toy",
        data_path=str(tmp_path / "data"),
        features=True,
        numerical_features=["year", "shares"],
        filter_inter_by_user_or_item=False,
    )
    with quiet_recbole():
        return *load_and_split(config), config


def test_missing_features_are_filled(tmp_path):
    data, parts, config = features(tmp_path)
    items, users = data.item_feat, data.user_feat
    assert list(data.field2id_token["item_id"]) == ["[PAD]", "i0", "NA", "nan", "01", "i4"]
    mean = 2000.0  # of 1990, 2000 and 2010
    assert items["year"][:, 0].tolist() == [mean, 1990, mean, 2000, 2010, mean]  # [PAD] and i4 have no line
    kinds = data.field2id_token["kind"]
    assert [kinds[number] for number in items["kind"]] == ["[PAD]", "a", "b", "[PAD]", "a", "[PAD]"]
    genres = data.field2id_token["genres"]
    assert [[str(genres[number]) for number in row if number] for row in items["genres"]] == [
        [], ["x", "y"], [], ["y"], ["z", "y", "x"], [],
    ]  # fmt: skip
    assert items["shares"][:, :, 0].tolist() == [[0, 0, 0], [0.5, 0.25, 0], [1, 0, 0], [0, 0, 0], [2, 3, 4], [0, 0, 0]]
    assert users["age"].tolist() == [3.5, 3.5, 1, 2, 3, 4, 5, 6, 3.5]  # the mean of 1 to 6
    model = build_model(config, parts[0])
    assert np.isfinite(model.predict(parts[2].join(parts[2].inter_feat)).detach().numpy()).all()


@pytest.mark.parametrize("header", ["item_id:token\tyear:int", "item_id:token\tyear"])
def test_a_type_that_features_cannot_have_is_named(tmp_path, write_dataset, header):
    path = write_dataset([f"{user}\t{item}\t{stars}" for user, item, stars in ratings_by(["u", "v"], ["i", "j", "k"])])
    Path(path, "toy", "toy.item").write_text(f"{header}\ni\t1990\n")
    with pytest.raises(
        DataError, match=r"^toy\.item: column '.*'; expected type token, float, token_seq, float_seq\.$"
    ):
        RatingDataset(config_for("FM", "toy", data_path=path, features=True))


@pytest.mark.parametrize(
    ("kind", "cell", "expected"), [("float", "about 1990", "a number"), ("float_seq", "1990 x", "numbers")]
)
def test_a_feature_that_is_no_number_is_named(tmp_path, write_dataset, kind, cell, expected):
    path = write_dataset([f"{user}\t{item}\t{stars}" for user, item, stars in ratings_by(["u", "v"], ["i", "j", "k"])])
    Path(path, "toy", "toy.item").write_text(f"item_id:token\tyear:{kind}\ni\t1990\nj\t{cell}\n")
    with pytest.raises(DataError, match=rf"^toy\.item line 3: year='{cell}'; expected {expected}\.$"):
        RatingDataset(config_for("FM", "toy", data_path=path, features=True))


@pytest.mark.skipif(pd.__version__ >= "3", reason="RecBole's own Dataset does not read them with pandas 3")
def test_features_are_what_recbole_reads_with_pandas_2(tmp_path):
    from recbole.data.dataset import Dataset

    data, _, config = features(tmp_path)
    for file in ("toy.item", "toy.inter"):
        path = tmp_path / "data" / "toy" / file
        path.write_text(path.read_text().replace("NA\t", "n1\t").replace("nan\t", "n2\t"))  # missing to RecBole
    with quiet_recbole():
        theirs = Dataset(config)
        theirs._change_feat_format()
    for ours, other in ((data.item_feat, theirs.item_feat), (data.user_feat, theirs.user_feat)):
        for field in ours.interaction:
            assert ours[field].tolist() == other[field].tolist(), field
