"""Arguments of a Predictor: ids of any type, DataFrames, items unknown in training, candidates, ratings to evaluate on."""

import warnings

import numpy as np
import pandas as pd
import pytest

from recbole_autorec import DataError, Predictor, load_data_and_model, run_recbole_autorec
from tests.conftest import quick

USERS, ITEMS = [*range(1, 13)], [*range(101, 117)]
FALLBACK = pytest.mark.filterwarnings("ignore:.*predictions fall back")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return (result, data folder) of training on twelve users, sixteen items, and thirty users with one rating each."""
    folder = tmp_path_factory.mktemp("asked")
    (folder / "toy").mkdir()
    lines = [f"{user}\t{item}\t{1 + (user * item) % 5}" for user in USERS for item in ITEMS if (user + item) % 3]
    lines += [f"once{number}\t{ITEMS[number % 16]}\t3" for number in range(30)]
    text = "\n".join(["user_id:token\titem_id:token\trating:float", *lines]) + "\n"
    (folder / "toy" / "toy.inter").write_text(text)
    parameters = {**quick("IAutoRec"), "data_path": str(folder), "saved": True, "checkpoint_dir": str(folder)}
    return run_recbole_autorec("IAutoRec", "toy", config_dict=parameters), folder


@pytest.fixture
def predictor(trained):
    return Predictor.load(trained[0]["checkpoint"])


def silently(function, *arguments, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return function(*arguments, **keywords)


# Ids.


@pytest.mark.parametrize(
    "ids",
    [
        [1, 2, 1], ["1", " 2 ", "1"], [1.0, 2.0, 1.0], np.array([1, 2, 1], dtype=np.int32), np.array([1.0, 2.0, 1.0]),
        [np.float64(1), np.int64(2), np.str_("1")], np.array(["1", "2", "1"]), iter([1, 2, 1]), pd.Index([1, 2, 1]),
        pd.Series([1, 2, None]).fillna(1), pd.Series([1, 2, 1], dtype="Int64"), pd.Series(["1", "2", "1"], index=[7, 7, 7]),
        pd.Series([1.0, 2.0, 1.0], dtype="category"), pd.Series([1, "2", 1.0], dtype=object), pd.Categorical([1, 2, 1]),
    ],
    ids=lambda ids: f"{type(ids).__name__} {getattr(ids, 'dtype', '')}",
)  # fmt: skip
def test_ids_of_any_type_are_their_texts(predictor, ids):
    assert predictor._numbers("user", ids).tolist() == [1 + predictor.users.index(user) for user in ("1", "2", "1")]


@FALLBACK
def test_a_gap_in_a_column_of_numbers_is_an_unknown_user(predictor):
    users = pd.Series([1, None, 2])
    assert predictor.notes(users, 101) == predictor.notes(users.astype("Int64"), 101) == ["", "unknown user", ""]
    assert predictor.notes(users.astype("category"), 101) == ["", "unknown user", ""]
    assert predictor.notes([1.0, "1.0", None, float("nan"), pd.NA, True], 101) == ["", *["unknown user"] * 5]
    nobody, everybody = predictor.predict("nobody", 101), predictor.predict(users, 101)
    assert everybody.tolist() == [*predictor.predict(1, 101), *nobody, *predictor.predict(2.0, 101)]


def test_single_ids_of_any_type(predictor):
    for one in ("1", 1, 1.0, np.float64(1), np.int64(1)):
        pd.testing.assert_frame_equal(predictor.recommend(one, 3), predictor.recommend("1", 3))
        assert predictor.predict(one, 101) == predictor.predict("1", "101")
    pd.testing.assert_frame_equal(predictor.similar_items(101.0), predictor.similar_items("101"))
    with pytest.raises(DataError, match=r"^user 'nan' is unknown: no such id in the training data\.$"):
        predictor.recommend(float("nan"))
    with pytest.raises(DataError, match=r"^users <object object at .*>; expected an id, or a list of ids\.$"):
        predictor.predict(object(), 101)


# Fallbacks are reported.


def test_the_first_fallback_is_a_warning_and_strict_an_error(predictor, trained):
    assert len(silently(predictor.predict, [1, 2], 101)) == 2
    with pytest.warns(UserWarning, match="pairs") as caught:
        stars = predictor.predict(iter([1, "who", None]), iter([101, 102, "what"]))
    assert [str(each.message) for each in caught] == [
        "2 of 3 pairs without training ratings of the user or the item, first user 'who', item '102' (unknown user): "
        "they get fallback predictions. notes() tells which; strict=True refuses them."
    ]
    assert caught[0].filename == __file__
    assert silently(predictor.predict, "who", "102") == stars[1]  # reported only once
    with pytest.raises(DataError) as error:
        predictor.predict(1, ["x", 101, "y", "z", "last"], strict=True)
    assert str(error.value) == (
        "4 of 5 pairs without training ratings of the user or the item: user '1', item 'x' (unknown item); user '1', "
        "item 'y' (unknown item); user '1', item 'z' (unknown item). strict=False predicts the model's fallback."
    )
    predictor._rated["user"][predictor._number("user", 1)] = False
    with pytest.raises(DataError, match=r"user '1', item 'x' \(unrated user, unknown item\)"):
        predictor.predict(1, "x", strict=True)
    again = Predictor.load(trained[0]["checkpoint"])
    stars_and_notes = silently(again.predict_with_notes, ["who", 1], [101, 102])
    assert stars_and_notes[1] == again.notes(["who", 1], [101, 102]) == ["unknown user", ""]
    with pytest.warns(UserWarning, match="^1 of 2 pairs"):
        assert (stars_and_notes[0] == again.predict(["who", 1], [101, 102])).all()


# DataFrames.


@FALLBACK
@pytest.mark.parametrize(("user", "item"), [("userId", "movieId"), ("user_id:token", "item_id:token"), ("uid", "asin")])
def test_a_frame_has_users_and_items_by_name(predictor, user, item):
    frame = pd.DataFrame({"rating": 9, item: ITEMS[:10], "x": 1, user: [*USERS[:9], None]}, index=[*"aabbccddee"])
    for each in (frame, frame.astype({user: "category", item: "category"})):
        assert (predictor.predict(each) == predictor.predict(frame[user].tolist(), ITEMS[:10])).all()
        assert predictor.notes(each) == predictor.predict_with_notes(each)[1] == [*[""] * 9, "unknown user"]
    with pytest.raises(DataError, match=r"^1 of 10 pairs without .* user 'nan', item '110'"):
        predictor.predict(frame, strict=True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((pd.DataFrame({"who": [1], "item": [2]}),), "the DataFrame: no column for user in ['who', 'item']; rename columns, frame.rename(columns={'NAME': 'user'}), or leave some out, frame.drop(columns='NAME')."),
        ((pd.DataFrame({"user": [1], "itemId": [2], "movieId": [3]}),), "the DataFrame: two columns for item in ['user', 'itemId', 'movieId']; rename columns, frame.rename(columns={'NAME': 'item'}), or leave some out, frame.drop(columns='NAME')."),
        ((pd.DataFrame([[1, 2]]),), "the DataFrame: no column for user, no column for item in ['0', '1']; rename columns, frame.rename(columns={'NAME': 'user'}), or leave some out, frame.drop(columns='NAME')."),
        ((pd.DataFrame({"user": [1]}), [2]), "expected users, items, or one DataFrame with a column of each; got DataFrame and list."),
        (([1, 2],), "expected users, items, or one DataFrame with a column of each; got list."),
        ((np.ones((2, 2)), [1, 2]), "users array([[1., 1.], [1., 1.]]); expected an id, or a list of ids."),
    ],
)  # fmt: skip
def test_what_is_no_pair_of_ids_is_said(predictor, arguments, expected):
    with pytest.raises(DataError) as error:
        predictor.predict(*arguments)
    assert " ".join(str(error.value).split()) == expected


# New users and items.


@pytest.mark.parametrize(("fold", "known"), [("fold_in_user", ITEMS), ("fold_in_item", USERS)])
def test_ids_that_training_lacks_are_left_out_of_a_newcomers_ratings(predictor, fold, known):
    fold_in, kind = getattr(predictor, fold), {"fold_in_user": "item", "fold_in_item": "user"}[fold]
    unrated = known[5]
    predictor._rated[kind][predictor._number(kind, unrated)] = False
    expected = silently(fold_in, {known[0]: 5, known[1]: 1})
    ratings = {"what": 4, known[0]: 5, unrated: 2, known[1]: 1, float("nan"): 3}
    for given in (ratings, pd.Series(ratings)):
        with pytest.warns(UserWarning, match="ratings") as caught:
            new = fold_in(given)
        assert [str(each.message) for each in caught] == [
            f"3 of 5 ratings left out: no training rating of {kind} 'what' and others; see left_out. strict=True refuses them."
        ]
        assert caught[0].filename == __file__
        assert new.left_out == ["what", str(unrated), "nan"]
        assert (new.scores == expected.scores).all()
    assert expected.left_out == []
    assert (silently(fold_in, pd.Series([5, 1], index=[float(known[0]), known[1]])).scores == expected.scores).all()
    for strict, bad, message in (
        (True, {known[0]: 5, "what": 4}, f"^{kind} 'what' is unknown: no such id in the training data.$"),
        (True, {known[0]: 5, unrated: 4}, f"^{kind} '{unrated}' has no training rating; nothing is known about it.$"),
        (False, {"what": 4, "who": 3}, f"^{kind} 'what' is unknown: no such id in the training data.$"),
        (False, {"what": -1, known[0]: 5}, f"'s rating -1 of {kind} 'what'; expected 1 to 5.$"),
        (False, {known[0]: 3, float(known[0]) + 0.5: 3, str(known[0]): 4}, f"'s ratings name an? {kind} twice.$"),
        (False, pd.Series([], dtype=float), "needs ratings: give at least one, "),
    ):
        with pytest.raises(DataError, match=message):
            fold_in(bad, strict)


# Candidates.


def test_only_candidates_are_ranked_and_what_is_excluded_is_not(predictor):
    new = predictor.fold_in_user({101: 5, 102: 1})
    for recommend, seen in ((lambda *a, **k: predictor.recommend(1, *a, **k), None), (new.recommend, {"101", "102"})):
        whole = recommend(99)
        everything = whole["item"].tolist()
        assert seen is None or not seen & set(everything)
        some = [everything[3], everything[0], everything[1]]
        best = silently(recommend, 99, candidates=iter(some), exclude=[everything[0], "who", None])
        pd.testing.assert_frame_equal(best, whole.iloc[[1, 3]].reset_index(drop=True))
        assert silently(recommend, 1, exclude=everything[0])["item"].tolist() == [everything[1]]
        with pytest.warns(UserWarning, match="candidates") as caught:
            assert recommend(candidates=[int(everything[2]), "what", None])["item"].tolist() == [everything[2]]
        assert str(caught[0].message) == "2 of 3 candidates left out: no training rating of item 'what' and others."
        assert caught[0].filename == __file__
        for nothing in ({"candidates": some, "exclude": some}, {"candidates": []}, {"exclude": predictor.items}):
            empty = silently(recommend, **nothing)
            assert (len(empty), list(empty.columns)) == (0, ["item", "rating"])
        with pytest.raises(
            DataError, match=r"^2 of 2 candidates left out: no training rating of item 'x' and others; none"
        ):
            recommend(candidates=["x", "y"])
    some = predictor.recommend(1, 3)["item"].tolist()
    assert predictor.best_items(1, candidates=some, exclude=some[1:]) == predictor.best_items(1, 1)
    assert predictor.best_items(1, exclude=predictor.items) == []
    whole = predictor.recommend(1, 99)
    pd.testing.assert_frame_equal(predictor.recommend(1, 99, candidates=predictor.rated_items), whole)


# Scores.


def test_evaluate_agrees_with_recboles_evaluator_on_the_test_part(predictor, trained):
    result, folder = trained
    _, _, data, _, _, loader = load_data_and_model(result["checkpoint"], {"data_path": str(folder)})
    part = loader.dataset.inter_feat
    users, items = (data.id2token(field, part[field].numpy()) for field in ("user_id", "item_id"))
    ratings = part["rating"].numpy()
    found = silently(predictor.evaluate, users, items, ratings)
    assert (found["rmse"], found["mae"]) == pytest.approx((result["test"]["rmse"], result["test"]["mae"]), abs=1e-6)
    assert (found["n"], found["n_cold"]) == (result["n_test"], result["n_cold"])
    assert 0 < found["n_cold"] < found["n"]
    assert predictor.evaluate(pd.DataFrame({"stars": ratings, "itemId": items, "userId": users})) == found


def test_scores_are_those_worked_out_by_hand(predictor):
    users, items, off = [1, 2, "who", 3], [101, 102, 103, "what"], np.array([1.0, -2.0, 4.0, 0.0])
    found = predictor.evaluate(users, items, predictor.predict_with_notes(users, items)[0].astype(float) + off)
    assert found == pytest.approx(
        {"rmse": np.sqrt(21 / 4), "mae": 7 / 4, "n": 4, "n_cold": 2, "coverage": 0.5, "rmse_known": np.sqrt(5 / 2),
         "mae_known": 1.5}
    )  # fmt: skip
    cold = predictor.evaluate("who", 101, 3)
    assert (cold["n_cold"], cold["coverage"], cold["rmse_known"], cold["mae_known"]) == (1, 0, None, None)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (([1, 2], [101, 102], [3, np.nan]), r"^ratings\[1\] is 'nan'; expected a finite number, in stars\.$"),
        (([1, 2], [101, 102], ["3", "inf"]), r"^ratings\[1\] is 'inf'; expected"),
        (([1, 2], [101, 102], [3, "good"]), r"^ratings\[1\] is 'good'; expected"),
        (([1, 2], 101, [3]), r"^2 pairs and 1 rating; expected equal numbers >= 1\.$"),
        (([], [], []), r"^0 pairs and 0 ratings; expected equal numbers >= 1\.$"),
        (([1], [101]), r"^expected users, items, ratings, or one DataFrame with a column of each; got list and list\.$"),
        ((pd.DataFrame({"user": [1], "item": [2]}),), r"^the DataFrame: no column for rating in \['user', 'item'\]; rename"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_is_said(predictor, arguments, expected):
    with pytest.raises(DataError, match=expected):
        predictor.evaluate(*arguments)
