"""What `importer doctor` looks at: this installation, the ledger and its disk, the platform and the token.

Floor: doctor, beside the demo. Each look gives findings, changes nothing and takes no lock. A newcomer may question
that so little is *wrong*: a warning is for a person with time, and only what would stop the next run, or make it
unsafe, ends with another exit code than 0. Each part is imported by itself: `importer --version` needs the lightest.
"""
