"""The operator: decode queries of a feature map. Checks, choice of backend, and nothing else."""

from arasfsr.query.call import Grid, Queries, QueryCall
from arasfsr.query.dispatch import BACKENDS, backends

__all__ = ["BACKENDS", "Grid", "Queries", "QueryCall", "backends"]
