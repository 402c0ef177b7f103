"""Which parameters say where and how a run runs, rather than what comes out; and so may differ between two runs."""

from __future__ import annotations

PLACES = {"data_path", "download_url", "checkpoint_dir"}
REPORTING = {"state", "show_progress", "log_wandb", "wandb_project"}
PROCESSES = {"nproc", "world_size", "ip", "port", "group_offset", "worker"}
CARDS = {"use_gpu", "gpu_id"}
# None of them changes the model or the path of training.
OF_THE_MACHINE = {*PLACES, *REPORTING, *PROCESSES, *CARDS, "saved", "eval_batch_size"}
# May differ between a run and the checkpoint that it resumes: how long it trains, and on what after that.
RESUMABLE = {*OF_THE_MACHINE, "epochs", "stopping_step", "eval_step", "refit", "final"}
# May differ between the ranks of one run.
OF_A_RANK = {*PLACES, *REPORTING, "nproc", "ip", "group_offset", "worker", "gpu_id", "saved"}
# May differ between two parts of one comparison, whose times are compared, so that both use the same kind of device.
OF_A_PART = {*OF_THE_MACHINE, "device"} - {"use_gpu"}
# What a stranger's file has no say in: this machine, and other files to be opened.
NOT_OF_A_FILE = {
    *PLACES, *REPORTING, *PROCESSES, *CARDS, "use_pretrain", "pretrain_path", "mf_pretrain_path", "mlp_pretrain_path",
    "pre_model_path", "warm_up",
}  # fmt: skip
