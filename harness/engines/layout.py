"""Which member of a population computes which row of a batch, and the two products that follow from it.

Rows are sorted by member. Where every member has as many rows, they are a grid and nothing is copied; else the rows of
a product are padded to one. Members that have finished leave the products once half of the held ones are gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class LowRank:
    """A member's matrix is the shared one plus `sign * up @ down`: two thin products a row, and built only where the
    rank is so high, and the rows are so many, that this takes fewer operations.

    `down` [factors, rank, in] and `up` [factors, out, rank] carry the scale; member n uses factors n // (members /
    factors). With two members a factor pair the second is the mirror image of the first.
    """

    down: torch.Tensor
    up: torch.Tensor

    def dense(self, count: int) -> torch.Tensor:
        """What is added to the shared matrix, [count, out, in]."""
        product = torch.bmm(self.up, self.down)
        if len(product) == count:
            return product
        return torch.stack([product, -product], 1).flatten(0, 1)


@dataclass
class _Groups:
    """Rows by the factors that they use."""

    held: torch.Tensor
    """The factors in the products, ascending."""
    every: bool
    """Whether these are all there are."""
    rows: int
    """Rows a factor: the most that any has."""
    place: torch.Tensor | None
    """Row of the batch at each place [held * rows], or None where rows are a grid already."""
    back: torch.Tensor
    """Place of each row of the batch."""


class Layout:
    """The rows of the batch that is being run, for all patched layers alike."""

    def __init__(self, count: int, device: torch.device) -> None:
        self.count = count
        self.device = device
        self.member = torch.arange(count, device=device)
        self._groups: dict[int, _Groups] = {}
        self._held: dict[int, torch.Tensor] = {}
        self._selected: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
        self._sign: torch.Tensor | None = None

    def arrange(self, member: torch.Tensor) -> None:
        """Row r of the next batches belongs to `member[r]`; members ascend."""
        self.member = member
        self._groups, self._sign = {}, None

    def of(self, batch_rows: int) -> Layout:
        """This layout, if it is that of `batch_rows` rows; else the one that gives every member as many."""
        if batch_rows != len(self.member):
            if batch_rows % self.count:
                raise ValueError(f"{batch_rows} rows do not divide among {self.count} members")
            everyone = torch.arange(self.count, device=self.device)
            self.arrange(everyone.repeat_interleave(batch_rows // self.count))
        return self

    def product(self, inputs: torch.Tensor, bank: torch.Tensor) -> torch.Tensor:
        """Each row [..., in] times its factor's matrix, `bank` [factors, in, out]."""
        groups = self._by(self.count // len(bank))
        grid = self._grid(inputs, groups)
        return self._rows(_thin_product(grid, self._select(bank, groups)), inputs, groups)

    def mapped(self, function: Any, inputs: torch.Tensor, banks: dict[str, torch.Tensor]) -> torch.Tensor:
        """`function` of each member's tensors and its rows, mapped over members; rows [rows, ...] again."""
        groups = self._by(1)
        placed = inputs if groups.place is None else inputs[groups.place]
        grid = placed.reshape(len(groups.held), -1, *inputs.shape[1:])
        outputs = function({name: self._select(bank, groups) for name, bank in banks.items()}, grid).flatten(0, 1)
        return outputs if groups.place is None else outputs[groups.back]

    def add_low_rank(self, outputs: torch.Tensor, inputs: torch.Tensor, low: LowRank) -> None:
        """outputs += sign * (inputs @ down.T) @ up.T, row by row, in place."""
        per = self.count // len(low.down)
        groups = self._by(per)
        grid, down = self._grid(inputs, groups), self._select(low.down, groups)
        if per == 1 and _built_is_less(grid, low):
            built = torch.bmm(self._select(low.up, groups), down)
            outputs += self._rows(torch.bmm(grid, built.transpose(1, 2)), outputs, groups)
            return
        inner = _thin_product(grid, down.transpose(1, 2))
        if per == 2:
            inner = inner.mul_(self._signs(groups, inner))
        self.add_product(outputs, inner, low.up, 1.0, per)

    def add_product(
        self, outputs: torch.Tensor, inner: torch.Tensor, bank: torch.Tensor, scale: float, per: int | None = None
    ) -> None:
        """outputs += scale * inner @ bank.T in place; `inner` is in places (see `grid`) or, without `per`, in rows."""
        groups = self._by(per or self.count // len(bank))
        if per is None:
            inner = self._grid(inner, groups)
        up = self._select(bank, groups).transpose(1, 2)
        if groups.place is not None:
            outputs += self._rows(torch.bmm(inner, up), outputs, groups).mul_(scale)
        elif inner.shape[-1] == 1 and scale == 1.0:
            outputs.view(inner.shape[0], inner.shape[1], -1).addcmul_(inner, up)
        else:
            outputs.view(inner.shape[0], inner.shape[1], -1).baddbmm_(inner, up, alpha=scale)

    def _by(self, per: int) -> _Groups:
        """Groups of the rows where `per` members share a factor."""
        if per not in self._groups:
            self._groups[per] = self._group(per)
        return self._groups[per]

    def _group(self, per: int) -> _Groups:
        factors = self.count // per
        of_row = self.member // per
        needed = of_row.unique_consecutive()
        held = self._held.get(per, torch.arange(factors, device=self.device))
        if len(needed) * 2 <= len(held) or not bool(torch.isin(needed, held).all()):
            held = needed if len(needed) * 2 <= factors else torch.arange(factors, device=self.device)
            self._held[per] = held
        at = torch.searchsorted(held, of_row)
        counts = torch.bincount(at, minlength=len(held))
        rows = int(counts.max())
        first = counts.cumsum(0) - counts
        back = at * rows + torch.arange(len(of_row), device=self.device) - first[at]
        place = None
        if len(held) * rows != len(of_row):
            place = torch.zeros(len(held) * rows, dtype=torch.long, device=self.device)
            place[back] = torch.arange(len(of_row), device=self.device)
        return _Groups(held, len(held) == factors, rows, place, back)

    def _select(self, bank: torch.Tensor, groups: _Groups) -> torch.Tensor:
        if groups.every:
            return bank
        there = self._selected.get(id(bank))
        if there is None or there[1] is not groups.held:
            there = (bank, groups.held, bank[groups.held])  # the bank itself too, so that its id stays its own
            self._selected[id(bank)] = there
        return there[2]

    def _grid(self, inputs: torch.Tensor, groups: _Groups) -> torch.Tensor:
        """[held, rows * positions, in]."""
        placed = inputs if groups.place is None else inputs[groups.place]
        return placed.reshape(len(groups.held), -1, inputs.shape[-1])

    def _rows(self, grid: torch.Tensor, like: torch.Tensor, groups: _Groups) -> torch.Tensor:
        """A grid back in the shape of the batch."""
        if groups.place is None:
            return grid.reshape(*like.shape[:-1], grid.shape[-1])
        return grid.reshape(len(groups.place), *like.shape[1:-1], grid.shape[-1])[groups.back]

    def _signs(self, groups: _Groups, inner: torch.Tensor) -> torch.Tensor:
        """1 for the rows of even members, -1 for the others, over the places of a grid [held, places, 1]."""
        if self._sign is None:
            sign = torch.ones(len(groups.held) * groups.rows, device=self.device)
            sign[groups.back] = (1 - 2 * (self.member % 2)).to(sign.dtype)
            self._sign = sign.view(len(groups.held), groups.rows, 1)
        positions = inner.shape[1] // groups.rows
        return self._sign.to(inner.dtype).repeat_interleave(positions, 1)


def _built_is_less(grid: torch.Tensor, low: LowRank) -> bool:
    """Whether the members' matrices and one product a row take fewer operations than two products a row."""
    members, rows, width = grid.shape
    outputs, rank = low.up.shape[1:]
    thin = members * rows * rank * (width + outputs)
    return members * outputs * rank * width + members * rows * width * outputs < thin


def _thin_product(grid: torch.Tensor, bank: torch.Tensor) -> torch.Tensor:
    """grid @ bank. Where the result has few columns, its transpose is the faster product (twice, on a processor)."""
    if bank.shape[-1] * 4 <= bank.shape[-2]:
        return torch.bmm(bank.transpose(1, 2), grid.transpose(1, 2)).transpose(1, 2)
    return torch.bmm(grid, bank)
