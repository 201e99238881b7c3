"""One run: data, training, checkpoint, judging and the record, the same on a laptop and in a job."""
