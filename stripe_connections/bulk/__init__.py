"""What the commands on many connections are made of."""
