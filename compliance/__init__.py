"""Evidence for auditors: the register of AI systems, control catalogues, evaluation over the log, and packages.

The life of a package, one step each:

1. `compliance.populations` reads the log once, in the order of its tree, into tables: the populations.
2. `compliance.evaluation` asks the tables what the controls of `compliance.catalogue` (data) want to know.
3. `compliance.package` writes populations, results, samples, proofs and documents, and signs the manifest.
4. `compliance.offline` is the verifier that goes along.
"""
