"""McNemar's test of whether two classifiers have the same error rate on the same rows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class McNemar:
    """The result of McNemar's test: the rows on which only one of two models is right, and p-values.

    ``exact`` is the two-sided p-value of the binomial test of ``only_first`` among all such rows against ½;
    ``statistic`` is (|b − c| − 1)²/(b + c), with Edwards' continuity correction, and ``chi_squared`` its p-value with
    one degree of freedom. Prefer the exact one; the other is an approximation for 25 or more such rows.

    Examples
    --------
    >>> round(mcnemar(2, 8).chi_squared, 4)
    0.1138
    """

    only_first: int
    only_second: int
    exact: float
    statistic: float
    chi_squared: float


def mcnemar(only_first: int, only_second: int) -> McNemar:
    """McNemar's test from the numbers of rows that only the first model, and only the second, has right.

    McNemar, Psychometrika 12, 1947; Edwards, Psychometrika 13, 1948. Without any such row both p-values are 1. Raises
    ValueError for negative numbers.

    Examples
    --------
    >>> test = mcnemar(2, 8)
    >>> round(test.exact, 4), test.statistic
    (0.1094, 2.5)
    """
    from scipy.stats import binomtest, chi2

    if only_first < 0 or only_second < 0:
        raise ValueError(f"numbers of rows must not be negative, not {only_first} and {only_second}")
    discordant = only_first + only_second
    if discordant == 0:
        return McNemar(0, 0, 1.0, 0.0, 1.0)
    statistic = max(abs(only_first - only_second) - 1, 0) ** 2 / discordant
    exact = float(binomtest(only_first, discordant, 0.5).pvalue)
    return McNemar(only_first, only_second, exact, statistic, float(chi2.sf(statistic, 1)))
