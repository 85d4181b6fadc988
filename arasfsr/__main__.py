"""`python -m arasfsr`."""

from arasfsr.cli import main

main()
