"""Values that only functions see: sealed in the database, opened for the executors that hand them over."""
