"""The routes and Django's own error views, all of them problems. A trailing slash is welcome and never redirected."""

from django.urls import URLPattern, re_path

from trading import pages, problems, views

handler400 = problems.bad_request
handler403 = problems.permission_denied
handler404 = problems.not_found
handler500 = problems.server_error


def _route(path: str, view: type[views.DeskView]) -> URLPattern:
    return re_path(rf"^{path}/?\Z", view.as_view())


urlpatterns = [
    _route(r"api/health", views.Health),
    _route(r"api/trades/execute", views.Execute),
    _route(r"api/trades/preview", views.Preview),
    _route(r"api/trades", views.Trades),
    _route(r"api/trades/(?P<trade_id>[^/]+)", views.TradeDetail),
    _route(r"api/trades/(?P<trade_id>[^/]+)/cancel", views.Cancel),
    _route(r"api/trades/(?P<trade_id>[^/]+)/resume", views.ResumeTrade),
    _route(r"api/fills", views.Fills),
    _route(r"api/signals", views.Signals),
    _route(r"api/positions", views.Positions),
    _route(r"api/positions/(?P<position_id>[^/]+)", views.PositionDetail),
    _route(r"api/positions/(?P<position_id>[^/]+)/close", views.Close),
    _route(r"api/positions/(?P<position_id>[^/]+)/marks", views.Marks),
    _route(r"api/emergency_stop", views.EmergencyStop),
    _route(r"api/resume", views.Resume),
    _route(r"api/agent/logs", views.AgentLogs),
    _route(r"api/portfolio", views.Portfolio),
    _route(r"api/connections", views.Connections),
    _route(r"api/analytics", views.Analytics),
    _route(r"api/time_windows", views.TimeWindows),
    _route(r"api/events", views.Events),
    _route(r"api/schema", views.ApiSchema),
    _route(r"api/docs", views.Docs),
    _route(r"api/demo/scenario", views.DemoScenario),
    _route(r"metrics", views.Metrics),
    _route(r"api/session", pages.Sessions),
    _route(r"login", pages.LogIn),
    re_path(r"^\Z", pages.Root.as_view()),
    # Of last resort, so that no other 404 page is ever shown, also with DEBUG on.
    re_path(r"", views.NoRoute.as_view()),
]
