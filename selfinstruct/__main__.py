"""``python -m selfinstruct``: the same as the console script."""

from __future__ import annotations

from selfinstruct.cli.start import main

if __name__ == "__main__":  # a process that is spawned imports this again, and must not begin anew
    main()
