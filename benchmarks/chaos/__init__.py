"""Workers that fail on demand, clients that check every byte, and a script of what goes wrong."""
