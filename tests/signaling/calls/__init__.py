"""Tests of calls as the server carries them out."""
