"""Which code, k, n, R and policy to serve a model with: searched in virtual time, and weighed.

`candidates` says what could be served and what its answers are worth, by what was measured;
`search` simulates each and finds those that nothing beats; `advice` puts it into words. Measures
nothing itself, and starts nothing. In the query's way: nowhere.
"""
