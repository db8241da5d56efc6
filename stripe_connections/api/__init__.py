"""The calls on connections: urls, views, bodies and responses."""
