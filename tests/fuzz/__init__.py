"""Search at random for what no test says yet: `make fuzz`."""
