"""Helpers that the admin's pages share."""

from typing import Any

from django.contrib.admin import ModelAdmin
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from config.observability.requests import request_id
from stripe_connections.audit.records import Actor, Source


def page(
    staff: ModelAdmin, request: HttpRequest, name: str, context: dict[str, Any]
) -> TemplateResponse:
    """A page from the template `name`, in the admin's layout."""
    layout = {**staff.admin_site.each_context(request), "opts": staff.opts}
    return TemplateResponse(request, f"admin/stripe_connections/{name}.html", layout | context)


def badge(text: str, hover: str = "") -> SafeString:
    """A word in a coloured frame."""
    html = '<span class="badge {}" title="{}">{}</span>'
    return format_html(html, text.lower(), hover, text)


def actor_of(request: HttpRequest) -> Actor:
    """The user as the actor of a change."""
    assert request.user.is_authenticated  # The admin requires a login.
    return Actor(request.user, Source.ADMIN, request_id.get())
