"""Convert rating files to atomic files."""

import gzip
import io
import json
import os
import random
import signal
import threading
import zipfile
from itertools import chain
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_autorec import AutoRecError, cli, run_recbole_autorec
from recbole_autorec.conversion.convert import convert
from recbole_autorec.reading import fields, ratings, separated
from recbole_autorec.reading.blocks import Block, Blocks
from recbole_autorec.reading.options import FOUND_OUT, BadLines
from recbole_autorec.reading.separated import QUOTED, SEPARATORS, Layout, _fast, _fast_netflix, _line_by_line

ROWS = [("u 1", "007", "5", "978300760"), ("7", "B00X", "3.5", "978302109"), ("NA", "007", "-1", "978300275"),
        ("ünï", "a:b", "0.5", "978824291")]  # fmt: skip
DATES = [(user, item, rating, "2005-09-06") for user, item, rating, _ in ROWS]


def text(rows, separator, header=None) -> str:
    return "".join(separator.join(row) + "\n" for row in ([header] if header else []) + rows)


def read(name="toy", data_path="data", part="") -> list[tuple]:
    frame = pd.read_csv(Path(data_path) / name / f"{name}{part}.inter", sep="\t", dtype=str, keep_default_na=False)
    return [tuple(frame.columns), *frame.itertuples(index=False, name=None)]


HEADER = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
JSON = "".join(
    json.dumps({"reviewerID": u, "asin": i, "overall": float(r), "unixReviewTime": int(t), "text": "x"}) + "\n"
    for u, i, r, t in ROWS
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ratings.dat", text(ROWS, "::")),
        ("u.data", text(ROWS, "\t")),
        ("a.csv", text(ROWS, ",")),
        ("a.csv", text(ROWS, ",", ("userId", "movieId", "rating", "timestamp"))),
        ("a.csv", "﻿" + text(ROWS, ",", ("userId", "movieId", "rating", "timestamp"))),
        ("a.csv", '"user","item","rating","time"\n' + text([('"u 1"', *ROWS[0][1:]), *ROWS[1:]], ",")),
        ("BX.csv", text([(i, u, t, r) for u, i, r, t in ROWS], ";", ("ISBN", "User-ID", "date", "Book-Rating"))),
        ("a.tsv", text(ROWS, "\t", ("user_id:token", "item_id:token", "rating:float", "timestamp:float"))),
        ("a.txt", text(ROWS, "|")),
        ("a.csv", text(ROWS, ",").replace("\n", "\r\n")),
        ("a.csv", text(ROWS, ",").replace("\n", "\n\n")),
        ("a.csv", text(ROWS, ",").rstrip("\n")),
        ("a.csv", text([(*row, "left out") for row in ROWS], ",", ("user", "item", "rating", "timestamp", "review"))),
        ("a.json", JSON),
    ],
)
@pytest.mark.parametrize("small", [False, True])
def test_a_format_is_found_out(name, content, small, monkeypatch):
    if small:  # blocks of two lines
        monkeypatch.setattr(ratings, "BLOCK", 2 * max(len(line.encode()) for line in content.splitlines()) + 4)
    Path(name).write_text(content, encoding="utf-8", newline="")
    found = convert(name, "toy", "data", show_progress=False)
    assert read() == [HEADER, *ROWS]
    assert (found.n_users, found.n_items, found.n_ratings, found.n_duplicates, found.bad_lines) == (4, 3, 4, 0, 0)


@pytest.mark.parametrize("columns", [["item", None, "user", "rating"], {"item": "a", "user": "c", "rating": "d"}])
def test_columns_as_python_has_them(columns):
    """Also with blank lines before the header and blanks after commas in the file."""
    Path("a.csv").write_text("\n \na,b,c,d\n7, x, 1, 3\n" + ("" if isinstance(columns, dict) else '8,"x""", 1, 2\n'))
    convert("a.csv", "toy", "data", columns=columns)
    assert read()[1] == ("1", "7", "3")


def test_a_pipe_is_read():
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_text("1,7,3\n2,8,4\n"))
    writer.start()
    assert convert("pipe", "toy", "data").n_ratings == 2
    writer.join()


def test_dates_become_seconds():
    Path("a.csv").write_text(text(DATES, ",", ("user", "item", "rating", "date")))
    convert("a.csv", "toy", "data")
    assert {row[3] for row in read()[1:]} == {"1125964800"}


@pytest.mark.parametrize("block", [1 << 25, 30])
def test_netflix(block, monkeypatch):
    monkeypatch.setattr(ratings, "BLOCK", block)
    Path("combined_data_1.txt").write_text("1:\n30,4,2005-09-06\n31,3,2005-09-07\n20:\n30,5,2004-01-01\n")
    assert convert("combined_data_1.txt", "toy", "data").n_items == 2
    expected = [("30", "1", "4", "1125964800"), ("31", "1", "3", "1126051200"), ("30", "20", "5", "1072915200")]
    assert read() == [HEADER, *expected]
    folder = Path("training_set")
    folder.mkdir()
    (folder / "mv_0000001.txt").write_text("1:\n30,4,2005-09-06\n31,3,2005-09-07\n")
    (folder / "mv_0000020.txt").write_text("20:\n30,5,2004-01-01\n")
    convert(folder, "many", "data")
    assert read("many") == read()


def test_packed_files():
    content = text(ROWS, "\t").encode()
    with gzip.open("u.data.gz", "wb") as file:
        file.write(content)
    with zipfile.ZipFile("a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("folder/u.data", content)
    for number, name in enumerate(("u.data.gz", "a.zip")):
        convert(name, f"toy{number}", "data")
        assert read(f"toy{number}") == [HEADER, *ROWS]


def test_parquet():
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra tune)")
    frame = pd.DataFrame(ROWS, columns=["user_id", "parent_asin", "rating", "when"])
    frame = frame.astype({"rating": float}).assign(when=pd.to_datetime(frame["when"].astype(int), unit="s"))
    frame.to_parquet("a.parquet")
    convert("a.parquet", "toy", "data", columns="user=user_id,item=parent_asin,rating=rating,timestamp=when")
    assert read() == [HEADER, *ROWS]
    frame.assign(user_id=[3, 1, 2, 1]).to_parquet("b.parquet")
    convert("b.parquet", "numbers", "data")
    assert [row[0] for row in read("numbers")[1:]] == ["3", "1", "2", "1"]
    frame.assign(rating=[1, None, 2, 3]).to_parquet("c.parquet")
    assert convert("c.parquet", "less", "data", skip_bad_lines=True).bad_lines == 1


@pytest.mark.parametrize(
    ("columns", "content"),
    [
        ("item,user,-,rating", text([(i, u, "x", r) for u, i, r, _ in ROWS], "\t")),
        ("item,user,,rating", text([(i, u, "x", r) for u, i, r, _ in ROWS], "\t", ("a", "b", "c", "d"))),
        ("user=who,item=what,rating=how", text([(i, u, "x", r) for u, i, r, _ in ROWS], "\t", ("what", "who", "x", "how"))),
        ("user=who,item=what,rating=how", "".join(json.dumps({"what": i, "who": u, "how": r}) + "\n" for u, i, r, _ in ROWS)),
    ],
)  # fmt: skip
def test_columns_may_be_named(columns, content):
    Path("a").write_text(content, encoding="utf-8")
    convert("a", "toy", "data", columns=columns)
    assert read() == [HEADER[:3], *(row[:3] for row in ROWS)]


def test_a_pair_rated_again_keeps_its_last_rating_by_time_else_by_order(caplog):
    rows = [("1", "9", "5", "30"), ("2", "9", "1", "40"), ("1", "9", "3", "20"), ("2", "9", "2", "40")]
    Path("a").write_text(text(rows, "\t"))
    assert convert("a", "timed", "data").n_duplicates == 2
    assert read("timed") == [HEADER, rows[0], rows[3]]
    assert caplog.messages[-1] == "a: 2 duplicate ratings left out; the last of a pair by time is kept"
    Path("b").write_text(text([row[:3] for row in rows], "\t"))
    convert("b", "ordered", "data")
    assert read("ordered") == [HEADER[:3], rows[2][:3], rows[3][:3]]


def test_bad_lines_are_counted_and_listed_where_they_may_be_left_out(caplog):
    lines = text(ROWS, ",").splitlines()
    Path("a.csv").write_text("\n".join([lines[0], "oops", lines[1], "1,2,many,3", *lines[2:], ",2,3,4"]) + "\n")
    found = convert("a.csv", "toy", "data", skip_bad_lines=True)
    assert (found.bad_lines, read()) == (3, [HEADER, *ROWS])
    assert [message for message in caplog.messages if "left out" in message] == [
        "left out: a.csv line 2: 'oops': 1 field instead of 4",
        "left out: a.csv line 4: '1,2,many,3': rating 'many' is not a finite number",
        "left out: a.csv line 7: ',2,3,4': user '' is not a valid id",
    ]


@pytest.mark.parametrize(
    ("content", "arguments", "expected"),
    [
        ("1,2,3,4\n1,2,x,4\n", [], "a line 2: '1,2,x,4': rating 'x' is not a finite number. --skip_bad_lines skips such lines and lists the first ten."),
        ("1,2,3\n1,2\n", [], "a line 2: '1,2': 2 fields instead of 3. --skip_bad_lines skips such lines and lists the first ten."),
        ("1,2,3,4\n1,2,3,4,5\n", [], "a line 2: '1,2,3,4,5': 5 fields instead of 4. --skip_bad_lines skips such lines and lists the first ten."),
        ("1,2,3,4\n1,2,inf,4\n", [], "a line 2: '1,2,inf,4': rating 'inf' is not a finite number. --skip_bad_lines skips such lines and lists the first ten."),
        ("1,2,3,4\n1,2,3,soon\n", [], "a line 2: '1,2,3,soon': timestamp 'soon' is not a number. --skip_bad_lines skips such lines and lists the first ten."),
        ("1,2,3,2005-01-01\n1,2,3,soon\n", [], "a line 2: '1,2,3,soon': timestamp 'soon' does not match the date format ISO8601. --skip_bad_lines skips such lines and lists the first ten."),
        ('{"user": 1, "item": 2, "rating": 3}\n{"user": 1}\n', [], "a line 2: '{\"user\": 1}': item '' is not a valid id. --skip_bad_lines skips such lines and lists the first ten."),
        ('{"user": 1, "item": 2, "rating": 3}\n[]\n', [], "a line 2: '[]': not a JSON object. --skip_bad_lines skips such lines and lists the first ten."),
        ("", [], "a is empty."),
        ("\n \n", [], "a has no line with a rating."),
        ("hello\nworld\n", [], "a: found no separator that splits 'hello' into user, item, rating; expected a tab, blanks, or one of :: , ; | between the fields, or give --separator."),
        ("user,item,stars\n", [], "a has a header but no rating."),
        ("a,b,c\n1,2,3\n", [], "a: no column for user in ['a', 'b', 'c']; name them: --columns user=NAME,item=NAME,rating=NAME; or by position, in the order of the file, with - for unused columns, such as --columns user,item,rating; or, if this line is not a header: --header no."),
        ("1,2,3,4,5\n", [], "a: 5 columns and no header; name them in order, with - for unused columns: --columns user,item,rating,-,timestamp."),
        ("1,2,3\n", ["--columns", "user,item,stars"], "--columns 'user,item,stars': 'stars'; expected user, item, rating, timestamp, or - for unused."),
        ("1,2,3\n", ["--columns", "user,item,-,rating"], "--columns 'user,item,-,rating' has 4 columns; the first line of a has 3: ['1', '2', '3']."),
        ("1,2,3\n", ["--columns", "user,user,rating"], "a: two columns for user in ['1', '2', '3']; give them by position, in the order of the file, with - for unused columns, such as --columns user,item,rating."),
        ("1," * 12 + "1\n", ["--columns", "user,item"], "a: no column for rating in ['1', '1', '1', '1', '1', '1', '1', '1', '1', '1', '1', '1', '...']; give them by position, in the order of the file, with - for unused columns, such as --columns user,item,rating,-,-,-,-,-,-,-,-,-,-."),
        ("1,2,3\n", ["--columns", "user=a"], "a has no header; give the columns by position, such as --columns user,item,rating; or --header yes."),
        ("a,b,c\n1,2,3\n", ["--columns", "user=a,item=b,rating=d"], "a: --columns rating=d; expected one of a, b, c."),
        ("a,b,c\n1,2,3\n", ["--columns", "user=a,item=b,stars=c"], "--columns 'user=a,item=b,stars=c': 'stars'='c'; expected FIELD=NAME, FIELD one of user, item, rating, timestamp."),
        ("1,2,3\n", ["--name", "a/b"], "--name 'a/b'; expected a dataset name that can name a folder."),
        ("1,2,3\n", ["--split", "a,b"], "--split: 'b' not found in 'a'."),
        ("1,2,3\n", ["--split", "a"], "--split 'a'; expected two files, train,test, or three: train,valid,test."),
        ("1,2,3\n", ["--input", "no.csv"], "'no.csv': no such file."),
        ("1,2,3\n", ["--colums", "x"], "command line: unknown flag --colums; did you mean --columns?"),
        ("1,2,3\n[PAD],2,3\n", [], "a line 2: '[PAD],2,3': user '[PAD]' is not a valid id. --skip_bad_lines skips such lines and lists the first ten."),
        ("user,item,rating,rating\n1,2,3,4\n", [], "a: two columns for rating in ['user', 'item', 'rating', 'rating']; name them: --columns user=NAME,item=NAME,rating=NAME; or by position, in the order of the file, with - for unused columns, such as --columns user,item,rating,-."),
        ("1," + "2" * 100 + "\n", [], "a: found no separator that splits '1," + "2" * 75 + "...' into user, item, rating; expected a tab, blanks, or one of :: , ; | between the fields, or give --separator."),
        ("[\n", [], "a has no JSON object in its first lines; expected one per rating."),
        ("PK\3\4x", [], "a is a .zip archive, which cannot be read as ratings: unpack it, or name it .zip."),
        ("1,2,3\n", ["--separator", ";"], "a: no separator ';' in '1,2,3'; omit --separator to detect it."),
        ("item,user,x,timestamp\n1,2,3,4\n", ["--columns", "item,user,-,rating"], "a: column 'timestamp' is given as the rating; if you mean it, name the columns: --columns item=item,user=user,rating=timestamp"),
        ("1,2,3\n", ["--input", ""], "command line: --input is empty; see --help."),
        ("1,2,3\n", ["--seed", "-1"], "seed=-1; expected a whole number >= 0."),
        ("1,2,3\n", ["--encoding", "utf-9"], "--encoding 'utf-9'; expected one that Python knows, such as utf-8, cp1252 (Western European Windows) or utf-16."),
    ],
)  # fmt: skip
def test_a_mistake_is_one_message_and_exit_code_2(content, arguments, expected, capsys, tmp_path):
    Path("a").write_text(content)
    flags = {"--input": "a", "--name": "toy", **dict(zip(arguments[::2], arguments[1::2], strict=True))}
    assert cli.main(["convert", "--data_path", "data", *chain.from_iterable(flags.items())]) == 2
    assert capsys.readouterr().err == f"error: {expected}\n"
    assert [path for path in tmp_path.rglob("*") if path.name not in ("a", "data")] == []  # no partial files


def test_a_dataset_that_is_there_is_left_alone(capsys):
    Path("a").write_text("1,2,3\n")
    arguments = ["convert", "--input", "a", "--name", "toy", "--data_path", "data"]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out == (
        "\ndata/toy: 1 rating from 3 to 3, 1 user, 1 item, in toy.inter\ntrain with: --dataset toy --data_path data\n"
    )
    before = (Path("data") / "toy" / "toy.inter").stat()
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err == ("error: 'data/toy' already exists; give another --name, or delete it first.\n")
    assert (Path("data") / "toy" / "toy.inter").stat() == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.zip", b"PK\x03\x04 no archive"),
        ("a.gz", b"\x1f\x8b no archive"),
        ("a.gz", gzip.compress(b"1,2,3\n" * 1000, mtime=0)[:40]),
        ("a.parquet", b"PAR1 none"),
        ("a.csv", bytes(range(256))),
        ("a.csv", b"1,2,3\n" + b"\xff,2,3\n"),
    ],
)
def test_damaged_files_are_named(name, content):
    Path(name).write_bytes(content)
    with pytest.raises(AutoRecError, match=r"a\.|'a\.zip'|^a "):
        convert(name, "toy", "data")


def test_a_ready_split_is_used_as_it_is(tmp_path):
    pairs = [(str(user), str(item)) for user in range(30) for item in range(20)]
    rows = [
        (user, item, str(1 + (int(user) * int(item)) % 5), "1") for user, item in random.Random(0).sample(pairs, 300)
    ]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "u1.base").write_text(text(rows[:240], "\t"))
    (tmp_path / "in" / "u1.test").write_text(text(rows[240:], "\t"))
    (tmp_path / "in" / "u.data").write_text("not looked at")
    found = convert("in", "toy", "data", split="u1.base,u1.test")
    assert found.parts == ("train", "valid", "test")
    parts = {part: read(part=f".{part}")[1:] for part in found.parts}
    assert parts["test"] == rows[240:]
    assert sorted(parts["train"] + parts["valid"]) == sorted(rows[:240])
    assert len(parts["valid"]) == 24
    result = run_recbole_autorec(
        "Bias", "toy", config_dict={"data_path": "data", "benchmark_filename": list(found.parts), "saved": False}
    )
    assert (result["n_train"], result["n_valid"], result["n_test"]) == (216, 24, 60)
    (tmp_path / "in" / "u1.valid").write_text(text(rows[220:240], "\t"))
    (tmp_path / "in" / "u1.train").write_text(text(rows[:220], "\t"))
    convert("in", "three", "data", split=["u1.train", "u1.valid", "u1.test"])
    assert [len(read("three", part=f".{part}")) for part in found.parts] == [221, 21, 61]
    (tmp_path / "in" / "again").write_text(text(rows[:1], "\t"))
    with pytest.raises(AutoRecError, match=r"^--split: 1 duplicate rating"):
        convert("in", "twice", "data", split="u1.base,again")


FIELD = st.text(st.sampled_from('1207.-+eE"ax: \\ñ\r\x00nif_'), max_size=5)
GOOD = st.tuples(
    st.sampled_from(["u1", "007", "a b", "ñ"]), st.sampled_from(["1", "x:y"]), st.sampled_from(["4.5", "-1", "3e0"])
)
TIMES = {None: st.sampled_from(["12", "978300760"]), "%Y-%m-%d": st.sampled_from(["2005-09-06", "1999-12-31"])}


@settings(max_examples=400)
@given(
    st.data(), st.sampled_from(SEPARATORS), st.sampled_from(list(TIMES)), st.booleans(), st.booleans(), st.booleans()
)
def test_the_fast_reader_and_the_careful_one_agree(data, separator, dates, timed, more, ends):
    """Valid lines with one arbitrary field."""
    fields = st.tuples(GOOD, TIMES[dates], st.just("more")).map(lambda f: [*f[0], *[f[1]] * timed, *[f[2]] * more])
    rows = data.draw(st.lists(fields, min_size=1, max_size=4))
    if data.draw(st.booleans()):
        row = data.draw(st.sampled_from(rows))
        row[data.draw(st.integers(0, len(row) - 1))] = data.draw(FIELD)
        if data.draw(st.booleans()):
            del row[-1]
    columns = ("user", "item", "rating", *["timestamp"] * timed, *[None] * more)
    layout = Layout(separator, False, columns, dates if timed else None, quoted=separator in QUOTED)
    text = "\n".join(separator.join(row) for row in rows).encode() + b"\n" * ends
    blocks = Blocks("a", io.BytesIO(text), 1 << 20, FOUND_OUT, None)
    blocks.quoted_by = separator.encode() if layout.quoted else None
    try:
        read = list(blocks)
    except AutoRecError:
        return  # a quote that is never closed
    for block in read:
        bad = BadLines(skip=True)
        fast = _fast(block, layout, FOUND_OUT)
        try:
            careful = _line_by_line("a", block, layout, FOUND_OUT, bad, [""])
        except AutoRecError:
            assert fast is None
            continue
        if fast is not None:
            assert bad.count == 0
            assert [tuple(row) for row in fast.to_numpy()] == [tuple(row) for row in careful.to_numpy()]


@pytest.mark.parametrize("dates", list(TIMES))
@pytest.mark.parametrize("separator", SEPARATORS)
def test_good_lines_are_read_fast(separator, dates):
    time = {None: "978300760", "%Y-%m-%d": "2005-09-06"}[dates]
    lines = separator.join(["ñ", "1", "4.5", time, "more"]).encode() + b"\n"
    layout = Layout(separator, False, ("user", "item", "rating", "timestamp", None), dates)
    assert len(_fast(Block(1, lines * 3, lines * 3), layout, FOUND_OUT)) == 3


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from(["1:", "22:", "5,3,2005-01-01", "6,4,2005-01-02", "x", "7,y,2005-01-01", ":", ""]), max_size=6
    )
)
def test_the_fast_netflix_reader_agrees_too(lines):
    text = "".join(line + "\n" for line in lines).encode()
    block = Block(1, text, text)
    layout = Layout(",", False, ("user", "rating", "timestamp"), "%Y-%m-%d", netflix=True)
    before, after, bad = ["9"], ["9"], BadLines(skip=True)
    fast = _fast_netflix(block, layout, FOUND_OUT, before)
    careful = _line_by_line("a", block, layout, FOUND_OUT, bad, after)
    if fast is not None:
        assert bad.count == 0
        assert [tuple(row) for row in fast[careful.columns].to_numpy()] == [tuple(row) for row in careful.to_numpy()]
        assert before == after


@settings(max_examples=150)
@given(st.binary(max_size=200) | st.text("12,:\t\n{}\"'user.", max_size=60).map(str.encode), st.sampled_from(
    ["a.csv", "a.gz", "a.zip", "a.parquet", "a.jsonl"]), st.booleans())  # fmt: skip
def test_whatever_is_in_a_file_it_is_read_or_refused(tmp_path_factory, content, name, skip):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / name).write_bytes(content)
    try:
        convert(folder / name, "toy", folder / "data", skip_bad_lines=skip, show_progress=False)
    except AutoRecError:
        assert not (folder / "data" / "toy").exists()


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(0, 255))
def test_a_flipped_byte_in_an_archive_is_noticed_or_harmless(tmp_path_factory, place, byte):
    folder, buffer = tmp_path_factory.mktemp("flip"), io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("u.data", text(ROWS * 20, "\t"))
    content = bytearray(buffer.getvalue())
    content[place % len(content)] = byte
    (folder / "a.zip").write_bytes(content)
    try:
        convert(folder / "a.zip", "toy", folder / "data", show_progress=False)
    except AutoRecError:
        return
    assert read(data_path=folder / "data") == [HEADER, *ROWS]


@pytest.mark.parametrize(
    ("first", "form"),
    [("2005-09-06", fields.ISO), ("2005-09-06 00:00:00", fields.ISO), ("09/06/2005", "%m/%d/%Y"), ("2005-09-06T00:00:00.000Z", fields.ISO)],
)  # fmt: skip
def test_the_first_dates_say_how_all_are_written(first, form):
    assert fields.date_formats([first])[0] == form
    assert fields.seconds([first], form)[0] == 1125964800
    Path("a.csv").write_text(f"1,2,3,{first}\n1,3,4,31/31/2005\n")
    with pytest.raises(
        AutoRecError, match=r"^a\.csv line 2: '1,3,4,31/31/2005': timestamp '31/31/2005' does not match the date format"
    ):
        convert("a.csv", "toy", "data")


def test_whole_ids_of_parquet_stay_whole_beside_missing_ones():
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra tune)")
    from pyarrow import parquet

    columns = {
        "user": [1, 2, 3, None],
        "item": [1, 1, 2, 2],
        "rating": [1.0, 2.0, 3.0, 4.0],
        "timestamp": ["5", "6", "7", "8"],
    }
    parquet.write_table(pyarrow.table(columns), "a.parquet")
    assert convert("a.parquet", "toy", "data", skip_bad_lines=True).bad_lines == 1
    assert read()[1:] == [("1", "1", "1", "5"), ("2", "1", "2", "6"), ("3", "2", "3", "7")]


def test_files_of_a_split_have_the_same_columns(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("1,2,3,4\n")
    (tmp_path / "in" / "b").write_text("1,3,3\n")
    with pytest.raises(
        AutoRecError, match=r"^b has columns user, item, rating; earlier files have user, item, rating, timestamp\.$"
    ):
        convert("in", "toy", "data", split="a,b")


def test_ctrl_c_ends_a_conversion(monkeypatch):
    read_csv = pd.read_csv

    def interrupted(*arguments, **keywords):
        os.kill(os.getpid(), signal.SIGINT)
        return read_csv(*arguments, **keywords)

    monkeypatch.setattr(separated.pd, "read_csv", interrupted)
    Path("a.csv").write_text("1,2,3\n")
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        convert("a.csv", "toy", "data")
    assert not Path("data/toy").exists()
    assert signal.getsignal(signal.SIGINT) is before
