"""Pictures in memory (`raster`), on disk (`files`, `deep`), in folders (`find`), and their `transform`."""
