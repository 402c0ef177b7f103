"""GroupLens's archives, in their exact layouts, from a server on loopback."""

import functools
import hashlib
import http.server
import io
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from recbole_autorec import AutoRecError, DataError, cli, run_recbole_autorec
from recbole_autorec.conversion import movielens
from recbole_autorec.conversion.convert import convert, report
from tests.conftest import ROOT

RATINGS = [(1 + user, 1 + item, 1 + (user * item) % 5, 978300760 + user) for user in range(12) for item in range(10)]
GENRES = ["unknown", "Action", "Children's"]
FLAGS = "|".join(["0", "1", "1"])


def packed(files: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def rows(separator: str, half=False) -> str:
    return "".join(separator.join(map(str, (u, i, r - 0.5 if half else r, t))) + "\n" for u, i, r, t in RATINGS)


def movies(separator: str, quote="") -> str:
    title = f"{quote}American President, The (1995){quote}"
    lines = [separator.join((str(1 + item), title, "Comedy|Drama")) for item in range(9)]
    return "\n".join([*lines, separator.join(("10", "Pokémon: Alive", "(no genres listed)"))]) + "\n"


CSV = {"ratings.csv": "userId,movieId,rating,timestamp\n" + rows(",", half=True),
       "movies.csv": "movieId,title,genres\n" + movies(",", '"'), "links.csv": "movieId,imdbId,tmdbId\n1,2,3\n",
       "tags.csv": "userId,movieId,tag,timestamp\n1,1,fun,3\n", "README.txt": "Summary\n"}  # fmt: skip
ARCHIVES = {
    "ml-100k": packed({
        "ml-100k/u.data": rows("\t"), "ml-100k/u1.base": rows("\t")[:1000].rpartition("\n")[0] + "\n",
        "ml-100k/u1.test": "13\t1\t3\t5\n", "ml-100k/u.genre": "".join(f"{g}|{n}\n" for n, g in enumerate(GENRES)) + "\n",
        "ml-100k/u.item": "".join(f"{1 + i}|Café, The (1995)|01-Jan-1995||http://x|{FLAGS}\n" for i in range(10)).encode("latin-1"),
        "ml-100k/u.user": "".join(f"{1 + u}|24|M|technician|85711\n" for u in range(12)), "ml-100k/u.info": "12 users\n",
    }),
    "ml-1m": packed({
        "ml-1m/ratings.dat": rows("::"), "ml-1m/movies.dat": movies("::").encode("latin-1"), "ml-1m/README": "SUMMARY\n",
        "ml-1m/users.dat": "".join(f"{1 + u}::F::1::10::48067\n" for u in range(12)),
    }),
    "ml-10m": packed({
        "ml-10M100K/ratings.dat": rows("::", half=True), "ml-10M100K/movies.dat": movies("::"),
        "ml-10M100K/tags.dat": "15::4973::excellent!::1215184630\n", "ml-10M100K/split_ratings.sh": "#!/bin/sh\n",
    }),
    **{name: packed({f"{name}/{file}": content for file, content in CSV.items()})
       for name in ("ml-20m", "ml-25m", "ml-latest-small")},
}  # fmt: skip


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve ARCHIVES with range requests; each of `faults` occurs once."""

    def __init__(self, faults, asked, *arguments):
        self.faults, self.asked = faults, asked
        super().__init__(*arguments)

    def log_message(self, *_):
        pass

    def do_GET(self):
        start = int((self.headers["Range"] or "bytes=0-")[len("bytes=") : -1])
        self.asked.append((self.path, start))
        fault = self.faults.pop(0) if self.faults else None
        name, _, kind = self.path.removeprefix("/sets/").partition(".zip")
        if fault == "missing" or name not in ARCHIVES:
            return self.send_error(404)
        content = ARCHIVES[name]
        if kind == ".md5":
            content = f"MD5 ({name}.zip) = {hashlib.md5(content).hexdigest()}\n".encode()
        if fault == "wrong":
            content = content[::-1]
        if fault == "no ranges":
            start = 0
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: 700 if fault == "broken" else None])
        return None


@pytest.fixture
def server(monkeypatch):
    """Return (address, pending faults, requests); checksums are those of the test archives."""
    sums = {name: hashlib.md5(content).hexdigest() for name, content in ARCHIVES.items()}
    monkeypatch.setattr(movielens, "ARCHIVES", {**sums, "ml-latest-small": None})
    faults, asked = [], []
    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, faults, asked))
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_port}/sets", faults, asked
    serving.shutdown()
    serving.server_close()


def run(name, address, **parameters):
    return run_recbole_autorec("Bias", name, config_dict={"download_url": address, "saved": False, **parameters})


@pytest.mark.parametrize("name", ["ml-1m", "ml-10m", "ml-20m", "ml-25m", "ml-latest-small"])
def test_a_dataset_that_is_not_there_is_fetched_once(name, server, caplog):
    address, _, asked = server
    result = run(name, address, features=True)
    assert result["n_train"] + result["n_valid"] + result["n_test"] == len(RATINGS)
    downloads = [path for path, _ in asked]
    assert downloads == [f"/sets/{name}.zip"] if name != "ml-latest-small" else len(downloads) == 2
    assert sum(movielens.LICENCE in message for message in caplog.messages) == 1
    folder = Path("dataset") / name
    inter = (folder / f"{name}.inter").read_text().splitlines()
    half = name != "ml-1m"
    assert inter[:2] == ["user_id:token\titem_id:token\trating:float\ttimestamp:float",
                         "1\t1\t0.5\t978300760" if half else "1\t1\t1\t978300760"]  # fmt: skip
    item = (folder / f"{name}.item").read_text(encoding="utf-8").splitlines()
    assert item[:2] == ["item_id:token\tmovie_title:token_seq\trelease_year:token\tgenre:token_seq",
                        "1\tAmerican President, The\t1995\tComedy Drama"]  # fmt: skip
    assert item[-1] == "10\tPokémon: Alive\t\t"
    assert (folder / f"{name}.user").exists() == (name == "ml-1m")
    caplog.clear()
    assert run(name, address)["split_fingerprint"] == result["split_fingerprint"]
    assert [path for path, _ in asked] == downloads
    assert not any(movielens.LICENCE in message for message in caplog.messages)


def test_ml_1m_has_its_users(server):
    run("ml-1m", server[0])
    users = Path("dataset/ml-1m/ml-1m.user").read_text().splitlines()
    assert users[:2] == [
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token",
        "1\t1\tF\t10\t48067",
    ]


def test_ml_100k_in_its_raw_form(server):
    convert("ml-100k", "raw", "data", download_url=server[0])
    assert Path("data/raw/raw.inter").read_text().count("\n") == 1 + len(RATINGS)
    assert (
        Path("data/raw/raw.item").read_text(encoding="utf-8").splitlines()[1] == "1\tCafé, The\t1995\tAction Children's"
    )
    assert Path("data/raw/raw.user").read_text().splitlines()[1] == "1\t24\tM\ttechnician\t85711"
    convert("ml-100k", "u1", "data", split="u1.base,u1.test", download_url=server[0])
    assert Path("data/u1/u1.test.inter").read_text().splitlines()[1:] == ["13\t1\t3\t5"]
    assert len(server[2]) == 1  # the archive is kept


def test_a_broken_download_goes_on_where_it_broke_off(server):
    address, faults, asked = server
    faults += ["broken", "broken"]
    run("ml-1m", address)
    assert asked == [("/sets/ml-1m.zip", 0), ("/sets/ml-1m.zip", 700), ("/sets/ml-1m.zip", 1400)]


def test_one_that_keeps_breaking_goes_on_with_the_next_command(server):
    address, faults, asked = server
    faults += ["broken"] * 3
    with pytest.raises(DataError) as error:
        run("ml-25m", address)
    assert str(error.value) == (
        f"{address}/ml-25m.zip cannot be downloaded: the connection was interrupted. 2,100 bytes are kept; the same command "
        "resumes from there. Get ml-25m.zip by other means, put it into 'dataset', and run the same command again."
    )
    assert not Path("dataset/ml-25m").exists()
    run("ml-25m", address)
    assert asked[-1] == ("/sets/ml-25m.zip", 2100)


def test_a_server_without_ranges_starts_anew(server):
    address, faults, _ = server
    faults += ["broken", "no ranges"]
    assert run("ml-1m", address)["n_train"] > 0


def test_a_whole_file_from_an_earlier_try_is_taken(server):
    Path("dataset").mkdir()
    Path("dataset/ml-1m.zip.part").write_bytes(ARCHIVES["ml-1m"])
    assert run("ml-1m", server[0])["n_train"] > 0


def test_a_wrong_checksum_is_refused_and_thrown_away(server, tmp_path):
    address, faults, _ = server
    faults += ["wrong"]
    with pytest.raises(DataError) as error:
        run("ml-1m", address)
    wrong, right = (hashlib.md5(content).hexdigest() for content in (ARCHIVES["ml-1m"][::-1], ARCHIVES["ml-1m"]))
    assert str(error.value) == (
        f"{address}/ml-1m.zip is damaged or a different file: its MD5 is {wrong}, GroupLens publishes {right}. Get ml-1m.zip by "
        "other means, put it into 'dataset', and run the same command again."
    )
    assert sorted(path.name for path in (tmp_path / "dataset").iterdir()) == [".ml-1m.lock", ".ml-1m.zip.lock"]


def test_a_server_that_has_it_not(server, capsys):
    server[1].append("missing")
    assert cli.main(["--dataset", "ml-1m", "--download_url", server[0]]) == 2
    assert capsys.readouterr().err == (
        f"error: {server[0]}/ml-1m.zip: the server answered 404 Not Found. Get ml-1m.zip by other means, put it into "
        "'dataset', and run the same command again.\n"
    )


def test_no_server_at_all(capsys):
    assert cli.main(["--dataset", "ml-1m", "--download_url", "http://127.0.0.1:9/sets"]) == 2
    assert capsys.readouterr().err == (
        "error: http://127.0.0.1:9/sets/ml-1m.zip cannot be downloaded: [Errno 111] Connection refused. Get ml-1m.zip by "
        "other means, put it into 'dataset', and run the same command again.\n"
    )


def test_an_archive_put_there_by_hand_is_taken_and_needs_no_genres(caplog):
    Path("dataset").mkdir()
    with zipfile.ZipFile("dataset/ml-100k.zip", "w") as file:
        file.writestr("ml-100k/u.data", "1\t7\t3\t5\n")
        file.writestr("ml-100k/u.item", "7|Twelve Monkeys (1995)|01-Jan-1995|||1|0\n")
    converted = convert("ml-100k", "my own", download_url="http://127.0.0.1:9")
    assert Path("dataset/my own/my own.item").read_text().splitlines()[1] == "7\tTwelve Monkeys\t1995\t"
    assert "'dataset/ml-100k.zip' is not GroupLens's archive: its MD5 is" in caplog.text
    assert report(converted) == (
        "dataset/my own: 1 rating from 3 to 3, 1 user, 1 item, in my own.inter, my own.item\n"
        "train with: --dataset 'my own' --data_path dataset"
    )


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("grouplens", "config_dict: download_url='grouplens'; expected an address, such as https://host/folder"),
        (3, "config_dict: download_url=3; expected an address, such as https://host/folder"),
        ("nothing://x", "nothing://x/ml-1m.zip cannot be downloaded: unknown url type: nothing."),
    ],
)
def test_an_address_that_is_none(address, expected):
    with pytest.raises(AutoRecError) as error:
        run("ml-1m", address)
    assert str(error.value).startswith(expected)


@pytest.mark.parametrize(
    "damage", [{"ml-1m/users.dat": "1::F\n"}, {"ml-1m/movies.dat": ""}, {"ml-1m/movies.dat": "1\n"}]
)
def test_tables_beside_the_ratings_that_are_no_good_are_left_out(damage):
    files = {
        "ml-1m/ratings.dat": rows("::"),
        "ml-1m/movies.dat": movies("::"),
        "ml-1m/users.dat": "1::F::1::10::48067\n",
    }
    Path("a.zip").write_bytes(packed({**files, **damage}))
    assert convert("a.zip", "toy", "data").n_ratings == len(RATINGS)


def test_a_folder_of_that_name_is_not_taken_for_the_archive(server):
    Path("ml-1m").mkdir()
    Path("ml-1m/notes.txt").write_text("1,2,3\n2,3,4\n")
    result = run("ml-1m", server[0])
    assert result["n_train"] + result["n_valid"] + result["n_test"] == len(RATINGS)


def test_the_data_folder_is_made(server):
    assert run("ml-1m", server[0], data_path="new/folder")["n_train"] > 0
    assert Path("new/folder/ml-1m/ml-1m.inter").is_file()


def test_two_processes_download_once(server):
    address, _, asked = server
    sums = {name: hashlib.md5(content).hexdigest() for name, content in ARCHIVES.items()}
    code = (
        f"from recbole_autorec.conversion import movielens; movielens.ARCHIVES.update({sums!r}); "
        f"from recbole_autorec import run_recbole_autorec; "
        f"run_recbole_autorec('Bias', 'ml-1m', config_dict={{'download_url': {address!r}, 'saved': False}})"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)})
            for _ in range(2)]  # fmt: skip
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert len(asked) == 1


def test_an_archive_that_lies_there_needs_no_server():
    Path("ml-1m.zip").write_bytes(ARCHIVES["ml-1m"])
    assert cli.main(["convert", "--input", "ml-1m.zip", "--name", "ml-1m"]) == 0
    assert run("ml-1m", "http://127.0.0.1:9")["n_train"] > 0
