"""Model files: `native` .safetensors, and the .pth files of the `authors`' implementation."""
