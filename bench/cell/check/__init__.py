"""Whether a method, a data set or a judge keeps its contract: `bench check`, and the suite's own tests.

A check is a function of what is examined. Its name and docstring are what a user reads: the first line says what holds,
the rest why it matters.
"""
