"""What is timed, with the peer that it is timed against, in one run:

`python -m benchmarks --help`.
"""
