"""What the pages of connections share."""

from typing import Any

from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.response import TemplateResponse

from config.observability.requests import request_id
from stripe_connections.audit.records import Actor, Source


def page(
    staff: ModelAdmin, request: HttpRequest, name: str, context: dict[str, Any]
) -> TemplateResponse:
    """A page of our own, in the admin's frame."""
    frame = {**staff.admin_site.each_context(request), "opts": staff.opts, "media": staff.media}
    return TemplateResponse(request, f"admin/stripe_connections/{name}.html", frame | context)


def interrupted(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer for a form whose CSRF token does not match, for example after another login."""
    return render(request, "admin/stripe_connections/interrupted.html", status=403)


def actor_of(request: HttpRequest) -> Actor:
    """Who asks for a change."""
    assert request.user.is_authenticated  # the admin lets nobody else in
    return Actor(request.user, Source.ADMIN, request_id.get())
