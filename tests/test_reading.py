"""Any rating file is read or explained, and every advice in a message works."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import re
import shlex
import threading
import zipfile
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_autorec import AutoRecError, cli, convert
from recbole_autorec.reading import fields, ratings
from recbole_autorec.reading.ratings import code_for_not_rated, last_of_each_pair

DOCS = Path(__file__).resolve().parent.parent / "docs" / "data.md"
THREE = [("u1", "i1", "5"), ("u2", "i1", "3.5"), ("u2", "i2", "1")]
LIBRARIES = re.compile(
    r"codec|pandas\.(errors|core|_libs)|sklearn|Traceback|C error|Arrow|Expecting|openpyxl\.\w|numpy\.core|Error:"
)


def converted(folder: Path, name="mine") -> list[tuple]:
    with (folder / name / f"{name}.inter").open(encoding="utf-8", newline="\n") as file:
        return [tuple(line.rstrip("\n").split("\t")) for line in file][1:]


def taken(input, folder: Path, **keywords) -> list[tuple]:
    convert(input, "mine", folder, show_progress=False, **keywords)
    return converted(folder)


def refused(input, folder: Path, **keywords) -> str:
    with pytest.raises(AutoRecError) as caught:
        convert(input, "mine", folder, show_progress=False, **keywords)
    assert not (folder / "mine").exists()
    assert not LIBRARIES.search(str(caught.value)), caught.value
    return str(caught.value)


def table(rows, separator=",", header=("user", "item", "rating")) -> str:
    return "".join(separator.join(row) + "\n" for row in ([header] if header else []) + list(rows))


# The table of docs/data.md.


def _zip(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return buffer.getvalue()


def _excel() -> bytes:
    pytest.importorskip("openpyxl")
    buffer = io.BytesIO()
    pd.DataFrame([(u, i, float(r)) for u, i, r in THREE], columns=["user", "item", "rating"]).to_excel(
        buffer, index=False
    )
    return buffer.getvalue()


def _parquet() -> bytes:
    pytest.importorskip("pyarrow")
    return pd.DataFrame([(u, i, float(r)) for u, i, r in THREE], columns=["user", "item", "rating"]).to_parquet()


NAMED = [{"user": u, "item": i, "rating": float(r)} for u, i, r in THREE]
FILES = {
    "ratings.csv": lambda: table(THREE, header=("userId", "asin", "Book-Rating")),
    "other.csv": lambda: table(THREE, header=("who", "what", "mark")),
    "plain.csv": lambda: table([(*row, "12") for row in THREE], header=None),
    "places.csv": lambda: table([(i, "x", u, r) for u, i, r in THREE], header=None),
    "reviews.csv": lambda: table(
        [(u, i, f'"a ""b"",\n1,2,{r}\r\n"', r) for u, i, r in THREE], header=("user", "item", "text", "rating")
    ),
    "letters.csv": lambda: table([(*row, '"Great') for row in THREE], header=("user", "item", "rating", "text")),
    "europe.csv": lambda: table([(u, i, r.replace(".", ",")) for u, i, r in THREE], ";"),
    "ratings.dat": lambda: table([(*row, "978300760") for row in THREE], "::", None),
    "blanks.txt": lambda: "% from somewhere\n" + table(THREE, "   ", None),
    "other.txt": lambda: table(THREE, "^"),
    "r.txt": lambda: '"user" "item" "rating"\n' + "".join(f'"{n}" "{u}" "{i}" {r}\n' for n, (u, i, r) in enumerate(THREE, 1)),
    "unicode.txt": lambda: table(THREE, "\t").encode("utf-16"),
    "windows.csv": lambda: table([("ü1", "ñ", "4")]).encode("cp1252"),
    "dates.csv": lambda: table([(*row, day) for row, day in zip(THREE, ["03/04/2005", "05/04/2005", "31/12/2005"], strict=True)],
                               header=("user", "item", "rating", "date")),
    "days.csv": lambda: table([(*row, "03/04/2005") for row in THREE], header=("user", "item", "rating", "date")),
    "codes.csv": lambda: table([*THREE, ("u3", "i1", "-1")]),
    "reviews.json": lambda: json.dumps(NAMED, indent=2),
    "keys.json": lambda: "".join(json.dumps({"who": u, "what": i, "mark": r}) + "\n" for u, i, r in THREE),
    "netflix": lambda: {"mv_1.txt": "1:\n7,5,2005-09-06\n", "mv_2.txt": "2:\n7,3,2005-09-06\n8,1,2005-09-07\n"},
    "ratings.parquet": _parquet,
    "ratings.xlsx": _excel,
    "ml-latest-small.zip": lambda: _zip(
        ml__ratings_dot_csv="userId,movieId,rating,timestamp\n1,1,5,12\n1,2,3,13\n2,1,4,14\n",
        ml__movies_dot_csv="movieId,title,genres\n1,A (2000),Drama\n2,B (2001),Comedy\n",
    ),
    "split": lambda: {"u1.base": table([(*row, "12") for row in THREE * 4][:3], "\t", None), "u1.test": "u9\ti1\t4\t12\n"},
    "dirty.csv": lambda: table([*THREE, ("oops",)]),
}  # fmt: skip
COMMANDS = re.findall(r"^\| .*\| `convert --input (\S+) (.*)` \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)


def _write(name: str, content) -> None:
    if isinstance(content, dict):
        Path(name).mkdir()
        for part, text in content.items():
            (Path(name) / part).write_text(text)
    else:
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize(("name", "flags"), COMMANDS)
def test_each_line_of_the_docs_table_works(name, flags, capsys):
    _write(name, FILES[name]())
    assert cli.main(["convert", "--input", name, *shlex.split(flags)]) == 0, capsys.readouterr().err
    assert capsys.readouterr().err == ""
    parts = sorted(Path("dataset/mine").glob("mine*.inter"))
    n_ratings = sum(len(part.read_text(encoding="utf-8").splitlines()) - 1 for part in parts)
    assert n_ratings == {"windows.csv": 1, "split": 4}.get(name, 3)
    if name not in ("windows.csv", "netflix", "ml-latest-small.zip", "split"):
        assert [row[:3] for row in converted(Path("dataset"))] == THREE


def test_the_docs_table_has_every_file():
    assert [name for name, _ in COMMANDS] == list(FILES)


# 1. Records are not lines.

CELL = st.text(st.sampled_from('",;\t|\n\r 1a\ufeff\\'), max_size=8)
PACKS = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.sampled_from(["u1", "007", "a b"]), CELL, st.sampled_from(["4.5", "1"])), min_size=2, max_size=6),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(list(PACKS)),
    st.integers(80, 300),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)  # fmt: skip
def test_a_quoted_field_is_one_whatever_is_in_it(
    tmp_path_factory, rows, separator, ends, pack, block, skip, everything, last
):
    """Every rating is read, and none is made from the inside of a field."""
    folder, file = tmp_path_factory.mktemp("quoted"), io.StringIO(newline="")
    numbered = [(user, f"i{number}", text, rating) for number, (user, text, rating) in enumerate(rows)]
    order = (0, 1, 3, 2) if last else (0, 1, 2, 3)
    everything |= any(end in text for _, text, _ in rows for end in "\r\n")  # csv quotes only its own line end
    writer = csv.writer(file, delimiter=separator, lineterminator=ends, quoting=csv.QUOTE_ALL if everything else 0)
    writer.writerow([("user", "item", "text", "rating")[place] for place in order])
    # the writer must quote the first text, so that quotes are recognised as such
    writer.writerows([[("x", "i", '"', "3")[place] for place in order]])
    writer.writerows([[row[place] for place in order] for row in numbered])
    (folder / f"a.csv{pack}").write_bytes(PACKS[pack](file.getvalue().encode()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ratings, "BLOCK", block)
        found = taken(folder / f"a.csv{pack}", folder / "data", skip_bad_lines=skip)
    assert found == [("x", "i", "3"), *((user, item, rating) for user, item, _, rating in numbered)]


@pytest.mark.parametrize("block", [1 << 25, 60])
def test_a_quote_that_first_comes_late_in_a_file_with_tabs(block, monkeypatch):
    monkeypatch.setattr(ratings, "BLOCK", block)
    rows = [(f"u{number}", "i", "3", "fine") for number in range(5000)]  # more lines than are inspected first
    Path("a.tsv").write_text(
        table([*rows, ("a", "i", "5", '"My\nsalt\tpepper\t2\tx"')], "\t", ("user", "item", "rating", "text"))
    )
    assert taken("a.tsv", Path("data"))[5000:] == [("a", "i", "5")]
    Path("b.tsv").write_text(table([*rows, ("a", "i", "5", '"My" dear'), ("b", "i", "5", '"open')], "\t"))
    assert taken("b.tsv", Path("letters"), columns="user,item,rating,-")[5000:] == [("a", "i", "5"), ("b", "i", "5")]


def test_a_file_without_line_ends_is_no_text_of_ratings(tmp_path, monkeypatch):
    monkeypatch.setattr(ratings, "BLOCK", 32)
    (tmp_path / "r.csv").write_text("u,i," + "5" * 200)
    with pytest.raises(AutoRecError, match=r"r.csv: the record in line 1 is longer than .* not a text file"):
        convert(tmp_path / "r.csv", "mine", data_path=tmp_path)


def test_a_quote_that_is_never_closed_swallows_nothing():
    Path("a.csv").write_text('user,item,rating,text\n1,2,3,"oops\n2,2,4,fine\n3,2,5,x\n')
    for skip in (False, True):
        message = refused("a.csv", Path("data"), skip_bad_lines=skip)
        assert message == (
            "a.csv line 2: a field begins with a double quote that is never closed. --quotes no treats quotes as ordinary characters."
        )
    assert len(taken("a.csv", Path("data"), quotes=False)) == 3


def test_a_byte_order_mark_is_no_part_of_an_id():
    Path("a.csv").write_text("\ufeffuser,item,rating\nu1,i1,5\n\ufeffu2,i1,3.5\nu2,i2,1\n", encoding="utf-8")
    assert taken("a.csv", Path("data")) == THREE


# 2. Advice that works.

ADVICE = [
    ("1;1;1,000\n2;1;2,000\n", {}, 2),
    ("user,item,rating,date\n" + "".join(f"{n},1,3,0{n}/04/2005\n" for n in range(1, 9)) + "9,1,3,13/04/2005\n",
     {"block": 120, "pipe": True}, 9),
    ("user,item,rating\nü,1,3\né,2,4\n".encode("cp1252"), {}, 2),
    ("user,item,rating\n1,2,NULL\n1,3,NULL\n2,3,4\n", {}, 1),
    ("user,item,rating\n1,2,\n1,3,\n2,3,4\n", {}, 1),
    ("1,2,3,4,5\n2,2,3,4,5\n", {}, 2),
    ("a,b,c\n1,2,3\n2,2,3\n", {"NAME": "abc"}, 2),
    ("user,item,rating,stars\n1,2,3,4\n2,2,3,4\n", {"NAME": ("user", "item", "stars")}, 2),
    ('{"user": 1, "item": 2, "rating": 3, "stars": 4}\n', {"NAME": ("user", "item", "stars")}, 1),
    ('1,2,3,"oops\n2,2,4,fine\n3,2,4,x\n', {"flags": ["--columns", "user,item,rating,-"]}, 3),
    ("user,item,rating\n1,2,3\noops\n" + "".join(f"{n},7,3\n" for n in range(20)), {}, 21),
    ("1;2;3,5\n2;2;4\n", {"flags": ["--decimal", "."]}, 2),
    ("a~1~3\nb~2~4\n", {"VALUE": "'~'"}, 2),
    ("1,2,3\n2,2,4\n", {"flags": ["--columns", "user=a,item=b,rating=c"]}, 2),
    ("item,user,x,timestamp\n1,2,3,4\n2,2,3,4\n", {"flags": ["--columns", "item,user,-,rating"]}, 2),
    ("u1,i1,NA\nu2,i1,5\n", {"flags": ["--header", "no"]}, 1),

]  # fmt: skip


@pytest.mark.parametrize(("content", "how", "n_ratings"), ADVICE)
def test_the_advice_of_a_message_leads_on(content, how, n_ratings, capsys, monkeypatch):
    """Follow the first flag that the message names."""
    monkeypatch.setattr(ratings, "BLOCK", how.get("block", 1 << 25))
    if how.get("pipe"):  # the first block leaves the date order open, and a pipe cannot be read twice
        monkeypatch.setattr(fields, "SAMPLE", 3)
        monkeypatch.setattr("recbole_autorec.reading.separated.SHOWN", 3)
        monkeypatch.setattr("recbole_autorec.reading.separated._column", lambda *arguments: [])
    _write("a", content)
    command = ["convert", "--input", "a", "--name", "mine", *how.get("flags", [])]
    assert cli.main(command) == 2
    message = capsys.readouterr().err
    flag, value = re.search(
        r"(--[a-z_]+)(?: ('[^']*'|[^\s;]+))?", message[message.index("--", len("--columns")) :]
    ).groups()
    for name in how.get("NAME", ""):
        value = value.replace("NAME", name, 1)
    if "VALUE" in how:
        flag, value = "--separator", how["VALUE"]
    rest = [] if flag == "--skip_bad_lines" else shlex.split(value.rstrip("."))
    if flag in command:
        del command[command.index(flag) : command.index(flag) + 2]
    assert cli.main([*command, flag, *rest]) == 0, capsys.readouterr().err
    assert len(converted(Path("dataset"))) == n_ratings


@pytest.mark.parametrize("skip", [False, True])
def test_what_a_flag_would_read_is_never_skipped(skip):
    Path("a.csv").write_bytes("user,item,rating\nü,1,3\né,2,4\no,2,4\n".encode("cp1252"))
    assert "--encoding" in refused("a.csv", Path("data"), skip_bad_lines=skip)
    Path("b.csv").write_text("user;item;rating\n1;2;1,000\n1;3;4\n")
    assert "--decimal ," in refused("b.csv", Path("data"), skip_bad_lines=skip)


def test_skipping_is_offered_only_where_few_lines_are_bad():
    Path("a.csv").write_text("user,item,rating\n" + "1,x,y\n2,3,4\n" * 20)
    assert "--skip_bad_lines" not in refused("a.csv", Path("data"))


# 3. The same answer in every format.

FORMATS = ("csv", "tsv", "jsonl", "json", "parquet", "feather", "xlsx", "gz", "zip", "folder", "frame")
IDS = st.sampled_from(["1", "01", "1.0", "a", " a", "a ", "\ufeffa", "true", "NA", "nan", "x y", "", "[PAD]"])
RATINGS = st.sampled_from(["4", "3,5", "1_000", "1,000", "inf", "nan", "1e1", "0x10", "-2", "", " 3 ", "\uff13", "5."])
HEADERS = st.sampled_from([
    ("user", "item", "rating"), ("userId", "parent_asin", "Score"), ("ProfileName", "item", "rating", "UserId"),
    ("user", "item", "overall", "stars"), ("who", "item", "rating"), ("user", "asin", "rating", "parent_asin"),
])  # fmt: skip


def written(rows: list[dict[str, str]], form: str, folder: Path):
    """Write the rows in a format; return the input for convert."""
    folder.mkdir()
    frame = pd.DataFrame(rows, dtype=object)
    text = io.StringIO()
    frame.to_csv(text, index=False, quoting=csv.QUOTE_ALL)
    path = folder / {"gz": "a.csv.gz", "zip": "a.zip", "folder": "in"}.get(form, f"a.{form}")
    if form in ("csv", "gz", "zip", "folder"):
        data = text.getvalue().encode()
        if form == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("__MACOSX/._a.csv", b"x")
                archive.writestr(".hidden", b"x")
                archive.writestr("in/a.csv", data)
        elif form == "folder":
            path.mkdir()
            (path / ".hidden").write_bytes(b"x")
            (path / "a.csv").write_bytes(data)
        else:
            path.write_bytes(gzip.compress(data) if form == "gz" else data)
    elif form == "tsv":
        frame.to_csv(path, sep="\t", index=False, quoting=csv.QUOTE_NONE, quotechar="\0", escapechar="\1")
    elif form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif form == "json":
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    elif form == "parquet":
        frame.astype(str).to_parquet(path)
    elif form == "feather":
        frame.astype(str).to_feather(path)
    elif form == "xlsx":
        frame.to_excel(path, index=False)
    return frame if form == "frame" else path


@settings(max_examples=25)
@given(HEADERS, st.lists(st.tuples(IDS, IDS, RATINGS, IDS), min_size=1, max_size=3), st.booleans())
def test_every_format_gives_the_same_answer(tmp_path_factory, header, rows, skip):
    """The ratings are the same, or the refusals are, apart from lines and places."""
    pytest.importorskip("pyarrow")
    pytest.importorskip("openpyxl")
    folder, answers = tmp_path_factory.mktemp("same"), {}
    content = [dict(zip(header, row, strict=False)) for row in [("u", "i", "3", "x"), *rows]]
    for form in FORMATS:
        if form == "xlsx" and any(cell == "" for row in content for cell in row.values()):
            continue  # there, an empty cell is not an empty text
        source = written(content, form, folder / form)
        try:
            answers[form] = taken(source, folder / form / "data", skip_bad_lines=skip)
        except AutoRecError as error:
            why = r"two columns for \w+|no column for \w+|(user|item|rating) '.*?' is not a [a-z ]+"
            answers[form] = re.search(why, str(error))[0]
    assert len({str(answer) for answer in answers.values()}) == 1, answers


# 4. The first lines give a guess; the user can override it.


def test_iso_dates_with_and_without_fractions_are_one_format(caplog):
    days = ["2005-09-06", "2005-09-06 00:00:01", "2005-09-06T00:00:02.500Z"]
    Path("a.csv").write_text(table([(*row, day) for row, day in zip(THREE, days, strict=True)], header=None))
    with caplog.at_level("INFO"):
        assert [row[3] for row in taken("a.csv", Path("data"))] == ["1125964800", "1125964801", "1125964802.5"]
    assert "dates as ISO8601" in caplog.text


@pytest.mark.parametrize(("late", "seconds"), [("13/04/2005", 1112486400), ("04/13/2005", 1109894400)])
@pytest.mark.parametrize("n", [3, 5000])
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "frame"])
def test_later_lines_say_which_number_is_the_day(late, seconds, n, form):
    if form == "parquet":
        pytest.importorskip("pyarrow")
    rows = [{"user": f"u{k}", "item": "i", "rating": "3", "date": "03/04/2005"} for k in range(n)]
    source = written([*rows, {"user": "z", "item": "i", "rating": "3", "date": late}], form, Path("in").absolute())
    assert float(taken(source, Path("data"))[0][3]) == seconds


def test_dates_that_could_be_either_are_said(caplog):
    Path("a.csv").write_text("user,item,rating,date\n1,2,3,03/04/2005\n")
    with caplog.at_level("INFO"):
        taken("a.csv", Path("data"))
    assert "if day and month are swapped: --date_format '%d/%m/%Y'" in caplog.text


@pytest.mark.parametrize(
    ("content", "keywords", "expected"),
    [
        ("1,2,3\n", {"header": True}, "a has a header but no rating."),
        ("a,b,c\n1,2,3\n", {"header": False}, "rating 'c' is not a finite number"),
        ("1;2;3\n", {"separator": ","}, "no separator ','"),
        ("1,2,3,soon\n2,2,3,later\n", {}, "--date_format"),
        ("1,2,3,4\n", {"date_format": "dd.mm.yyyy"}, "expected strptime's codes"),
        ("1,2,3,4\n", {"date_format": "%Q"}, "is not a strptime format"),
        ("1,2,3\n", {"decimal": "x"}, "expected . or ,"),
        ("1,2,3\n", {"separator": ""}, "is empty"),
        ("1,2,3\n", {"encoding": "klingon"}, "expected one that Python knows"),
        (",".join(["74", *map(str, range(100))]) + "\n", {}, "melt('user'"),
    ],
)
def test_the_users_word_counts(content, keywords, expected):
    Path("a").write_text(content)
    assert expected in refused("a", Path("data"), **keywords)


def test_a_row_for_each_user_becomes_ratings_as_the_message_says():
    Path("wide.csv").write_text("".join(",".join(map(str, [99, *range(user, user + 19)])) + "\n" for user in range(3)))
    code = re.search(r"frame\..*?dropna\(\)", refused("wide.csv", Path("data")))[0]
    frame = eval(code, {"frame": pd.read_csv("wide.csv", header=None)})  # our own code, from the message
    assert len(taken(frame, Path("data"), not_rated=99)) == 57
    Path("named.csv").write_text(",".join(["who", *(f"i{n}" for n in range(15))]) + "\n" + ("u1" + ",3" * 14 + ",\n"))
    code = re.search(r"frame\..*?dropna\(\)", refused("named.csv", Path("named")))[0]
    frame = eval(code, {"frame": pd.read_csv("named.csv")})
    assert len(taken(frame.rename(columns={"who": "user"}), Path("named"))) == 14


# 5. Codes for "not rated".


@settings(max_examples=100)
@given(
    st.sampled_from([(1, 5, 1), (0.5, 5, 0.5), (1, 10, 1), (-10, 10, 0.25), (0, 100, 1)]),
    st.sampled_from([None, 0, -1, 99, 999]),
    st.floats(0.5, 2),
    st.integers(0, 2**32 - 1),
)
def test_a_code_is_noticed_and_a_scale_is_not(scale, code, share, seed):
    random, (low, high, step) = np.random.default_rng(seed), scale
    ratings = low + step * random.integers(0, round((high - low) / step) + 1, 5000)
    if code is None or low <= code <= high:
        assert code_for_not_rated(ratings) is None
    elif not (code > high and code - high <= high - low):
        found = np.append(ratings, np.full(int(5000 * share), code))
        assert code_for_not_rated(found) == (code, pytest.approx(int(5000 * share) / len(found)))


@pytest.mark.parametrize(
    ("values", "times", "found"),
    [
        ([0, 2, 3, 5], 5, None),  # 2 is as far from 0 as 5 from 3
        ([0, 4, 5, 7], 5, (0, 0.25)),
        ([1, 2, 3, 6], 5, (6, 0.25)),
        ([1, 2, 3, 6], 1, None),  # of few ratings one may be apart
        ([1, 2, 3, 8], 2, (8, 0.25)),
        ([-1, 0, 1], 9, None),
        ([-1, 0, 2, 3], 5, (-1, 0.25)),
        ([0, *[0] * 9, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2], 1, (0, 0.5)),  # more than twice as often as 1
        ([0] * 6 + [1, 2, 3] * 3, 1, None),
    ],
)
def test_a_code_is_apart_or_a_peak_at_0(values, times, found):
    assert code_for_not_rated(np.repeat(np.array(values, dtype=float), times)) == found


def test_a_code_is_said_with_its_share_and_left_out(caplog):
    Path("a.csv").write_text(table([*THREE, ("u1", "i2", "-1")]))
    convert("a.csv", "all", "data")
    assert caplog.messages[-1] == (
        "a.csv: 25.0% of the ratings are -1, outside the others' range (1 to 5); if it means 'not rated', --not_rated "
        "-1 leaves it out"
    )
    assert convert("a.csv", "mine", "data", not_rated=-1).not_rated == 1
    assert converted(Path("data")) == THREE


# 6. Messages in the user's words.

OTHERS = {
    "a.mat": (b"MATLAB 5.0 MAT-file, Platform: x", "MATLAB"),
    "a.npy": (b"\x93NUMPY\x01\x00", "numpy array"),
    "a.npz": (_zip(row_dot_npy="x", col_dot_npy="x"), "scipy.sparse.load_npz"),
    "a.pkl": (b"\x80\x04\x95\x00", "pickle"),
    "b.pkl": (b"(dp0\nS'a'\np1\n.", "pickle"),
    "a.db": (b"SQLite format 3\x00\x10", "sqlite3 -header -csv"),
    "a.h5": (b"\x89HDF\r\n\x1a\n", "HDF5"),
    "a.xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old Excel"),
    "a.ods": (_zip(content_dot_xml="x"), "OpenDocument"),
    "a.xlsx": (_zip(xl__workbook_dot_xml="x"), "Excel"),  # damaged, or openpyxl is missing
    "a.csv": (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "HTML or XML page"),
    "a.feather": (b"ARROW1\x00\x00 none", "damaged Feather"),
    "a.parquet": (b"PAR1 none", "damaged Parquet"),
    "a.tar": (b"x" * 257 + b"ustar" + b"\0" * 200, ".tar"),
    "a.rds": (gzip.compress(b"RDX3", mtime=0), "write.csv"),
    "a.sql": (b"-- MySQL dump 10.13\nINSERT INTO r VALUES (1,2,3),(2,3,4);", "SQL dump"),
    "a.mtx": (b"%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 5\n", "MatrixMarket"),
    "b.csv": (b"1,2,3\n" + bytes(range(256)), "binary file"),
    "a.json": (b'{"user": {"0": 1}, "item": {"0": 2}}', "orient='records'"),
    "b.json": (b'[\n{"user": 1, "item": 2, "rating": 3},\n{"user" 1}]', "b.json line 3: invalid JSON"),
    "c.json": (b"{'user': 1, 'item': 2, 'rating': ]}", "invalid JSON"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("verb", ["convert", "name"])
def test_other_files_are_named_in_our_words(name, verb, capsys):
    content, expected = OTHERS[name]
    given = name if verb == "convert" else "file"  # the format is detected from the content, not from the name
    if verb == "name" and name in ("b.pkl", "b.json", "a.rds"):
        return
    Path(given).write_bytes(content)
    assert cli.main(["convert", "--input", given, "--name", "mine"]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"error: {given}")
    assert expected in message
    assert not LIBRARIES.search(message)


@pytest.mark.parametrize(
    "content",
    [
        "".join(repr({**row, "more": None}) + "\n" for row in NAMED),
        json.dumps(NAMED),
        "\n\n".join(json.dumps(row, indent=2) for row in NAMED),
        json.dumps([list(row.values()) for row in NAMED]),
        "".join(json.dumps(list(row.values())) + "\n" for row in NAMED),
        "[" + ",\n".join(json.dumps(row) for row in NAMED) + "]\n",
    ],
)
@pytest.mark.parametrize("block", [1 << 25, 70])
def test_json_however_it_is_laid_out(content, block, monkeypatch):
    monkeypatch.setattr(ratings, "BLOCK", block)
    Path("a.json").write_text(content)
    assert taken("a.json", Path("data")) == THREE


@settings(max_examples=80)
@given(st.sampled_from(list(OTHERS)), st.integers(0, 60), st.integers(0, 255))
def test_a_damaged_file_is_no_traceback(tmp_path_factory, name, place, byte):
    content = bytearray(OTHERS[name][0])
    content[place % len(content)] = byte
    folder = tmp_path_factory.mktemp("damaged")
    (folder / name).write_bytes(content)
    message = ""
    try:
        convert(folder / name, "mine", folder / "data", show_progress=False)
    except AutoRecError as error:
        message = str(error)
    assert not LIBRARIES.search(message)


# Cases found with real files.

A, B = '{"user":"a","item":"x","rating":3}', '{"user":"b","item":"x","rating":4}'
BOTH = [("a", "x", "3"), ("b", "x", "4")]


@pytest.mark.parametrize(
    ("content", "keywords", "expected"),
    [
        ("#a,x,3\n%b,x,4\nc,x,5\n", {}, [("#a", "x", "3"), ("%b", "x", "4"), ("c", "x", "5")]),
        ("#a,x,3\n#b,x,4\n", {}, [("#a", "x", "3"), ("#b", "x", "4")]),
        ("# user item rating\na x 3\nb x 4\n", {}, BOTH),
        ("#user,item,rating\na,x,3\nb,x,4\n", {}, BOTH),
        ("My export\n\nuser,item,rating\na,x,3\nb,x,4\n", {}, BOTH),
        ('"SEP=;"\nuser;item;rating\na;x;3\nb;x;4\n', {}, BOTH),
        ("+--+--+--+\n|user|item|rating|\n+--+--+--+\n|a|x|3|\n|b|x|4|\n+--+--+--+\n", {"skip_bad_lines": True}, BOTH),
        (f"[{A}]\n[{B}]", {}, BOTH),
        (f"[{A}][{B}]", {}, BOTH),
        (f"{A}\n[{B}]\n", {}, BOTH),
        ("[{'user': 'a', 'item': 'x', 'rating': 3}, {'user': 'b', 'item': 'x', 'rating': 4}]", {}, BOTH),
        ("a;x;1,250\nb;x;2,500\n", {"decimal": ","}, [("a", "x", "1.25"), ("b", "x", "2.5")]),
        ("a,x,NULL\nb,x,4\n", {"not_rated": "NULL"}, BOTH[1:]),
        ("a;x;3,0\nb;x;4\nc;x;NA\n", {"not_rated": "NA"}, BOTH),
        ("{a},x,3\n[b],x,4\n", {}, [("{a}", "x", "3"), ("[b]", "x", "4")]),
        ("[user],[item],[rating]\na,x,3\nb,x,4\n", {}, BOTH),
        ('user,item,rating,text\na,x,3,"' + "long, " * 40000 + '"\nb,x,4,\n', {}, BOTH),
        ("user,item,rating\na,x,3\n,,\nb,x,4\n , ,\n", {}, BOTH),
        ("a\1x\0013\nb\1x\0014\n", {}, BOTH),
        ('u,"who, is",r\nx,a,3\nx,b,4\n', {"columns": {"user": "who, is", "item": "u", "rating": "r"}}, BOTH),
    ],
)  # fmt: skip
def test_files_as_people_have_them(content, keywords, expected):
    Path("a").write_text(content)
    assert taken("a", Path("data"), **keywords) == expected


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(
    ("content", "keywords", "expected"),
    [
        ("a;x;3,5\nb;x;1,000\nc;x;NA\n", {"not_rated": "NA"}, "rating '1,000'"),
        (f"[{A}]xyz", {}, "invalid JSON"),
        (f"[{A}]]]{B}", {}, "invalid JSON"),
        ("user,item,rating\na,x,4,5\nb,x,3,5\n", {}, "quote it or use another separator"),
        ("user,item,rating\n7\" x,i\"3,1,000\n", {}, "quote it or use another separator"),
        ("a,x,3\n", {"encoding": "utf-16"}, "is not utf-16 text"),
        ("a,x,3\n", {"encoding": "idna"}, "expected one that Python knows"),
        ("user,item,rating\n\u738b,\u7535,5\nu1,i2,3\n".encode("gbk"), {}, "--encoding"),
        ('{"user":"Jos\u00e9","item":1,"rating":3}\n{"user":"b","item":1,"rating":3}\n'.encode("latin-1"), {}, "--encoding"),
        ('{"count":2,"ratings":[' + f"{A},{B}" + "]}", {}, "is one JSON object with count, ratings"),
        ("\u30e6,\u30a2,\u8a55\n1,2,3\n".encode("shift-jis"), {}, "--encoding"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_right_is_refused_with_and_without_skipping(content, keywords, expected, skip):
    _write("a", content)
    assert expected in refused("a", Path("data"), skip_bad_lines=skip, **keywords)


@pytest.mark.parametrize("truth", ["True", "false"])
def test_truth_values_are_no_ratings(truth):
    Path("a.csv").write_text(f"user,item,rating\na,x,{truth}\nb,x,{truth}\n")
    assert "--not_rated" not in refused("a.csv", Path("data"))
    assert "not_rated" not in refused(
        pd.DataFrame({"user": ["a", "b"], "item": "x", "rating": truth == "True"}), Path("data")
    )


def test_dates_beyond_what_pandas_counts():
    Path("a.csv").write_text("user,item,rating,date\na,x,3,9999-12-31\nb,x,4,2005-01-01\n")
    if len(rows := taken("a.csv", Path("data"), skip_bad_lines=True)) == 2:  # pandas before 3 cannot parse such a date
        assert rows[0][3] == "253402214400"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "column",
    [[[1], [2]], [{"a": 1}, 2], [Decimal("sNaN"), Decimal("2")], [1j, 2], [None, float("nan")], [object(), 3]],
)
@pytest.mark.parametrize("field", ["user", "rating"])
def test_odd_values_in_a_frame_are_refused_in_words(column, field):
    frame = pd.DataFrame(
        {"user": ["a", "b"], "item": ["x", "x"], "rating": [3, 4], field: pd.Series(column, dtype=object)}
    )
    with suppress(AutoRecError):  # an id may be any object that is not a container
        convert(frame, "mine", "data", show_progress=False)


def test_types_of_frames_keep_their_values():
    frame = pd.DataFrame({
        "user": np.array([2**63 + 5, 2], dtype="uint64"), "item": [Decimal("1.0"), Decimal("2")],
        "rating": np.array([3.3, 2], dtype="float32"),
    })  # fmt: skip
    assert taken(frame, Path("data")) == [("9223372036854775813", "1", "3.3"), ("2", "2", "2")]
    indexed = frame.assign(item=["x", "y"]).set_index(["user", "item"])
    assert len(taken(indexed, Path("indexed"))) == 2
    pytest.importorskip("pyarrow")
    indexed.to_parquet("a.parquet")
    assert len(taken("a.parquet", Path("parquet"))) == 2


def test_parts_of_a_folder_are_one_file():
    Path("spark").mkdir()
    for name, content in {
        "_SUCCESS": "",
        ".part-0.crc": "x",
        "part-00000.csv": table(THREE[:2]),
        "part-00001.csv": table(THREE[2:]),
    }.items():
        (Path("spark") / name).write_text(content)
    assert taken("spark", Path("data")) == THREE


def test_a_pipe_is_read_twice_where_the_day_is_open():
    os.mkfifo("pipe")
    lines = "user,item,rating,date\n" + "".join(f"u{n},i,3,03/04/2005\n" for n in range(5000)) + "z,i,3,25/04/2005\n"
    writer = threading.Thread(target=lambda: Path("pipe").write_text(lines))
    writer.start()
    assert taken("pipe", Path("data"))[0][3] == "1112486400"
    writer.join()


# Numbers, dates, ids and pairs by themselves.

NAN = float("nan")


@pytest.mark.parametrize(
    ("text", "decimal", "value"),
    [
        (" 3 ", None, 3), ("-1.5", None, -1.5), (".5", None, 0.5), ("+2.", None, 2), ("1e3", None, 1000),
        ("3,5", None, 3.5), ("3,5", ",", 3.5), ("3,5", ".", NAN), ("3.5", ",", NAN), ("3.5", ".", 3.5),
        ("1,000", None, NAN), ("1,000", ",", 1), ("1,0000", None, 1), ("12,000,000", ",", NAN), ("1.000,5", ",", NAN),
        ("1e999", None, NAN), ("inf", None, NAN), ("nan", None, NAN), ("0x10", None, NAN), ("\u0663", None, NAN),
        ("1_000", None, NAN), ("", None, NAN), ("3 stars", None, NAN),
    ],
)  # fmt: skip
def test_a_number_is_what_it_looks_like(text, decimal, value):
    assert fields.number(text, decimal) == pytest.approx(value, nan_ok=True)
    assert fields.is_number(text) == (fields.number(text) == fields.number(text))


def test_numbers_of_a_column_of_any_type():
    for values, expected in (
        ([1, 2], [1, 2]),
        ([1.5, np.inf, np.nan], [1.5, NAN, NAN]),
        ([True, False], [NAN, NAN]),
        (["2,5", None, "x", True, 4, np.float32(0.5), 1e400], [2.5, NAN, NAN, NAN, 4, 0.5, NAN]),
        (pd.array([3, None], dtype="Int64"), [3, NAN]),
    ):
        assert fields.numbers(pd.Series(values)).tolist() == pytest.approx(expected, nan_ok=True)
    assert fields.numbers(pd.Series(["2,5"]), ".").tolist() == pytest.approx([NAN], nan_ok=True)


def test_dates_are_seconds_since_1970_in_utc():
    day = 86400
    dates = ["1970-01-02", " 1970-01-01 00:00:01.5", "1970-01-01T02:00:00+01:00", "today", ""]
    assert fields.seconds(dates, fields.ISO).tolist() == pytest.approx([day, 1.5, 3600, NAN, NAN], nan_ok=True)
    assert fields.seconds(["02/01/1970"], "%d/%m/%Y").tolist() == [day]
    assert fields.seconds(["02/01/1970"], fields.swapped("%d/%m/%Y")).tolist() == [31 * day]
    assert [fields.swapped(form) for form in (fields.ISO, "%d %b %Y")] == ["", ""]
    column = pd.Series(["02/01/1970", "01/01/1970", "02/01/1970", None])
    expected = pytest.approx([day, 0, day, NAN], nan_ok=True)
    assert fields.in_seconds(column, "%d/%m/%Y", None).tolist() == expected
    assert fields.in_seconds(pd.to_datetime(column, format="%d/%m/%Y"), None, None).tolist() == expected
    assert fields.in_seconds(pd.Series(["86400,5", "0"]), None, ",").tolist() == [day + 0.5, 0]


def test_formats_of_dates_are_those_that_read_the_most():
    assert fields.date_formats(["13/04/2005", "04/03/2005", ""])[0] == "%d/%m/%Y"
    assert fields.date_formats(["03/04/2005", "04/13/2005"])[0] == "%m/%d/%Y"
    assert fields.date_formats(["03/04/2005"])[:2] == ["%m/%d/%Y", "%d/%m/%Y"]
    assert fields.date_formats(["1125964800", "2005-09-06"]) == []  # numbers are as many
    assert fields.date_formats(["1125964800", "2005-09-06", "2005-09-07"]) == [fields.ISO]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (196.0, "196"), (np.int64(7), "7"), (np.float32(2.0), "2"), (1.5, "1.5"), (" a b ", "a b"), (b"x", "x"),
        ("\ufeff7", "7"), ("007", "007"), (NAN, ""), (np.inf, ""), (None, ""), (True, ""), (pd.NA, ""), ([1], ""),
    ],
)  # fmt: skip
def test_an_id_is_the_same_text_whatever_type_it_came_in(value, text):
    assert fields.id_text(value) == text


@pytest.mark.parametrize(
    ("times", "kept"),
    [
        (None, [False, False, True, True, True, True]),
        ([9, 7, 8, 1, 1, 1], [True, False, False, True, True, True]),
        ([9, 7, 9, 3, 2, 1], [False, False, True, True, True, True]),  # of equals the last in the file
    ],
)
def test_of_a_pair_the_last_by_time_stays(times, kept):
    arrays = {
        "user": np.array([0, 0, 0, 1, 0, 2], dtype=np.int32),
        "item": np.array([2, 2, 2, 0, 1, 2], dtype=np.int32),
    }
    given = arrays if times is None else {**arrays, "timestamp": np.array(times, dtype=float)}
    assert last_of_each_pair(given, 3).tolist() == kept
