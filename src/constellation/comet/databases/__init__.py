"""The way of functions to their databases: sockets in sandboxes, and a proxy of PostgreSQL's protocol behind them."""
