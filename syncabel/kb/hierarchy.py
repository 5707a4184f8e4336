"""is_a as pairs of rows: the links between concepts, the parts in which all lies above all, and the refusal of circles."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from syncabel.errors import FormatError

__all__ = ["check_acyclic", "components", "listed", "parent_edges"]


def listed(concepts: pl.DataFrame, column: str) -> pl.DataFrame:
    """(row, code, one value of a list column), in order."""
    return concepts.select(pl.row_index("row"), "code", column).filter(pl.col(column).list.len() > 0).explode(column)


def parent_edges(concepts: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of children and of their known parents, by child row, parents in the order stated. Shapes: (edges,), (edges,)."""
    rows = concepts.select(pl.col("code").alias("parents"), pl.row_index("parent"))
    pairs = listed(concepts, "parents").join(rows, on="parents", how="inner", maintain_order="left")
    return pairs["row"].to_numpy().astype(np.int64), pairs["parent"].to_numpy().astype(np.int64)


def components(child: NDArray[np.int64], parent: NDArray[np.int64], count: int) -> NDArray[np.int32]:
    """The number of the strongly connected component each concept is in: where two share one, each lies above the other. Shape: (count,)."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    links = csr_array((np.ones(len(child), np.int8), (child, parent)), shape=(count, count))
    found: NDArray[np.int32] = connected_components(links, connection="strong")[1]
    return found


def check_acyclic(concepts: pl.DataFrame, where: str) -> None:
    """Refuse a circle.

    Raises:
        FormatError: is_a runs in one, a concept that is its own parent included.
    """
    child, parent = parent_edges(concepts)
    component = components(child, parent, concepts.height)
    inside = (component[child] == component[parent]).nonzero()[0]
    if len(inside):
        circle = " → ".join(concepts["code"][row] for row in _circle(child[inside], parent[inside]))
        raise FormatError(f"{where}: is_a runs in a circle: {circle}", hint="remove one of these is_a links")


def _circle(child: NDArray[np.int64], parent: NDArray[np.int64]) -> list[int]:
    """A circle among links inside strongly connected components; its first row comes last again."""
    up = dict(zip(child.tolist(), parent.tolist(), strict=True))
    path: dict[int, None] = {}
    row = int(child[0])
    while row not in path:
        path[row] = None
        row = up[row]
    rows = list(path)
    return [*rows[rows.index(row) :], row]
