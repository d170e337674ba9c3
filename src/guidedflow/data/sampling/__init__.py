"""How a dataset becomes batches."""
