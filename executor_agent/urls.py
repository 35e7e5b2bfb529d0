"""All routes, and the pages for errors outside of them, are the trading app's own."""

from django.urls import include, path

from trading.urls import handler400, handler403, handler404, handler500

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]

urlpatterns = [path("", include("trading.urls"))]
