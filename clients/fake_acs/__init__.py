"""A stand-in for Azure Communication Services, for tests and for people who have no subscription: ``auricle fake-acs``.

It is a program of its own. Which of its behaviours are read in Microsoft's SDKs, which in public documents, and which
are assumed, is in docs/fake-acs.md, and marked in the code as *read*, *public* and *assumed*. It must not know Auricle.
"""
