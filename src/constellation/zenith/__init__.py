"""The gateway: the only plane that the outside talks to. Routing, authentication, limits, relay."""
