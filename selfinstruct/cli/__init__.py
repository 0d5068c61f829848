"""The command line: one thin function a command, one file a command group; heavy imports inside the command."""
