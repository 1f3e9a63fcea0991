"""The one door to PostgreSQL: connections, migrations, roles, and the named queries of each plane."""
