"""`python -m sde_momentum` is the command `sde-momentum`."""

from .commands.main import main

if __name__ == "__main__":
    main()
