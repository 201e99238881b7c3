"""One file a method, over shared nets and estimators."""
