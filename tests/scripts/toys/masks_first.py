"""A search that has made up its mind: the first positions of every layer keep their ReLUs."""

from __future__ import annotations

import torch
from torch import Tensor

from masks.search import MaskSearch, SearchEntry
from models.layers import relu_sites


class FirstPositions(MaskSearch):
    def scores(self) -> dict[str, Tensor]:
        return {
            name: -torch.arange(site.total, dtype=torch.float32).view(site.map_shape)
            for name, site in relu_sites(self.student).items()
        }


class FirstPositionsEntry(SearchEntry):
    name = "first"
    summary = "the first positions of every layer"
    search = FirstPositions
    order = 9


ENTRY = FirstPositionsEntry()
