"""Deployments whose model's linear layers run as coded products, one after the other.

Workers hold coded weights and multiply; all else of the model, activations among it, runs here. In
the query's way a `LayeredBatch` stands where a `CodedBatch` does: between batcher and answers.
"""
