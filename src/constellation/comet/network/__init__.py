"""The network of sandboxes that have one: who reaches what, enforced on the host's side."""
