"""Latency of recommendations from examples/serve.py, for clients that send the next request after each answer.

python benchmarks/serve.py saved/MODEL.pth
"""

import argparse
import asyncio
import random
import re
import subprocess
import sys
import time
from pathlib import Path

from recbole_autorec import Predictor

SERVER = Path(__file__).resolve().parent.parent / "examples" / "serve.py"


async def client(port: int, users: list[str], count: int, seconds: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for user in random.sample(users, count):
        start = time.perf_counter()
        writer.write(f"GET /recommend?user={user}&k=10 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.splitlines()[0]:
            raise RuntimeError(head)
        await reader.readexactly(int(re.search(rb"content-length: (\d+)", head.lower())[1]))
        seconds.append(time.perf_counter() - start)
    writer.close()


async def clients(n: int, *arguments) -> None:
    await asyncio.gather(*(client(*arguments) for _ in range(n)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=500, help="requests per client")
    options = parser.parse_args()
    users = Predictor.load(options.checkpoint).rated_users
    command = [sys.executable, str(SERVER), options.checkpoint, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            port = next(int(found[1]) for line in server.stderr if (found := re.search(r"127\.0\.0\.1:(\d+)", line)))
            asyncio.run(clients(options.clients, port, users, 50, []))  # warm-up
            seconds: list[float] = []
            start = time.perf_counter()
            asyncio.run(clients(options.clients, port, users, options.requests, seconds))
            took = time.perf_counter() - start
        finally:
            server.terminate()
    seconds.sort()
    quantiles = ", ".join(f"{100 * q:g} % {1000 * seconds[int(q * len(seconds))]:.1f} ms" for q in (0.5, 0.9, 0.99))
    print(f"{options.clients} clients, {len(seconds)} requests, {len(seconds) / took:.0f} a second: {quantiles}")


if __name__ == "__main__":
    main()
