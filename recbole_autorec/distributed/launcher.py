"""Launch the processes that train one model and report the first failure: RecBole's nproc, world_size, ip, port."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.multiprocessing import _prctl_pr_set_pdeathsig  # type: ignore[attr-defined]
from tqdm import tqdm

from recbole_autorec.distributed import children
from recbole_autorec.distributed.collectives import LostRankError, world_size_of
from recbole_autorec.errors import AutoRecError, ConfigError
from recbole_autorec.process_memory import return_large_blocks

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
PORT = 5678  # RecBole's default; used with several machines
PATIENCE = timedelta(minutes=30)  # with a rank that does not join or respond; it may be writing a checkpoint


def is_shared(config: Mapping[str, Any]) -> bool:
    """Return whether the run needs several processes and this one is the launcher."""
    return world_size_of(config) > 1 and not dist.is_initialized()


def unshared(config: Mapping[str, Any], instead: str) -> Any:
    """Return the config of one training among many, which must run in one process.

    Raises:
        ConfigError: the config asks for several processes; `instead` says what to do.
    """
    if is_shared(config):
        raise ConfigError(
            f"nproc={config['nproc']}, world_size={config['world_size']} are for training one model; {instead}."
        )
    return config


def launch(config: Mapping[str, Any], run: Callable[..., dict[str, Any]], arguments: dict[str, Any]) -> dict[str, Any]:
    """Call run(**arguments), such as run_recbole_autorec, in each of the config's processes; return one result.

    Raises:
        AutoRecError: a rank raised one, or died; the message names the last checkpoint.
    """
    if reason := children.why_not_importable(arguments["model"]):
        raise ConfigError(f"nproc: {reason}")
    nproc, n_ranks, offset = config["nproc"], world_size_of(config), config["group_offset"]
    cuda = config["device"].type == "cuda"
    if cuda and torch.cuda.device_count() < nproc:
        raise ConfigError(
            f"nproc={nproc} needs {nproc} GPUs, but {torch.cuda.device_count()} can be used; give more, as "
            "in --gpu_id 0,1, or --use_gpu False."
        )
    several_machines = n_ranks > nproc
    ip, port = (config["ip"], config["port"] or PORT) if several_machines else (LOOPBACK, config["port"] or 0)
    interface = _interface(ip, several_machines)
    variables = {
        "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),  # else it warns about unnamed addresses
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // nproc))),
        # by default gloo uses the address of the host name, which other machines often cannot reach
        "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", interface),
        "NCCL_SOCKET_IFNAME": os.environ.get("NCCL_SOCKET_IFNAME", interface),
    }
    if several_machines:
        logger.info(f"waiting at {ip}:{port} for all {n_ranks} processes")
    store = _meeting_place(ip, port, n_ranks) if offset == 0 else None
    place = ip, store.port if store else port, offset, n_ranks, "cpu:gloo,cuda:nccl" if cuda else "gloo"
    root = logging.getLogger()
    level = root.level if root.handlers else None
    messages, start = mp.get_context("spawn").SimpleQueue(), time.time()
    with children.environment(**variables), children.self_contained():
        context: Any = mp.spawn(_work, (place, run, arguments, level, messages), nprocs=nproc, join=False)

    sent: list[tuple[str, Any]] = []
    try:
        while not context.join(timeout=0.2, grace_period=children.GRACE):
            _drain(messages, sent)
    except (mp.ProcessExitedException, mp.ProcessRaisedException):
        _drain(messages, sent)
        raise _failure(context, config, arguments, sent, start) from None
    except KeyboardInterrupt:
        children.interrupt(context.processes, first=children.GRACE / 2)
        raise
    _drain(messages, sent)
    results = [value for kind, value in sent if kind == "result"]
    if not results:
        raise KeyboardInterrupt  # the ranks were interrupted, but this process was not
    return results[0]


def _work(
    local_rank: int, place: tuple, run: Callable, arguments: dict[str, Any], level: int | None, messages: Any
) -> None:
    ip, port, offset, n_ranks, backend = place
    if level is not None:
        logging.basicConfig(level=level, format="%(message)s")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a background job, as is torch's SIGINT to orphans
        _prctl_pr_set_pdeathsig(signal.SIGTERM)
    try:
        return_large_blocks()
        tqdm.set_lock(threading.RLock())  # the default lock is a semaphore, which a killed process leaks
        if "nccl" in backend:
            torch.cuda.set_device(local_rank)
        try:
            store = dist.TCPStore(ip, port, n_ranks, is_master=False, timeout=PATIENCE)
            dist.init_process_group(
                backend, store=store, rank=offset + local_rank, world_size=n_ranks, timeout=PATIENCE
            )
        except RuntimeError as error:
            raise ConfigError(
                f"{n_ranks} processes did not connect at {ip}:{port}: {str(error).splitlines()[0]}. Start the command "
                "on every machine, with the --ip of the machine that has --group_offset 0."
            ) from error
        result = run(**arguments)
        if local_rank == 0:
            messages.put(("result", result))
        dist.destroy_process_group()
    except AutoRecError as error:
        messages.put(("error", error))
        sys.exit(2)
    except Exception:
        messages.put(("crash", traceback.format_exc()))
        sys.exit(1)


def _meeting_place(ip: str, port: int, n_ranks: int) -> dist.TCPStore:
    try:
        if ip != LOOPBACK:
            return dist.TCPStore(ip, port, n_ranks, is_master=True, wait_for_workers=False)
        # torch's store listens on every address unless it gets a socket, which its libuv backend does not accept
        server = socket.create_server((ip, port))
        port = server.getsockname()[1]
        return dist.TCPStore(
            ip, port, n_ranks, is_master=True, wait_for_workers=False, master_listen_fd=server.detach(), use_libuv=False
        )
    except (RuntimeError, OSError) as error:
        raise ConfigError(
            f"port {port}: {str(error).splitlines()[0]}. Give another --port, and the --ip of this machine."
        ) from error


def _failure(context: Any, config: Mapping[str, Any], arguments: dict[str, Any], sent: list, start: float) -> Exception:
    """Return what went wrong first: a rank's error or death, rather than the loss that other ranks report."""
    errors = [value for kind, value in sent if kind == "error"]
    for error in errors:
        if not isinstance(error, LostRankError):
            return error
    for kind, value in sent:
        if kind == "crash":
            return RuntimeError(f"a process of this run failed:\n{value}")
    deaths = [
        f"process {config['group_offset'] + number} of {world_size_of(config)} {children.death(process.exitcode)}"
        for number, process in enumerate(context.processes)
        if process.exitcode not in (None, 0, 2, -signal.SIGTERM)
    ]
    what = deaths[0] if deaths else str(errors[0]) if errors else "a process of this run was terminated."
    return AutoRecError(f"{what}\n{_last_checkpoint(context, config, arguments, start)}")


def _last_checkpoint(context: Any, config: Mapping[str, Any], arguments: dict[str, Any], start: float) -> str:
    if config["group_offset"]:
        return "The last checkpoint, if there is one, is on the machine with --group_offset 0."
    written = Path(config["checkpoint_dir"]).glob(f"*-{context.processes[0].pid}-*.pth")
    path = arguments["resume"] or next((path for path in written if path.stat().st_mtime >= start), None)
    if path is None:
        return "There is no checkpoint yet."
    return f"The best epoch so far is in {path}; --resume {path} continues from it."


def _drain(messages: Any, sent: list[tuple[str, Any]]) -> None:
    while not messages.empty():
        sent.append(messages.get())


def _interface(ip: str, several_machines: bool) -> str | None:
    """Return the network interface that reaches the first machine.

    Raises:
        ConfigError: none does.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((ip, 9))  # sends nothing
        except OSError as error:
            raise ConfigError(f"ip {ip!r}: {error.strerror}; give the IPv4 address of the first machine.") from error
        mine = probe.getsockname()[0]
    if several_machines and mine.startswith("127.") and ip != "localhost" and not ip.startswith("127."):
        raise ConfigError(f"ip {ip!r} is a loopback address here ({mine}); give the machine's network address.")
    addresses = psutil.net_if_addrs().items()
    return next((name for name, known in addresses if any(each.address == mine for each in known)), None)
