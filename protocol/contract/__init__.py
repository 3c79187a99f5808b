"""The typed payloads of contract version 1, one module per area.

They are what fitting software, phones and the server agree on, whatever the transport: camelCase
keys in JSON and in MessagePack, integer tenths of a decibel, ISO-8601 times, opaque string ids.
"""

CONTRACT_VERSION = 1
