"""Backend `tiled`: the fast algebra in plain torch, tile by tile, on any device."""
