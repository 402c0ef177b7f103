"""Parameters that set where and how a run executes, not what it computes, and so may differ between runs."""

from __future__ import annotations

PLACES = {"data_path", "download_url", "checkpoint_dir"}
REPORTING = {"state", "show_progress", "log_wandb", "wandb_project"}
PROCESSES = {"nproc", "world_size", "ip", "port", "group_offset", "worker"}
CARDS = {"use_gpu", "gpu_id"}
# None of these changes the model or the course of training.
OF_THE_MACHINE = {*PLACES, *REPORTING, *PROCESSES, *CARDS, "saved", "eval_batch_size"}
# May differ between a run and the checkpoint that it resumes: how long to train, and what to refit on.
RESUMABLE = {*OF_THE_MACHINE, "epochs", "stopping_step", "eval_step", "refit", "final"}
# May differ between the ranks of one run.
OF_A_RANK = {*PLACES, *REPORTING, "nproc", "ip", "group_offset", "worker", "gpu_id", "saved"}
# May differ between calls that continue one comparison; use_gpu may not, since the comparison reports times.
OF_A_PART = {*OF_THE_MACHINE, "device"} - {"use_gpu"}
# Never taken from someone else's file: settings of this machine, and other files to open.
NOT_OF_A_FILE = {
    *PLACES, *REPORTING, *PROCESSES, *CARDS, "use_pretrain", "pretrain_path", "mf_pretrain_path", "mlp_pretrain_path",
    "pre_model_path", "warm_up",
}  # fmt: skip
