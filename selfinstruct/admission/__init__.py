"""Who may send, how fast, and how much at once: the limits of a key, a server and a purse."""
