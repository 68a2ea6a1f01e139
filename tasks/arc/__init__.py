"""ARC-AGI-1 and its one-dimensional kin: rules shown by pairs of grids, to be applied to another grid."""
