"""What anybody's own load test looks like: a user of another hub, with calls, pushes and events of its own."""

import gevent  # type: ignore[import-untyped]  # the library ships no types
import locust
from gevent.event import AsyncResult  # type: ignore[import-untyped]  # the library ships no types

from loadtest.signalr_user import FAILURES, SignalRUser


class EchoUser(SignalRUser):
    hub_path = "/hubs/conformance"
    wait_time = locust.constant_throughput(20)

    def on_start(self) -> None:
        self.pushed = AsyncResult()
        self.connection = self.hub(self.environment.parsed_options.token)
        self.connection.on("Pushed", self.arrived, str)
        self.connection.open()

    @locust.task
    def echo(self) -> None:
        try:
            assert self.connection.invoke("Echo", {"n": 1}) == {"n": 1}
            self.pushed = AsyncResult()
            with self.measure("push", "there and back"), gevent.Timeout(5, TimeoutError("no push within 5 s")):
                self.connection.send("CallMe", "Pushed", "text")
                assert self.pushed.get() == "text"
            self.connection.invoke("Fail", "on purpose")
        except FAILURES:
            pass  # recorded

    def arrived(self, text: str) -> None:
        self.pushed.set(text)

    def on_stop(self) -> None:
        self.connection.close()


locust.events.init_command_line_parser.add_listener(  # type: ignore[no-untyped-call]  # Locust types only part of itself
    lambda parser: parser.add_argument("--token")
)
