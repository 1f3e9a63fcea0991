"""grpclib made ours: servers and channels that carry identity, deadline and problems."""
