"""The control plane's HTTP: the route registry mounted on ASGI."""
