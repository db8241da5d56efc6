"""The root URL and the icon."""

from django.contrib.staticfiles import finders


def test_root_redirects_to_the_admin(client):
    response = client.get("/", secure=True)

    assert (response.status_code, response["Location"]) == (302, "/admin/")


def test_icon_is_a_static_file(client):
    response = client.get("/favicon.ico", secure=True)

    assert response.status_code == 302
    assert finders.find(response["Location"].removeprefix("/static/"))
