"""Which runs there are: methods and data sets by name, presets, studies and the cells of a grid."""
