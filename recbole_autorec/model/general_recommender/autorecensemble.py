"""Several AutoRecs as one model: each trained on its own objective, combined with weights fitted to validation ratings.

Source   ours. Item rows and user rows say different things about a pair; minimising one squared error over the sum of
         both overfits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from recbole.data.dataset import Dataset
from torch import Tensor, nn

from recbole_autorec.model.autorec import AutoRec, RowAutoRec
from recbole_autorec.model.calibration import Parts


class AutoRecEnsemble(AutoRec):
    """IAutoRecs and UAutoRecs; parameters in properties/model/AutoRecEnsemble.yaml.

    Attributes:
        configs: configurations of the members.
        members: the AutoRecs; their own calibrations are not used.
        member_epochs: number of epochs that each was trained, (n,).

    Examples:
        >>> from recbole_autorec import run_recbole_autorec
        >>> members = [{"model": "IAutoRec", "hidden_size": [50]}, {"model": "UAutoRec", "hidden_size": [50]}]
        >>> result = run_recbole_autorec("AutoRecEnsemble", "ml-100k", config_dict={"members": members, "epochs": 1})
        >>> result["test"]["rmse"] < 0.9
        True
    """

    members: Any

    def __init__(self, config, dataset: Dataset):
        self.configs = configs = config.of_members()
        super().__init__(config, dataset, [member.model_class.rows for member in configs])
        self.members = nn.ModuleList(member.model_class(member, dataset) for member in configs)
        self.register_buffer("member_epochs", torch.zeros(len(configs), dtype=torch.int64))
        first = self.members[0]
        self.scale, self.variances = first.scale, first.variances
        self.user_damping, self.item_damping = first.user_damping, first.item_damping

    def mean(self) -> Tensor | float:
        return self.members[0].mean()

    def parts(self, users: Tensor, items: Tensor) -> Parts:
        return self._of_each(lambda member: member.parts(users, items))

    def parts_of_all(self, users: Tensor) -> Parts:
        return self._of_each(lambda member: member.parts_of_all(users))

    def parts_of_new(self, kind: str, known: Tensor, values: Tensor) -> Parts:
        return self._of_each(lambda member: member.parts_of_new(kind, known, values))

    def row_autorecs(self) -> list[RowAutoRec]:
        return list(self.members)

    def _of_each(self, parts_of: Callable[[RowAutoRec], Parts]) -> Parts:
        offsets, interactions = zip(*map(parts_of, self.members), strict=True)
        return Parts(torch.cat(offsets, dim=-1), torch.cat(interactions, dim=-1))

    def item_codes(self) -> Tensor:
        """Concatenate the members' codes, each centred with mean square 1: they count equally in a similarity."""
        centred = (codes - codes[self.item_is_rated].mean(0) for codes in (m.item_codes() for m in self.members))
        return torch.cat([codes / codes.square().mean().sqrt().clamp(min=1e-12) for codes in centred], dim=1)
