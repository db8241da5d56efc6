"""Tenants, their workspaces, and the permissions of their members."""
