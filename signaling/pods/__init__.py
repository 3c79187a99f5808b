"""What pods of one deployment say to each other over their internal addresses. Knows no hub method and no device."""
