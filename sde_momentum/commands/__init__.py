"""The commands of `sde-momentum` that need no more than the core, one file each."""
