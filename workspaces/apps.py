"""Tenants, their workspaces, and the permissions of their members."""

from django.apps import AppConfig


class WorkspacesConfig(AppConfig):
    """The app of tenants, workspaces and members."""

    name = "workspaces"
