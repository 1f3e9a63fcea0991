"""Swift: built in a sandbox, together with the worker of C."""
