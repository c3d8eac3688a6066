"""What the original project published of itself, and the cases as they are run again here.

The figures are those of PERFORMANCE.md of github.com/pwrdrvr/lambda-dispatch (commit 1446ff0): a Node.js application in
functions of 512 MB, the router on one vCPU with 2 GB, the load generator `hey -h2` in the same region.
"""

from dataclasses import dataclass

from benchmarks.load.volley import MOST_RETRIES, Shot

WAYS = ("direct", "dispatch")
PICTURE = 168_161  # bytes of the picture that is served and echoed
PROGRAM = 9_365_076  # bytes of the 9 MB that are echoed

Quantiles = tuple[tuple[float, float], ...]  # % of the requests, s


@dataclass(frozen=True, slots=True)
class Published:
    environments: int
    rps: float
    p50: float  # ms
    p99: float  # 0: not given
    worst: float
    seconds: float = 0.0  # of an environment for a request, where the run itself does not tell
    warm: int = 0  # environments at the start; 0: all
    quantiles: Quantiles = ()

    @property
    def work(self) -> float:
        """Seconds of an environment for one request."""
        return self.seconds or self.environments / self.rps

    @property
    def shown(self) -> str:
        return f"{self.warm} to {self.environments}" if self.warm else ""


@dataclass(frozen=True, slots=True)
class Case:
    key: str
    title: str
    clients: int
    direct: Published | None
    dispatch: Published
    answer: int
    echo: bool = False
    slow: int = 1  # slow motion of Lambda's own dispatch
    each: int = 0  # requests of each client, where that matters

    @property
    def cold(self) -> bool:
        return bool(self.dispatch.warm)

    def given(self, way: str) -> Published | None:
        return self.direct if way == "direct" else self.dispatch

    def environments(self, way: str) -> int:
        given = self.given(way)
        return given.environments if given else 1

    def warm(self, way: str) -> int:
        given = self.given(way)
        return given.warm if given else 0

    def bound(self, way: str) -> str:
        """A published time of Lambda's own dispatch is also the client's."""
        return "at most " if way == "direct" and not self.cold else ""

    def shot(self, way: str, work: float) -> Shot:
        """Lambda's own dispatch has as many clients as environments: one that is answered may ask again before its
        environment is free, and gets a 429."""
        us, retries = round(work * 1e6), MOST_RETRIES if way == "direct" else 0
        if self.echo:
            return Shot("/echo/{us}", body=self.answer, answer=self.answer, us=us, retries=retries)
        return Shot(f"/busy/{{us}}/{self.answer}", answer=self.answer, us=us, retries=retries)


CASES = {
    case.key: case
    for case in (
        Case(
            "ping", "ping, 4 B", 100,
            Published(100, 5552.6, 14.2, 91.7, 193.0),
            Published(20, 2740.6, 21.1, 99.9, 234.3),
            4, slow=8,
        ),
        Case(
            "image", "image of 168 kB", 100,
            Published(100, 480.0, 185.4, 405.7, 431.3),
            Published(20, 644.1, 126.6, 332.5, 395.4),
            PICTURE, slow=8,
        ),
        Case(
            "s3", "the same, read from S3", 100,
            Published(100, 457.1, 190.1, 431.7, 455.8),
            Published(20, 451.9, 188.9, 391.6, 446.7),
            PICTURE, slow=8,
        ),
        Case(
            "echo", "echo of 168 kB", 100,
            Published(100, 241.6, 378.6, 760.7, 767.7),
            Published(20, 320.3, 271.9, 744.3, 844.1),
            PICTURE, echo=True, slow=8,
        ),
        Case(
            "9mb", "echo of 9.4 MB", 10,
            None,
            Published(2, 6.238, 1654.6, 0, 2579.3),
            PROGRAM, echo=True,
        ),
        # One request: of an environment's time as in the runs of 10 clients with all environments warm, 10 and 2.
        Case(
            "scale-up", "scale-up, image from S3", 100,
            Published(
                100, 98.3, 152.5, 8709.1, 8785.5, seconds=10 / 192.58, warm=10,
                quantiles=(
                    (10, 0.0483), (25, 0.1129), (50, 0.1525), (75, 0.1861), (90, 0.3415), (95, 8.4830), (99, 8.7091),
                    (100, 8.7855),
                ),
            ),
            Published(
                20, 81.5, 1394.0, 2417.9, 2709.8, seconds=2 / 52.41, warm=2,
                quantiles=(
                    (10, 0.0997), (25, 0.6455), (50, 1.3940), (75, 1.5698), (90, 1.7841), (95, 2.1048), (99, 2.4179),
                    (100, 2.7098),
                ),
            ),
            PICTURE, each=10,
        ),
    )
}  # fmt: skip
