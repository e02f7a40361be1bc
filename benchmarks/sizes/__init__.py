"""How time, memory and pages grow with a study, its results, classes and pictures:

`python -m benchmarks.sizes --help`.
"""
