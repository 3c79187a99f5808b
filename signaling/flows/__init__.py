"""What ties the pure decisions of ``fitting`` to connections: a change asked for, and a change on its way."""
