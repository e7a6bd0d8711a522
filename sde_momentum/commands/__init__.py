"""The commands of `sde-momentum`, a file each; those of other packages are found by entry points (`main`)."""
