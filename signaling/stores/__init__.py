"""What the server keeps beside the device log: who wears what, and who may touch it."""
