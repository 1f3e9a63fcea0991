"""The data-plane routes of the public API: a Quart app that `ProxyHTTP` calls inside the process."""
