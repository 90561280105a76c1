"""What was measured, as one page: figures, tables and a summary, drawn from records alone.

`kofn report` reads JSON lines, as `python -m bench` writes them, and knows nothing of how they were
measured. In the query's way: nowhere.
"""
