"""How bytes of a hub connection travel over HTTP. Each transport feeds a ``HubSession``; none knows a hub method."""
