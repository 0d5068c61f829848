"""Where the real package keeps what can be started."""
