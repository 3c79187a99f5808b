"""What is said of a configuration that cannot be used; every part of it says it in the same way."""

from protocol.errors import AuricleError

__all__ = ["ConfigError"]


class ConfigError(AuricleError):
    """The configuration cannot be used; the message is one clear line for the operator."""

    code = "bad_configuration"
