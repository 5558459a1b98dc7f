"""Outcomes: what became of the calls, brought into the ledger and joined to the rows of the list."""
