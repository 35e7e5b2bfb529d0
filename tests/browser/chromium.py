"""A browser before a whole service: one of each for a class of tests, and the few gestures they are made of."""

import hashlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.processes import environ_of, free_port, pause_after
from tests.servers.service import family_of
from tests.servers.siblings import Agents, serve
from trading.conf import PROJECT_ROOT, Config
from trading.sessions import cookie_name

if TYPE_CHECKING:
    from selenium.webdriver.remote.webelement import WebElement

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
AXE = Path(__file__).parent / "vendor" / "axe" / "axe.min.js"
# Of axe's four levels these are failures; the lower two are advice.
SERIOUS = ("serious", "critical")
WAIT_SECONDS = 60.0
START_SECONDS = 120.0
# The first element of a selector that is to be seen and says some words: one question instead of three an element.
SEEN = """
const shown = (one) => one.checkVisibility({visibilityProperty: true}) && one.getClientRects().length;
const wanted = (one) => shown(one) && (one.innerText || '').includes(arguments[1]);
return [...document.querySelectorAll(arguments[0])].find(wanted) || null;
"""
# The same question, asked by the page itself whenever it changes: what is there for a moment only is not missed.
WITNESS = f"""
const asked = [...arguments];
window.witnessed = false;
const look = () => {{ window.witnessed ||= (function () {{ {SEEN} }})(...asked) !== null; }};
new MutationObserver(look).observe(document, {{attributes: true, characterData: true, childList: true, subtree: true}});
"""
WIDE = (1440, 900)
PHONE = (400, 860)
TOKENS = {"read": "r" * 43, "trade": "t" * 43, "admin": "a" * 43}
API_TOKENS = ",".join(
    f"the-{scope}:{scope}:{hashlib.sha256(one.encode()).hexdigest()}" for scope, one in TOKENS.items()
)
SECRET_KEY = "a key of the browser tests, which is as long as a key has to be"


class Service:
    """`manage.py serve` as a demo with tokens, in a folder of its own, and a Guardian in this process that it asks for
    real. Its signals are all taken, whatever the hour."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.agents = Agents()
        self._guardian = serve(0, self.agents.guardian)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._environ = {
            **environ_of(),
            "TMPDIR": str(folder),
            "DEMO_MODE": "true",
            "EXECUTOR_PORT": str(self.port),
            "DATA_DIR": str(self.data),
            "REDIS_URL": "redis://127.0.0.1:1/3",
            "SECRET_KEY": SECRET_KEY,
            "API_TOKENS": API_TOKENS,
            "ALLOW_ANONYMOUS_LOOPBACK": "false",
            "GUARDIAN_URL": f"http://127.0.0.1:{self._guardian.server_port}",
            "MIN_SIGNAL_CONFIDENCE": "0.3",
            "THROTTLE_READ_PER_MINUTE": "0",
            "THROTTLE_TRADE_PER_MINUTE": "0",
            **environ,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Start, and do not wait."""
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                (sys.executable, "manage.py", "serve"),
                cwd=PROJECT_ROOT,
                env=self._environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Come back when it is ready to be asked."""
        until(self.is_healthy, f"the service becoming healthy: see {self._folder / 'output'}", START_SECONDS)

    @property
    def data(self) -> Path:
        return self._folder / "data"

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(15)
        self._guardian.shutdown()
        self._guardian.server_close()

    @contextmanager
    def without_web(self) -> Iterator[None]:
        """The web process dies; the supervisor, asleep meanwhile, starts it again afterwards."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            for pid in family_of(self._process.pid):
                if b"gunicorn" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def is_healthy(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError((self._folder / "output").read_text(encoding="utf-8"))
        try:
            return bool(self.ask("GET", "/api/health")["status"] == "healthy")
        except OSError:
            return False

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The decoded answer to an administrator; None when there is nothing in it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        headers = {"Authorization": f"Bearer {TOKENS['admin']}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            content = connection.getresponse().read()
            return json.loads(content) if content else None
        finally:
            connection.close()

    def session(self, scope: str) -> str:
        """The cookie of a log-in, as a browser would get it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            body = json.dumps({"token": TOKENS[scope]})
            connection.request("POST", "/api/session", body, {"Content-Type": "application/json"})
            header = connection.getresponse().getheader("Set-Cookie") or ""
            return header.partition(";")[0].partition("=")[2].strip('"')
        finally:
            connection.close()

    @contextmanager
    def stream(self) -> Iterator[int]:
        """A stream of events held open by somebody else; gives its status."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            connection.request("GET", "/api/events", headers={"Authorization": f"Bearer {TOKENS['read']}"})
            yield connection.getresponse().status
        finally:
            connection.close()

    @property
    def cookie_name(self) -> str:
        return cookie_name(Config.of(executor_port=self.port))


class Browser:
    """Chromium, driven. Waiting is part of every gesture: the page is alive."""

    def __init__(self, folder: Path, service: Service) -> None:
        from selenium.webdriver import Chrome, ChromeOptions
        from selenium.webdriver.chrome.service import Service as DriverService

        options = ChromeOptions()
        for flag in (*FLAGS, f"--user-data-dir={folder}"):
            options.add_argument(flag)
        options.binary_location = str(CHROMIUM)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.service = service
        self.driver: Chrome = Chrome(options=options, service=DriverService(str(DRIVER)))
        # A colour on its way to another one has no contrast that could be judged.
        still = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", still)
        self.resize(WIDE)

    def quit(self) -> None:
        self.driver.quit()

    def resize(self, size: tuple[int, int], scale: float = 1) -> None:
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def open(self, path: str = "/") -> None:
        self.driver.get(self.service.url + path)

    def log_in_as(self, scope: str) -> None:
        """With a cookie that is there already, on the dashboard."""
        self.keep(self.service.session(scope))
        self.open()

    def keep(self, cookie: str) -> None:
        """This session cookie from now on, in the place of another: a page that asked in between would have none."""
        kept = {"url": self.service.url, "name": self.service.cookie_name, "value": cookie, "httpOnly": True}
        self.driver.execute_cdp_cmd("Network.setCookie", kept)

    def all(self, css: str) -> "list[WebElement]":
        return self.driver.find_elements("css selector", css)

    def see(self, css: str, words: str = "") -> "WebElement":
        """The first visible element of *css* that says *words*, as soon as there is one."""

        found: WebElement = until(lambda: self.script(SEEN, css, words), f"{css} saying {words!r}", page=self.words)
        return found

    def witness(self, css: str, words: str) -> Callable[[], None]:
        """Gives what waits until *css* has said *words*, from now on, for however short a moment."""
        self.script(WITNESS, css, words)
        what = f"{css} saying {words!r} for a moment"
        return lambda: void(until(lambda: self.script("return window.witnessed"), what, page=self.words))

    def gone(self, css: str, words: str = "") -> None:
        """No visible element of *css* says *words* any more."""

        until(lambda: self.script(SEEN, css, words) is None, f"{css} with {words!r} going away")

    def click(self, css: str, words: str = "") -> None:
        """Patient with an element that is about to be enabled, moves, or has something before it."""
        from selenium.common.exceptions import ElementClickInterceptedException, StaleElementReferenceException

        in_the_way = ""

        def clicked() -> bool:
            nonlocal in_the_way
            found = self.see(css, words)
            try:
                if found.is_enabled():
                    found.click()
                    return True
                in_the_way = "it is disabled"
            except ElementClickInterceptedException as error:
                # In the window, but under the head that stays there: the driver does not scroll then, a person would.
                in_the_way = str(error.msg)
                with suppress(StaleElementReferenceException):
                    self.script("arguments[0].scrollIntoView({block: 'center'})", found)
            except StaleElementReferenceException as error:
                in_the_way = str(error.msg)
            return False

        until(clicked, f"a click on {css}", page=lambda: in_the_way)

    def type(self, css: str, text: str) -> None:
        """*text* in place of what was there."""
        field = self.see(css)
        field.clear()
        field.send_keys(text)

    def words(self) -> str:
        return str(self.script("return document.body.innerText"))

    def script(self, source: str, *arguments: object) -> Any:
        return self.driver.execute_script(source, *arguments)

    def awaited(self, source: str, *arguments: object) -> Any:
        """What the promise of *source* gives."""
        wrapped = (
            "const told = arguments[arguments.length - 1];"
            f"(async () => {{ {source} }})().then(told, (failure) => told(`failed: ${{failure}}`))"
        )
        return self.driver.execute_async_script(wrapped, *arguments)

    def errors(self) -> list[str]:
        """What the console has said in red since it was asked last; a refusal of the policy is among it."""
        said = self.driver.get_log("browser")  # type: ignore[no-untyped-call]  # comes untyped
        return [str(one["message"]) for one in said if one["level"] == "SEVERE"]

    def ills(self) -> list[str]:
        """What axe finds on the page as it is, serious and worse."""
        if not self.script("return Boolean(window.axe)"):
            self.script(AXE.read_text(encoding="utf-8"))
        found = self.awaited("return (await axe.run(document, {resultTypes: ['violations']})).violations")
        return [
            f"{one['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
            for one in found
            if one["impact"] in SERIOUS
            for node in one["nodes"][:3]
        ]


@unittest.skipIf(sys.platform != "linux", "starts the whole service, which it follows through /proc")
class BrowserCase(unittest.TestCase):
    """One service and one browser for all tests of a class."""

    service: Service
    browser: Browser

    @classmethod
    def setUpClass(cls) -> None:
        """Raises SkipTest, saying what is missing."""
        require_browser()
        folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="executor_browser_")))
        cls.service = Service(folder)
        cls.addClassCleanup(cls.service.stop)
        cls.service.begin()
        cls.browser = Browser(folder / "profile", cls.service)
        cls.addClassCleanup(cls.browser.quit)
        cls.service.wait()


def void(_: object) -> None:
    """For a lambda whose value nobody wants."""


def require_browser() -> None:
    """Raises SkipTest where there is no Chromium to drive."""
    if CHROMIUM is None or DRIVER is None:
        raise unittest.SkipTest("needs Chromium: apt-get install chromium chromium-driver")
    try:
        import selenium  # noqa: F401 (only whether it is there)
    except ImportError as error:
        raise unittest.SkipTest("needs selenium: pip install -r requirements-dev.txt") from error


def until(
    true: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS, page: Callable[[], str] = lambda: ""
) -> Any:
    """What *true* gives as soon as that is something; fails the test after *seconds*, saying *what* did not happen and
    what the *page* said. An element that was drawn anew while it was looked at is looked for again."""
    began = time.monotonic()
    while not (found := _unless_stale(true)):
        waited = time.monotonic() - began
        if waited > seconds:
            raise unittest.TestCase.failureException(f"{what} did not happen within {seconds:g} s. {page()[:2000]}")
        time.sleep(pause_after(waited))
    return found


def _unless_stale(true: Callable[[], Any]) -> Any:
    from selenium.common.exceptions import StaleElementReferenceException

    try:
        return true()
    except StaleElementReferenceException:
        return None
