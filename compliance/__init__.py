"""Evidence for auditors: control catalogues, evaluation and packages."""
