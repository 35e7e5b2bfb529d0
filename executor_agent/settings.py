"""Django's settings, derived from the one reading of the environment, which is DESK_CONFIG.

The law: nothing else in the project reads the environment, and a configuration that cannot be meant ends the process
here, with one plain line a mistake. Tests never see the developer's environment, `.env` or files.
"""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import drf_spectacular_sidecar
from corsheaders.defaults import default_headers
from django.core.management.utils import get_random_secret_key

from executor_agent import __version__
from trading.conf import Config, ConfigurationError, load_config

BASE_DIR = Path(__file__).resolve().parent.parent
SIDECAR = Path(drf_spectacular_sidecar.__file__).resolve().parent
TESTING = sys.argv[1:2] == ["test"]
# It writes a configuration, and so must not be kept from it by the one that is there.
SETTING_UP = sys.argv[1:2] == ["setup"]
# It says what is wrong with the configuration itself.
EXAMINING = sys.argv[1:2] == ["doctor"]
# gunicorn stops for good when a worker ends with this code, and starts it anew for ever with any other.
CONFIGURATION_EXIT_CODE = 3
# Nothing listens there: until the test runner has started its own Redis, tests find none.
NO_REDIS_URL = "redis://127.0.0.1:1/3"


def dotenv_of(environ: Mapping[str, str]) -> Path | None:
    """The file that is read besides the environment: `.env`, or what ENV_FILE names, or none where that is blank.

    Raises ConfigurationError for a name that leads nowhere: a desk must not start with the defaults because of a slip.
    """
    named = environ.get("ENV_FILE", ".env").strip()
    path = BASE_DIR / Path(named).expanduser()
    if named and "ENV_FILE" in environ and not path.is_file():
        raise ConfigurationError(("ENV_FILE: names no file; mend the path, or leave it away for .env",))
    return path if named else None


def refused_start(error: ConfigurationError) -> SystemExit:
    """Say every mistake on stderr, one a line, and return what ends the process."""
    sys.stderr.write("The configuration is wrong, so nothing was started:\n")
    sys.stderr.writelines(f"  {mistake}\n" for mistake in error.mistakes)
    return SystemExit(CONFIGURATION_EXIT_CODE)


def configure(environ: Mapping[str, str], dotenv: Path | None, *, testing: bool) -> Config:
    """The configuration to run with; *testing* has defaults, a new folder and no Redis, whatever *environ* says.

    Raises ConfigurationError.
    """
    if testing:
        data_dir = tempfile.mkdtemp(prefix="executor_agent_tests_")
        atexit.register(shutil.rmtree, data_dir, ignore_errors=True)
        return Config.of(data_dir=data_dir, redis_url=NO_REDIS_URL)
    return load_config(environ, dotenv)


CONFIGURATION_MISTAKES: tuple[str, ...] = ()
"""What the doctor has to say of the configuration; nothing else runs with any, and then DESK_CONFIG is nobody's."""
ENV_FILE: Path | None = None
try:
    # Tests and the command that writes it look at no file.
    ENV_FILE = None if TESTING or SETTING_UP else dotenv_of(os.environ)
    DESK_CONFIG = Config.of() if SETTING_UP else configure(os.environ, ENV_FILE, testing=TESTING)
except ConfigurationError as error:
    if not EXAMINING:
        raise refused_start(error) from None
    CONFIGURATION_MISTAKES, DESK_CONFIG = error.mistakes, Config.of()

# The supervisor hands its key down, so that every process it starts has the same one; on its own, a demo makes one up.
SECRET_KEY = DESK_CONFIG.secret_key.get_secret_value() if DESK_CONFIG.secret_key else get_random_secret_key()
DEBUG = DESK_CONFIG.debug
ALLOWED_HOSTS = list(DESK_CONFIG.allowed_hosts)

ROOT_URLCONF = "executor_agent.urls"
WSGI_APPLICATION = "executor_agent.wsgi.application"
INSTALLED_APPS = ["corsheaders", "rest_framework", "drf_spectacular", "trading"]
# What Django's own two for security and for lengths would do here, Doors does for every answer.
MIDDLEWARE = [
    "trading.tracing.Traced",
    "trading.middleware.Doors",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]

# Facts live in the desk's own files. This database has no file and no migrations; it is there for Django's TestCase.
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en-us"
USE_I18N = False
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
# Listed by name, so that nothing is served only because some package brings it along. WhiteNoise looks once, at start.
STATICFILES_DIRS = [
    BASE_DIR / "trading" / "static",
    ("swagger-ui", SIDECAR / "static" / "drf_spectacular_sidecar" / "swagger-ui-dist"),
]
STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
WHITENOISE_ALLOW_ALL_ORIGINS = False
# With it, a POST without the final slash would be answered by a redirect that loses the body.
APPEND_SLASH = False
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024

CORS_ALLOWED_ORIGINS = list(DESK_CONFIG.cors_allowed_origins)
CORS_ALLOW_HEADERS = (*default_headers, "idempotency-key", "x-request-id")
CORS_EXPOSE_HEADERS = ("X-Total-Count", "X-Request-ID", "Retry-After")

REST_FRAMEWORK = {
    # A view that forgets to say takes JSON only, from known callers only.
    "DEFAULT_PARSER_CLASSES": ["trading.parsers.StrictJsonParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_AUTHENTICATION_CLASSES": ["trading.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["trading.permissions.ScopeNeeded"],
    "DEFAULT_THROTTLE_CLASSES": ["trading.throttling.CallerThrottle"],
    "DEFAULT_SCHEMA_CLASS": "trading.schema.RouteSchema",
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
    "EXCEPTION_HANDLER": "trading.problems.exception_handler",
    "COERCE_DECIMAL_TO_STRING": False,
    # The framework's own test client would send forms, which no route takes.
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "HyperSwarm Executor Agent",
    "VERSION": __version__,
    "DESCRIPTION": "Opens, watches and closes pair trades: one coin long, another short, dollar-neutral.",
    "LICENSE": {"name": "MIT", "identifier": "MIT"},
    "OAS_VERSION": "3.1.0",
    "PREPROCESSING_HOOKS": ["trading.schema.named_as_in_the_contract"],
    "POSTPROCESSING_HOOKS": ["trading.schema.with_components"],
    "SERVE_INCLUDE_SCHEMA": True,
}

TEST_RUNNER = "tests.runner.DeskTestRunner"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "executor_agent.logs.formatter", "log_format": DESK_CONFIG.log_format}},
    # Tests provoke what would be logged; those that care for it catch it.
    "handlers": {
        "stderr": {
            "class": "logging.NullHandler" if TESTING else "executor_agent.logs.PatientHandler",
            "formatter": "line",
        }
    },
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "trading": {"level": "INFO"},
        "executor_agent": {"level": "INFO"},
        # Every refused request would be a line; the desk's own log says what matters.
        "django.request": {"level": "ERROR"},
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        "django.server": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
    },
}
