"""The operator, which decodes queries of a feature map: argument checks, choice of backend, and the backends."""

from arasfsr.query.call import Grid, Queries, QueryCall
from arasfsr.query.dispatch import BACKENDS, backends

__all__ = ["BACKENDS", "Grid", "Queries", "QueryCall", "backends"]
