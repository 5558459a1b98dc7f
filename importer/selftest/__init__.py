"""The self-test: kills, power cuts and lost ledgers on the user's own machine, judged by the sandbox's records.

Floor: selftest, beside `demo`, under the command line. Every history is real: a sandbox in a process of its own, real
`importer run` processes on a real file, real SIGKILLs. A newcomer may look for hooks in the product: there are none.
`child` is the same engine put together with counting parts, and everything else is seen from outside.
"""

from importer.selftest.crash import CrashReport, CrashTest
from importer.selftest.table import FaultLine, Finding, markdown, tally

__all__ = ["CrashReport", "CrashTest", "FaultLine", "Finding", "markdown", "tally"]
