"""What may be done to a hearing device: models, prescriptions, the safety kernel, deliveries, the device log.

Knows no socket and no SDP, and never awaits anything but a store behind an interface of its own.
"""
