"""Calls as the server carries them out: where they are kept, what is relayed, who hears what."""
