"""Wire protocols and the typed contract, as pure functions and state tables.

Nothing below this package may await, open a socket, read a clock or draw a random number:
bytes come in and events go out, time and ids are arguments.
"""
