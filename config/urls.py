"""Paths of the service."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.decorators.http import require_safe
from django.views.generic import RedirectView, TemplateView
from django_otp.admin import OTPAdminSite

from config.openapi.views import openapi_json
from stripe_connections.admin.forms import SecondFactorForm
from stripe_connections.admin.front_page import front_page

admin.site.site_header = admin.site.site_title = "Stripe Connections"
admin.site.index_title = "Staff"
admin.site.index_template = "admin/stripe_connections/index.html"
admin.site.login_template = "admin/stripe_connections/login.html"
if settings.STAFF_SECOND_FACTOR:
    # As the documentation of django-otp suggests for the default site.
    admin.site.__class__ = OTPAdminSite
    admin.site.login_form = SecondFactorForm
# "View site" would link to the front page, which redirects to the admin.
admin.site.site_url = None
# The lists need the space.
admin.site.enable_nav_sidebar = False

handler500 = "config.admin_middleware.server_error"
urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("favicon.ico", RedirectView.as_view(url="/static/stripe_connections/favicon.svg")),
    path("openapi.json", openapi_json, name="openapi"),
    # The document for people, with which they can also execute calls.
    path(
        "docs/", require_safe(TemplateView.as_view(template_name="openapi/docs.html")), name="docs"
    ),
    path("admin/", admin.site.admin_view(front_page)),
    path("admin/", admin.site.urls),
    path("web/v1/", include("workspaces.urls")),
    path("web/v1/workspaces/<str:workspace_id>/", include("stripe_connections.api.urls")),
]
