"""What the pods of one deployment know of each other: which there are, and what one asks of another."""
