"""Calls and chat through Azure Communication Services. Read ``service`` first, then ``visits``."""
