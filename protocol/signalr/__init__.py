"""The SignalR hub protocol as ASP.NET Core speaks it, without input or output.

``connection`` is the server's end, ``client_connection`` the client's, ``messages`` what travels between
them and ``codec`` how it is written. Nothing here opens a socket, reads a clock or knows a hub method.
"""
