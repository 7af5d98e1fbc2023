"""Results held against other results: another run, another revision, another machine.

tolerances.py says what another processor may change in each column, declared.py finds the table that a file is,
places.py finds the other results (a folder or a git revision), differences.py compares file by file, told.py puts that
in words.
"""
