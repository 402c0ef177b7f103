"""Batches of rows for training an AutoRec."""

from __future__ import annotations

import torch
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction

from recbole_autorec.config.checks import FULL_BATCH_LEARNERS


class RowDataLoader(AbstractDataLoader):
    """Ids of the rows that have a training rating: items for I-AutoRec, users for U-AutoRec.

    RecBole's UserDataLoader also yields the padding id 0, supports only users, and requires shuffling.
    """

    def __init__(self, config, dataset, sampler, shuffle=False):
        self.row_field = dataset.iid_field if config.model_class.rows == "item" else dataset.uid_field
        self.row_ids = torch.unique(dataset.inter_feat[self.row_field])
        self.sample_size = len(self.row_ids)
        in_order = config["learner"] in FULL_BATCH_LEARNERS  # order does not matter in a full batch
        super().__init__(config, dataset, sampler, shuffle=shuffle and not in_order)

    def _init_batch_size_and_step(self):
        self.step = self.config["train_batch_size"]
        self.set_batch_size(self.step)

    def collate_fn(self, index):
        return Interaction({self.row_field: self.row_ids[index]})
