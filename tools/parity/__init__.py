"""This project against numbers of published implementations.

``__main__`` is the command, ``files`` reads and compares; for each kind of file one module says
what it holds and which functions of ``ntk_prune`` give its numbers: ``scores`` and those in
``three_regime``.
"""
