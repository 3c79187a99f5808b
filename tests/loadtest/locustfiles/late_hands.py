"""The live sessions of the house, whose hands are still for a whole interval before they first move."""

from loadtest.locustfile import SessionUser as House


class LateUser(House):
    """Other hands may move at any time within the first interval, so at once, too."""

    def phase(self) -> float:
        """Of the first interval."""
        return 1.0


# Locust runs every user class that it finds in a file.
del House
