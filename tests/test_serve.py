"""The example server in a separate process: valid, mistyped and hostile requests."""

import json
import os
import random
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlencode

import psutil
import pytest

from recbole_autorec import Predictor, run_recbole_autorec
from recbole_autorec.distributed.children import import_path
from tests.conftest import DATA, QUICK, ROOT

PATIENCE = 5.0  # the server's timeout for a request's head, and for its body


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Return (predictor, process, port, log) of a running server."""
    folder = tmp_path_factory.mktemp("serve")
    parameters = {**QUICK, "data_path": str(DATA), "saved": True, "checkpoint_dir": str(folder)}
    checkpoint = run_recbole_autorec("IAutoRec", "tiny", config_dict=parameters)["checkpoint"]
    log = folder / "log"
    command = [sys.executable, str(ROOT / "examples" / "serve.py"), checkpoint, "--port", "0"]
    with log.open("w") as file, subprocess.Popen(
        command, stdout=file, stderr=file, env={**os.environ, "PYTHONPATH": import_path()}
    ) as process:  # fmt: skip
        try:
            for _ in range(600):
                if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", log.read_text()):
                    break
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            yield Predictor.load(checkpoint), psutil.Process(process.pid), int(found[1]), log
        finally:
            process.kill()
    assert "Traceback" not in log.read_text()
    assert "Warning" not in log.read_text()


@pytest.fixture
def ask(server):
    def asked(path, body=None, method=None):
        """Return (status, content) of a request."""
        request = urllib.request.Request(f"http://127.0.0.1:{server[2]}{path}", body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    return asked


def raw(port, *parts, pause=0.0):
    """Send raw bytes; return the response until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))
        except TimeoutError:
            raise
        except OSError:  # it has closed already
            return b""


def test_it_answers_what_the_predictor_does(server, ask):
    predictor = server[0]
    user, item = predictor.rated_users[0], predictor.rated_items[0]

    def rows(table):
        return json.loads(table.to_json(orient="records"))

    assert ask(f"/recommend?user={user}&k=2") == (200, predictor.best_items(user, 2))
    new = predictor.fold_in_user({item: 5})
    assert ask("/recommend?k=2", json.dumps({item: 5, "what": 3}).encode()) == (
        200, {"items": rows(new.recommend(2)), "left_out": ["what"]},
    )  # fmt: skip
    first, second, third = new.recommend(3)["item"]
    some = urlencode({"candidates": [first, second, third, "what"], "exclude": [second, "who"]}, doseq=True)
    answer = ask(f"/recommend?{some}", json.dumps({item: 5}).encode())[1]
    assert ([row["item"] for row in answer["items"]], answer["left_out"]) == ([first, third], [])
    unseen = predictor.recommend(user)["item"][0]
    assert [row["item"] for row in ask(f"/recommend?user={user}&candidates={unseen}")[1]] == [unseen]
    assert ask(f"/recommend?user={user}&exclude={unseen}")[1] == predictor.best_items(user, exclude=unseen)
    assert ask(f"/similar?item={item}&k=3") == (200, rows(predictor.similar_items(item, 3)))
    assert ask(f"/predict?user={user}&item={item}") == (
        200, {"rating": float(predictor.predict(user, item)[0]), "note": ""},
    )  # fmt: skip
    assert ask(f"/predict?user={user}&item=none")[1]["note"] == "unknown item"
    assert ask("/health") == (
        200,
        {"model": "IAutoRec", "users": len(predictor.users), "items": len(predictor.items), "leaves_out_rated": True},
    )
    assert set(ask("/openapi.json")[1]["paths"]) == {"/health", "/recommend", "/predict", "/similar"}


def test_it_listens_on_this_machine_only(server):
    listening = [c.laddr.ip for c in server[1].net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert listening == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/recommend?user=who", None, 404, "user 'who' is unknown: no such id in the training data."),
        ("/recommend", None, 422, "query user: Field required"),
        ("/recommend?user=a&k=none", None, 422, "query k: Input should be a valid integer"),
        ("/recommend?user=a&k=0", None, 422, "query k: Input should be greater than or equal to 1"),
        ("/recommend?user=a&k=99999999", None, 422, "query k: Input should be less than or equal to 1000"),
        ("/recommend", b'{"what": 5}', 404, "item 'what' is unknown"),
        ("/recommend?user=a&candidates=what", None, 422, "1 of 1 candidate left out: no training rating of item 'what'"),
        ("/recommend", b"{}", 422, "body: Dictionary should have at least 1 item"),
        ("/recommend", b"[3]", 422, "body: Input should be a valid dictionary"),
        ("/recommend", b'{"x2": "five"}', 422, "body x2: Input should be a valid number"),
        ("/recommend", b'{"x2": 99}', 422, "a new user's rating 99.0 of item 'x2'; expected 0 to 5."),
        ("/recommend", b'{"x2": NaN}', 422, "a new user's rating nan of item 'x2'"),
        ("/recommend", b"not json", 422, "body"),
        ("/nowhere", None, 404, "Not Found"),
        ("/predict?user=a", b"{}", 405, "Method Not Allowed"),
    ],
)  # fmt: skip
def test_a_mistake_is_said_in_json(ask, path, body, status, said):
    code, content = ask(path, body)
    assert (code, list(content)) == (status, ["error"]), content
    assert said in content["error"]


EVIL_BODIES = [
    b"", b"null", b"0", b'"x"', b"[" * 100_000, b'{"a":' * 50_000, b'{"x2": 1e999}', b'{"x2": ' + b"9" * 10_000 + b"}",
    b'{"x2": -Infinity}', b"\xff\xfe\x00", b'{"\xff": 1}', b'{"\\ud800": 3}', b'{"x2": 3, "\\ud800": 3}', b'{"x2": {"x2": 1}}', b'{"x2": true}',
    b'{"x2": null}', b'{"": 3}', b"{'x2': 3}", b'{"x2": 3', b'{"x2": 3}}', b"\0" * 1000, json.dumps({str(n): 1 for n in range(9000)}).encode(),
    b'{"x2": "' + b"5" * 200_000 + b'"}',
]  # fmt: skip
EVIL_VALUES = [
    "",
    "x" * 5000,
    "\0",
    "\ud7ff",
    "../../etc/passwd",
    "%00",
    "';--",
    "{}",
    "-1",
    "1e9",
    "1.5",
    "NaN",
    "9" * 400,
]
EVIL_HEADS = [
    b"", b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/1.1\r\n\r\n",
    b"GET /recommend?user=\xff HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX: \0\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 9x\r\n\r\n",
    b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    b"POST /recommend HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 5000 + b"\r\n", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /recommend?user=a HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 50 + b"garbage\r\n\r\n",
]  # fmt: skip


def is_right(status, content):
    return 200 <= status < 500 and (status < 400 or list(content) == ["error"])


def test_hundreds_of_malformed_requests_get_a_json_error_and_leave_it_well(server, ask):
    _, process, port, _ = server
    chosen = random.Random(1)
    memory = process.memory_info().rss
    for number in range(200):
        values = {name: chosen.choice([*EVIL_VALUES, "a", "x2", "3"]) for name in ("user", "item", "k", "what")}
        path = chosen.choice(["/recommend", "/predict", "/similar", "/health", "/", "//", "/recommend/"])
        asked = f"{path}?{urlencode(values, errors='surrogatepass')}"
        body = chosen.choice([None, *EVIL_BODIES])
        method = chosen.choice(["GET", "POST", "PUT", "HEADER", "DELETE"])
        assert is_right(*ask(asked, body, method)), (number, method, asked[:200], body and body[:50])
    for body in EVIL_BODIES:
        assert is_right(*ask("/recommend", body, "POST")), body[:50]
    for _ in range(5):
        for head in EVIL_HEADS:
            damaged = bytearray(head)
            for _ in range(chosen.choice([0, 0, 1, 5]) if head else 0):
                damaged[chosen.randrange(len(damaged))] = chosen.randrange(256)
            answer = raw(port, bytes(damaged))
            assert not answer or re.match(rb"HTTP/1\.[01] [234]\d\d ", answer), (damaged[:100], answer[:100])
            assert b"text/plain" not in answer, damaged[:100]
    assert ask("/health")[0] == 200
    assert process.memory_info().rss < memory + (1 << 27)


def test_a_body_may_not_be_long(server, ask):
    port = server[2]
    for part in (
        b"Content-Length: 1000000000\r\n\r\n" + b" " * 1_000_000,
        b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b" " * 65536 + b"\r\n" * 1,
    ):
        answer = raw(
            port, b"POST /recommend HTTP/1.1\r\nHost: x\r\n" + part, *([b"10000\r\n" + b" " * 65536 + b"\r\n"] * 8)
        )
        assert answer == b"" or answer.startswith(b"HTTP/1.1 413 "), answer[:100]
    assert ask("/recommend", b" " * 300_000) == (413, {"error": "the body has more than 262144 bytes"})


def test_two_hundred_slow_clients_are_let_go_and_nobody_waits_for_them(server, ask):
    port = server[2]
    beginnings = [b"", b"G", b"GET /health HTTP/1.1\r\nHost: x\r\n", b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
                  b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /he"]  # fmt: skip
    with ExitStack() as stack:
        start = time.monotonic()
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30)) for _ in range(200)]
        for number, connection in enumerate(slow):
            connection.sendall(beginnings[number % len(beginnings)])
        begun = time.monotonic()
        for _ in range(20):
            assert ask("/health")[0] == 200
        assert time.monotonic() - begun < PATIENCE
        answers = [b"".join(iter(lambda c=connection: c.recv(1 << 16), b"")) for connection in slow]
        assert time.monotonic() - start < 4 * PATIENCE
    assert answers[0] == answers[1] == answers[2] == b""
    assert answers[3].startswith(b"HTTP/1.1 408 ")
    assert b'{"error":"the body took longer than 5 s"}' in answers[3]
    assert answers[4].count(b"HTTP/1.1 200 OK") == 1


def test_a_client_that_does_not_read_is_let_go(server):
    """It requests more than all buffers hold."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", server[2]))
        connection.setblocking(False)
        start = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - start < 10 * PATIENCE:
                try:
                    connection.send(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
                except BlockingIOError:
                    time.sleep(0.1)
        assert time.monotonic() - start < 5 * PATIENCE


def test_a_dripping_head_is_not_waited_for(server):
    start = time.monotonic()
    assert raw(server[2], *([b"GET /health HTTP/1.1\r\n"] + [b"A: b\r\n"] * 100), pause=0.2) == b""
    assert time.monotonic() - start < 3 * PATIENCE


def test_a_bad_checkpoint_and_a_taken_port_are_said(server, tmp_path):
    (tmp_path / "x.pth").write_text("x")
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "serve.py"), str(tmp_path / "x.pth")], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": import_path()}, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: checkpoint ")
    checkpoint = next(server[3].parent.glob("*.pth"))
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "serve.py"), str(checkpoint), "--port", str(server[2])],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": import_path()}, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_requirements_are_those_of_the_tests():
    """The packages of examples/requirements.txt are tested in the versions of constraints.txt."""
    wanted = [
        line.split()[0]
        for line in Path(ROOT / "examples" / "requirements.txt").read_text().splitlines()
        if line[0] != "#"
    ]
    pinned = {line.split("==")[0] for line in Path(ROOT / "constraints.txt").read_text().splitlines()}
    assert set(wanted) <= pinned
