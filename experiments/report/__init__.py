"""Run directories -> tables and figures -> one page: ``python -m experiments.report DIR``."""
