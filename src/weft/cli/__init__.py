"""The commands. Every heavy import happens inside the command that needs it."""
