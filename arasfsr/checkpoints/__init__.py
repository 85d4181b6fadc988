"""Model files: `native` .safetensors, and the `authors`' .pth with the encoders that it names."""
