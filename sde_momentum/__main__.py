"""`python -m sde_momentum` is the command `sde-momentum`."""

from .commands.entry import main

if __name__ == "__main__":
    main()
