"""The commands of the command line, one module each; each imports what is heavy only when it runs."""
