"""An embedded server that plays the Calls API: the demo's other end, and the judge of the tests.

It shares no code with the client, the keys or the ledger, on purpose: a misreading of the contract made twice by
the same code would judge itself right. Needs the extra `sandbox` (werkzeug). What it saw is read back, from any
process, with `importer.sandbox.records`.
"""

from importer.sandbox.app import Sandbox
from importer.sandbox.faults import FAULT_NAMES, parse_fault
from importer.sandbox.serving import ConnectionLost, Served

__all__ = ["FAULT_NAMES", "ConnectionLost", "Sandbox", "Served", "parse_fault"]
