"""gunicorn for production: one worker with threads, and a stop that lets trades in flight answer.

The law: a request that was accepted is answered. An execute takes at most 9.5 s, so the worker is given twenty after
SIGTERM; event streams end at once (see trading.events). One worker keeps the process's locks and caches true; threads
are what scales.

Where it listens is the caller's to say (`--bind`): 127.0.0.1 behind a proxy, never a public address.
"""

wsgi_app = "executor_agent.wsgi:application"
worker_class = "executor_agent.web_worker.Worker"
workers = 1
threads = 16
timeout = 60
graceful_timeout = 20
keepalive = 5
# Requests are told by the service's own meters; gunicorn says only what goes wrong.
accesslog = None
errorlog = "-"
loglevel = "warning"
control_socket_disable = True
# Headers that could smuggle a second request past the proxy are refused, not dropped.
limit_request_line = 4094
limit_request_fields = 50
limit_request_field_size = 8190
