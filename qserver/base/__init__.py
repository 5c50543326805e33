"""Ground floor: what every command needs; imports nothing above it."""
