"""How planes talk: grpclib and Hypercorn made ours, with identity, deadline and problems on every call."""
