"""What the speech corpora share: features, files of a corpus, segments, other voices."""
