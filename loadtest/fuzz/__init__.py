"""Structure-aware fuzzing of everything that reads what a client sends: ``python -m loadtest.fuzz``.

``subjects`` says what is fuzzed, ``hub_input`` and ``frame_input`` make what it is fed, ``oracle`` knows what must
come of it, ``campaign`` runs and shortens, ``live`` does the same to a running server.
"""
