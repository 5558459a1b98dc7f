"""Ways to watch a run from outside: metrics, traces, and word when it is over.

Floor: watching, beside the demo. Everything here looks on: what fails here is said and never changes what a run does or
how it ends. A newcomer may question that none of it sits in the engine: it hears what any observer hears, and wraps a
transport from outside.
"""
