"""Tenants, their workspaces, and who may do what in them."""

from django.apps import AppConfig


class WorkspacesConfig(AppConfig):
    """The app of tenants, workspaces and members."""

    name = "workspaces"
