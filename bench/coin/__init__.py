"""The table of merged models: networks of a common start, coded, and what is decoded."""
