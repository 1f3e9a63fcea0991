"""The control plane's HTTP: the route registry mounted on a Quart app."""
