"""The first page of the admin: a search, what needs attention, and the last changes."""

from django.contrib import admin
from django.db.models import Count
from django.http import HttpRequest, HttpResponse

from stripe_connections.admin.listing import problems
from stripe_connections.audit import history
from stripe_connections.audit.history import Entry
from stripe_connections.models import StripeConnection

MAX_CHANGES = 10


def front_page(request: HttpRequest) -> HttpResponse:
    """Django's page, and for those who may view connections the numbers and changes.

    One query reads all connections once: an index for each number would make every update of a
    connection slower.
    """
    if not request.user.has_perm("stripe_connections.view_stripeconnection"):
        return admin.site.index(request)
    found = problems()
    counts = StripeConnection.objects.aggregate(
        **{name: Count("pk", filter=condition) for name, (_, condition) in found.items()}
    )
    records = history.records()[:MAX_CHANGES]
    context = {
        "problems": [(name, label, counts[name]) for name, (label, _) in found.items()],
        "changes": [(record, Entry.of(record)) for record in records],
    }
    return admin.site.index(request, context)
