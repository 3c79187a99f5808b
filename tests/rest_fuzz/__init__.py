"""Generated requests at the REST surface of a real server, made from its own OpenAPI document by schemathesis."""
