"""How many CPUs this process may really use: the affinity mask, bounded by the cgroup's quota (v1 or v2)."""

import os
from collections.abc import Callable
from pathlib import Path


def usable(root: Path = Path("/")) -> int:
    """At least 1. A fraction is rounded down: the supervisor and the scaler live on what is left."""
    count = len(os.sched_getaffinity(0))
    quota = cgroup_quota(root)
    if quota is not None:
        count = min(count, int(quota))
    return max(1, count)


def cgroup_quota(root: Path = Path("/")) -> float | None:
    """CPUs the cgroup allows, the tightest of its ancestors; None when there is no quota."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    found: list[float] = []
    for line in lines:
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            found += _walk(root / "sys/fs/cgroup", path, _quota_v2)
        elif "cpu" in controllers.split(","):
            for mount in (controllers, "cpu", "cpu,cpuacct"):
                if (root / "sys/fs/cgroup" / mount).is_dir():
                    found += _walk(root / "sys/fs/cgroup" / mount, path, _quota_v1)
                    break
    return min(found, default=None)


def _walk(mount: Path, path: str, read: Callable[[Path], float | None]) -> list[float]:
    # Inside a container the path is often the host's and not mounted; the mount itself is then our own cgroup.
    parts = [part for part in path.split("/") if part not in ("", "..")]
    found = []
    for depth in range(len(parts), -1, -1):
        quota = read(mount.joinpath(*parts[:depth]))
        if quota is not None:
            found.append(quota)
    return found


def _quota_v2(group: Path) -> float | None:
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return _ratio(quota, period)


def _quota_v1(group: Path) -> float | None:
    try:
        quota = (group / "cpu.cfs_quota_us").read_text().strip()
        period = (group / "cpu.cfs_period_us").read_text().strip()
    except OSError:
        return None
    return _ratio(quota, period)


def _ratio(quota: str, period: str) -> float | None:
    # "max" (v2) and -1 (v1) both say: no limit.
    if not (quota.isdigit() and period.isdigit()) or int(period) == 0:
        return None
    return int(quota) / int(period)
