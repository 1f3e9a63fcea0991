"""The host's end of the guest protocol: one channel an instance, calls multiplexed on it."""
