"""Pictures: in memory (`raster`), on disk (`files`, `deep`), found in folders (`find`), and changed (`transform`)."""
