"""What two people need to see, hear and write to each other: visits, chat, calls. It knows no decibel and no socket."""
