from pathlib import Path

import pytest
import recbole
import torch
from recbole.data.dataset import Dataset

from recbole_autorec import DataError, run_recbole_autorec
from recbole_autorec.data import dataset as dataset_module
from recbole_autorec.data.dataset import RatingDataset, merge, split_fingerprint
from recbole_autorec.quick_start import quiet_recbole
from tests.conftest import DATA, config_for, tiny_parts

GOOD = [f"u{u}\ti{i}\t{1 + (u + i) % 5}" for u in range(8) for i in range(6)]


def load(data_path, name="toy", **parameters):
    return tiny_parts(config_for(dataset=name, data_path=data_path, **parameters))


def message(*arguments, **parameters) -> str:
    with pytest.raises(DataError) as caught:
        load(*arguments, **parameters)
    return str(caught.value)


def test_ratings_are_read_as_they_stand(write_dataset):
    data, parts = load(write_dataset(["007\ta b\t-1.5", '7\t"q\t0', "x\tnan\t5", *GOOD]))
    assert data.n_duplicates == 0
    assert sum(map(len, parts)) == len(GOOD) + 3
    assert {"007", "7", "x"} <= set(data.field2id_token["user_id"])  # ids are text
    assert {'"q', "nan", "a b"} <= set(data.field2id_token["item_id"])
    ratings = torch.cat([part.inter_feat["rating"] for part in parts])
    assert {-1.5, 0.0, 5.0} <= set(ratings.tolist())


def test_unknown_dataset_says_what_there_is(write_dataset):
    data = write_dataset(GOOD)
    assert message(data, "nope") == (
        f"dataset 'nope': no file '{data}/nope/nope.inter'; datasets in '{data}': toy; ml-100k comes with RecBole. "
        f"Create it: recbole-autorec convert --input FILE --name nope --data_path {data}, or give another --data_path."
    )


def test_empty_data_folder(tmp_path):
    assert message(str(tmp_path), "nope") == (
        f"dataset 'nope': no file '{tmp_path}/nope/nope.inter'; datasets in '{tmp_path}': none; ml-100k "
        f"comes with RecBole. Create it: recbole-autorec convert --input FILE --name nope --data_path {tmp_path}, "
        "or give another --data_path."
    )


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ("u1\ti9\tgood", "toy.inter line 4: rating='good'; expected a finite number."),
        ("u1\ti9\t", "toy.inter line 4: rating=''; expected a finite number."),
        ("u1\ti9\tnan", "toy.inter line 4: rating='nan'; expected a finite number."),
        ("u1\ti9\tinf", "toy.inter line 4: rating='inf'; expected a finite number."),
        ("u1\ti9\tx\nu2\ti9\ty", "toy.inter line 4: rating='x'; expected a finite number (2 such lines)."),
        ("\ti9\t3", "toy.inter line 4: user_id=''; expected an id."),
        ("u1\t\t3", "toy.inter line 4: item_id=''; expected an id."),
    ],
)
def test_a_bad_line_is_named(write_dataset, bad, expected):
    assert message(write_dataset([*GOOD[:2], bad, *GOOD[2:]])) == expected


def test_a_line_with_too_many_fields(write_dataset):
    assert message(write_dataset([*GOOD[:2], "a\tb\t3\t4", *GOOD])) == (
        "toy.inter line 4: 4 fields with separator '\\t'; the header has 3."
    )
    assert message(write_dataset(["a\tb\t3\t4"] * 3)) == (
        "toy.inter line 2: more fields than the header 'user_id:token\\titem_id:token\\trating:float'."
    )


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("user_id:token\titem_id:token\tstars:float", "toy.inter: no column 'rating' in the header 'user_id:token\\titem_id:token\\tstars:float'; expected 'user_id:token', 'item_id:token', 'rating:float'."),
        ("user_id:token\titem_id:token\trating:token", "toy.inter: column 'rating:token'; expected 'rating:float'."),
        ("user_id:float\titem_id:token\trating:float", "toy.inter: column 'user_id:float'; expected 'user_id:token'."),
        ("user_id:token\titem_id:token\trating:float\ttimestamp:token", "toy.inter: column 'timestamp:token'; expected 'timestamp:float', or leave it out of load_col."),
        ("user_id:token\titem_id:token\titem_id:token", "toy.inter: duplicate column in the header 'user_id:token\\titem_id:token\\titem_id:token'."),
    ],
)  # fmt: skip
def test_a_bad_header_is_quoted(write_dataset, header, expected):
    assert message(write_dataset(GOOD, header)) == expected


def test_rating_column_not_loaded(write_dataset):
    assert message(write_dataset(GOOD), load_col={"inter": ["user_id", "item_id"]}) == (
        "dataset 'toy': field 'rating' is not loaded; add it to load_col: {inter: [user_id, item_id, rating]}."
    )


def test_one_single_rating_value(write_dataset):
    assert message(write_dataset([f"u{k}\ti{k % 7}\t1" for k in range(40)])) == (
        "dataset 'toy': every rating is 1; expected explicit ratings with at least two different values. For clicks or "
        "purchases, use RecBole's ranking models."
    )


def test_one_single_rating_value_in_the_train_part(write_dataset):
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    path = write_dataset([f"u{k}\ti{k % 7}\t{3 if k < 39 else 5}\t{k}" for k in range(40)], header)
    assert message(path, eval_args={"order": "TO"}) == (
        "dataset 'toy': every rating in the train part is 3; there is nothing to learn. Use another --seed, set "
        "other shares in eval_args, or give more data."
    )


def test_no_rating_at_all(write_dataset):
    assert message(write_dataset([])) == "dataset 'toy': it contains no ratings; give more data."


def test_one_rating_only(write_dataset):
    assert message(write_dataset(["a\tb\t1"])) == "dataset 'toy': it contains only one rating; give more data."


def test_an_empty_part_of_the_split(write_dataset):
    assert message(write_dataset(["a\tb\t1", "c\td\t2"])) == (
        "dataset 'toy': the valid part of the split is empty (2 ratings in all); set other shares in eval_args, or give more data."
    )
    one_each = write_dataset([f"u{k}\ti{k}\t{k}" for k in range(5)])
    assert message(one_each, eval_args={"split": {"LS": "valid_and_test"}}) == (
        "dataset 'toy': the valid part of the split is empty (5 ratings in all); set another split in eval_args, or give more data."
    )


def test_order_by_time_without_times(write_dataset):
    assert message(write_dataset(GOOD), eval_args={"order": "TO"}) == (
        "dataset 'toy': eval_args need ratings in order of time, but there is no column 'timestamp:float'; use order RO, or "
        "name the column with --TIME_FIELD."
    )


def test_ranking_deeper_than_the_items():
    ranking = {"metrics": ["NDCG"], "eval_args": {"mode": "full"}}
    assert message(str(DATA), "tiny", valid_metric="NDCG@10", topk=[2, 10], **ranking) == (
        "dataset 'tiny': topk=[2, 10], but there are only 6 items; give a smaller topk."
    )
    assert load(str(DATA), "tiny", valid_metric="NDCG@5", topk=[5], **ranking)
    assert "there are only 6 items" in message(str(DATA), "tiny", valid_metric="NDCG@7", topk=[7], **ranking)


@pytest.mark.parametrize(("keep", "rating"), [("last", 5.0), ("first", 1.0)])
def test_a_pair_rated_twice_counts_once(write_dataset, caplog, keep, rating):
    data, parts = load(write_dataset(["z\tz\t1", *GOOD, "z\tz\t5"]), rm_dup_inter=keep)
    assert data.n_duplicates == 1
    assert caplog.messages == [
        f"dataset 'toy': 1 repeated rating dropped; each pair of user and item keeps its {keep} one in the file."
    ]
    user = data.field2token_id["user_id"]["z"]
    assert [
        r
        for part in parts
        for u, r in zip(part.inter_feat["user_id"], part.inter_feat["rating"], strict=True)
        if u == user
    ] == [rating]


def test_the_last_rating_is_the_latest_where_there_are_times(write_dataset, caplog):
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    lines = ["a\tb\t1\t99", *[f"{line}\t5" for line in GOOD], "a\tb\t5\t7"]
    data, parts = load(write_dataset(lines, header))
    assert "keeps its last one by time" in caplog.text
    user = data.field2token_id["user_id"]["a"]
    assert [
        r
        for part in parts
        for u, r in zip(part.inter_feat["user_id"], part.inter_feat["rating"], strict=True)
        if u == user
    ] == [1.0]


def test_ready_made_split_is_used_and_checked(write_dataset):
    for name, lines in (("train", GOOD[:30]), ("valid", GOOD[30:40]), ("test", GOOD[40:])):
        path = write_dataset(lines, name=f"toy.{name}")
    from pathlib import Path

    folder = Path(path) / "toy"
    folder.mkdir()
    for name in ("train", "valid", "test"):
        (Path(path) / f"toy.{name}" / f"toy.{name}.inter").rename(folder / f"toy.{name}.inter")
    names = ["train", "valid", "test"]
    _, parts = load(path, benchmark_filename=names)
    assert [len(part) for part in parts] == [30, 10, 8]
    with (folder / "toy.test.inter").open("a") as file:
        file.write(GOOD[0] + "\n")
    assert message(path, benchmark_filename=names) == (
        "dataset 'toy': 1 repeated user-item pair in the files of benchmark_filename ['train', 'valid', 'test']; "
        "keep each pair once, in one file."
    )


def test_split_is_the_papers_and_depends_on_the_seed_only():
    parts = {}
    for seed, model in ((1, "IAutoRec"), (1, "UAutoRec"), (2, "IAutoRec")):
        torch.rand(seed * 7)  # earlier draws must not matter
        parts[seed, model] = load(str(DATA), "tiny", model=model, seed=seed)[1]
    sizes = [len(part) for part in parts[1, "IAutoRec"]]
    assert sizes == [41, 4, 5]  # 81, 9 and 10 % of 50
    prints = {key: split_fingerprint(value) for key, value in parts.items()}
    assert prints[1, "IAutoRec"] == prints[1, "UAutoRec"] != prints[2, "IAutoRec"]


@pytest.mark.parametrize(
    ("eval_args", "sizes"),
    [
        ({"split": {"RS": [5, 1, 2]}}, [30, 6, 12]),  # shares need not add up to 1
        ({"split": {"RS": [0.5, 0.25, 0.25]}}, [24, 12, 12]),
        ({"split": {"RS": [4, 1, 1]}, "group_by": "user"}, [32, 8, 8]),
        ({"split": {"KF": [1, 5]}}, [36, 3, 9]),  # 48 ratings: a fold is 9 or 10, validation a tenth of the others
        ({"split": {"KF": [5, 5]}}, [35, 3, 10]),
        ({"split": {"KF": [8, 8]}}, [38, 4, 6]),
    ],
)
def test_parts_have_their_shares_and_every_rating_is_in_one(write_dataset, eval_args, sizes):
    data, parts = load(write_dataset(GOOD), eval_args=eval_args)
    assert [len(part) for part in parts] == sizes
    frames = [part.inter_feat for part in parts]
    found = [
        f"{data.id2token('user_id', user)}\t{data.id2token('item_id', item)}\t{rating:g}"
        for frame in frames
        for user, item, rating in zip(*(frame[key].tolist() for key in ("user_id", "item_id", "rating")), strict=True)
    ]
    assert sorted(found) == sorted(GOOD)
    assert found != GOOD  # they are drawn
    if "group_by" in eval_args:
        assert [torch.bincount(frame["user_id"])[1:].tolist() for frame in frames] == [[4] * 8, [1] * 8, [1] * 8]


def test_fingerprint_sees_every_rating_and_its_part_but_not_the_order():
    train, valid, test = load(str(DATA), "tiny")[1]
    before = split_fingerprint([train, valid, test])
    assert len(before) == 16
    train.inter_feat.shuffle()
    assert split_fingerprint([train, valid, test]) == before
    assert split_fingerprint([train, test, valid]) != before
    for column in ("rating", "item_id", "user_id"):
        train.inter_feat[column][3] += 1
        assert split_fingerprint([train, valid, test]) != before
        train.inter_feat[column][3] -= 1
    assert split_fingerprint([train, valid, test]) == before


def test_merge_has_both_parts():
    train, valid, _ = load(str(DATA), "tiny")[1]
    both = merge(train, valid)
    assert len(both) == len(train) + len(valid)
    assert len(train) == 41  # untouched


@pytest.mark.parametrize("part", [1, 7, 1 << 22])
def test_a_file_read_in_parts_is_recboles_dataset(write_dataset, part, monkeypatch):
    monkeypatch.setattr(dataset_module, "PART", part)
    path = write_dataset([*GOOD[:9], "", *GOOD[9:]])
    config = config_for("IAutoRec", "toy", data_path=path)
    with quiet_recbole():
        ours, theirs = RatingDataset(config), Dataset(config)
    for field in ("user_id", "item_id", "rating"):
        assert (ours.inter_feat[field].to_numpy() == theirs.inter_feat[field].to_numpy()).all()
    for field in ("user_id", "item_id"):
        assert (ours.field2id_token[field] == theirs.field2id_token[field]).all()
        assert ours.field2token_id[field] == theirs.field2token_id[field]
    parts = ours.build()
    theirs.inter_feat = ours.inter_feat
    for one, other in zip(parts, Dataset.split_by_ratio(theirs, [0.81, 0.09, 0.1]), strict=True):
        assert torch.equal(one.inter_feat["rating"], other.inter_feat["rating"])
        assert torch.equal(one.inter_feat["user_id"], other.inter_feat["user_id"])


def test_a_bad_line_in_a_later_part_is_named(write_dataset, monkeypatch):
    monkeypatch.setattr(dataset_module, "PART", 4)
    assert message(write_dataset([*GOOD[:9], "a\tb\tthree", "a\tb\tfour", "c\td\tfive", "c\te\tfive"])) == (
        "toy.inter line 11: rating='three'; expected a finite number (3 such lines so far)."
    )


def test_columns_that_are_not_loaded_may_be_anything(write_dataset):
    header = "user_id:token\titem_id:token\trating:float\ttags:token_seq\tx:int"
    lines = [f"{line}\ta b\t7" for line in GOOD]
    assert sum(map(len, load(write_dataset(lines, header))[1])) == len(GOOD)
    assert message(write_dataset([*lines, "NA\ti0\t\t\t"], header)) == (
        f"toy.inter line {len(lines) + 2}: rating=''; expected a finite number."
    )
    everything = {"inter": ["user_id", "item_id", "rating", "tags"]}
    assert message(write_dataset(lines, header), load_col=everything) == (
        "toy.inter: column 'tags:token_seq'; expected 'tags:token or float', or leave it out of load_col."
    )


def test_a_time_that_is_no_number_is_named(write_dataset):
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    assert message(write_dataset([*[f"{line}\t1" for line in GOOD], "a\tb\t1\t2020-01-01"], header)) == (
        f"toy.inter line {len(GOOD) + 2}: timestamp='2020-01-01'; expected a finite number (convert turns dates into numbers)."
    )


def test_blank_lines_are_passed_over_and_counted(write_dataset):
    assert sum(map(len, load(write_dataset([*GOOD[:3], "", *GOOD[3:], ""]))[1])) == len(GOOD)
    assert (
        message(write_dataset([*GOOD[:3], "", "", "a\tb\tx"]))
        == "toy.inter line 7: rating='x'; expected a finite number."
    )


def test_encodings(write_dataset, tmp_path):
    path = write_dataset([*GOOD, "caf\u00e9\ti0\t3"])
    file = tmp_path / "data" / "toy" / "toy.inter"
    text = file.read_text(encoding="utf-8")
    file.write_text(text, encoding="utf-8-sig")  # a byte order mark
    assert "caf\u00e9" in load(path)[0].field2token_id["user_id"]
    file.write_text(text, encoding="latin-1")
    assert "caf\u00e9" in load(path, encoding="latin-1")[0].field2token_id["user_id"]
    assert message(path) == "toy.inter: the byte 0xe9 is not valid utf-8; give the right --encoding, such as cp1252."
    assert message(path, encoding="latinn") == (
        "toy.inter: unknown encoding 'latinn'; expected one that Python has, such as utf-8 or cp1252."
    )


def test_what_recbole_refuses_is_said_with_the_datasets_name(write_dataset):
    assert message(write_dataset(GOOD), val_interval={"rating": "[6,inf)"}) == (
        "dataset 'toy': RecBole rejects it: Some feat is empty, please check the filtering settings."
    )


@pytest.mark.parametrize(
    ("user_interval", "item_interval", "there"),
    [
        ("[0,inf)", "[0,inf)", (9, 7, 8)),
        ("[2,inf)", "[0,inf)", (8, 6, 8)),
        ("[0,inf)", "[1,inf)", (9, 7, 7)),  # i9 is in the .item file only
        ("[0,6]", "[0,8)", (1, 1, 2)),
        (None, "[0,8);(8,inf)", (1, 1, 2)),
    ],
)
def test_users_and_items_of_too_few_or_too_many_ratings_go(write_dataset, user_interval, item_interval, there):
    path = write_dataset([*GOOD, "once\trare\t3"])
    titles = [f"{name}\tTitle" for name in ("i0", "i1", "i2", "i3", "i4", "i5", "rare", "i9")]
    Path(path, "toy", "toy.item").write_text("\n".join(["item_id:token\ttitle:token", *titles]) + "\n")
    columns = {"inter": ["user_id", "item_id", "rating"], "item": ["item_id", "title"]}
    config = config_for(
        dataset="toy", data_path=path, user_inter_num_interval=user_interval, item_inter_num_interval=item_interval,
        load_col=columns,
    )  # fmt: skip
    with quiet_recbole():
        for data in (RatingDataset(config), Dataset(config)):
            rated = [len(set(data.inter_feat[field])) for field in ("user_id", "item_id")]
            assert (*rated, len(data.item_feat) - 1) == there


def test_split_by_time_is_by_time(write_dataset):
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    lines = [f"{line}\t{(37 * number) % 48}" for number, line in enumerate(GOOD)]
    for split in ({"TS": [0.8, 0.1, 0.1]}, {"RS": [0.8, 0.1, 0.1]})[recbole.__version__ == "1.2.0" :]:
        _, parts = load(write_dataset(lines, header), eval_args={"split": split, "order": "TO"})
        times = [part.inter_feat["timestamp"] for part in parts]
        assert times[0].max() < times[2].min()


@pytest.mark.parametrize("place", [0, 7, 35])
@pytest.mark.parametrize("rating", ["1e16", "-1e16", "1e39", "1e300"])
def test_ratings_too_large_for_single_precision_are_named_by_line(write_dataset, rating, place):
    lines = [f"u{u}\ti{i}\t{1 + (u * i) % 5}" for u in range(6) for i in range(6)]
    lines[place] = lines[place].rpartition("\t")[0] + f"\t{rating}"
    with pytest.raises(DataError) as caught:
        load(write_dataset(lines))
    assert str(caught.value).startswith(f"toy.inter line {place + 2}: rating=")
    assert str(caught.value).endswith("; expected a rating from -1e+15 to 1e+15: use another unit.")


@pytest.mark.parametrize(("times", "plus"), [(1e-5, 0), (1e-30, 0), (1, 1e7), (1e-3, 1e3)])
def test_ratings_that_hardly_differ_are_refused(write_dataset, times, plus):
    lines = [f"u{u}\ti{i}\t{times * (1 + (u * i) % 5) + plus!r}" for u in range(6) for i in range(6)]
    with pytest.raises(
        DataError, match=r"^dataset 'toy': its ratings range only from \S+ to \S+, a difference lost in "
    ):
        load(write_dataset(lines))


@pytest.mark.parametrize(("times", "plus"), [(1e-3, 0), (1, 1e5), (2e14, 0), (-2e14, 0)])
def test_any_other_ratings_are_trained_on_and_their_error_is_finite(write_dataset, times, plus):
    lines = [f"u{u}\ti{i}\t{times * (1 + (u * i + u) % 5) + plus!r}" for u in range(12) for i in range(12)]
    settings = {"data_path": write_dataset(lines), "saved": False, "epochs": 2, "show_progress": False}
    for model in ("IAutoRec", "Bias", "BiasedMF"):
        result = run_recbole_autorec(model, "toy", config_dict=settings)
        assert 0 < result["test"]["rmse"] / abs(times) < 3


def test_ratings_that_a_feature_file_lacks_the_item_of_are_counted_aloud(write_dataset, caplog):
    path = write_dataset([f"u{u}\ti{i}\t{1 + (u * i) % 5}" for u in range(6) for i in range(6)])
    for items, left in ((range(4), 24), (range(6), 36)):
        lines = ["item_id:token\tyear:token", *(f"i{i}\t19{i}" for i in items)]
        (Path(path) / "toy" / "toy.item").write_text("\n".join(lines) + "\n")
        caplog.clear()
        data, _ = load(path, features=True)
        assert data.inter_num == left
        said = [message for message in caplog.messages if "dropped" in message]
        assert said == [
            "dataset 'toy': 12 of 36 ratings dropped: their user or item is missing from the .user or .item file. "
            "--features False ignores these files instead."
        ] * (left < 36)
    (Path(path) / "toy" / "toy.item").write_text("item_id:token\tyear:token\nx\t1\n")
    with pytest.raises(DataError, match="files match no rating; do their ids differ"):
        load(path, features=True)
