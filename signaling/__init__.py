"""The running server: the only ring that knows sockets, files, clocks and the environment.

It carries out what ``fitting`` decides. Start reading at ``app.create_app``, then ``connection.HubSession.run``.
"""
