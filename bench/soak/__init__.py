"""A soak: mixed load under random chaos for a set time, and every answer judged.

`plan` draws what will happen, `ledger`, `watch`, `logs` and `verdict` judge it; these are pure.
`load`, `chaos` and `cluster` do it, `run` puts them together.
"""
