"""The hubs that clients see. Thin: a method takes a payload, asks the room that decides, and answers."""
