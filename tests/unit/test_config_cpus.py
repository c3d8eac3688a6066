import os
from pathlib import Path

import pytest

from lambda_dispatch import cpus


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_no_cgroup_is_no_quota(tmp_path: Path) -> None:
    assert cpus.cgroup_quota(tmp_path) is None


@pytest.mark.parametrize(("text", "quota"), [("max 100000", None), ("150000 100000", 1.5), ("nonsense", None)])
def test_a_v2_quota_is_quota_over_period(tmp_path: Path, text: str, quota: float | None) -> None:
    root = tree(tmp_path, {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": text})
    assert cpus.cgroup_quota(root) == quota


def test_the_tightest_ancestor_counts(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a/b/c\n",
            "sys/fs/cgroup/a/cpu.max": "200000 100000",
            "sys/fs/cgroup/a/b/cpu.max": "400000 100000",
        },
    )
    assert cpus.cgroup_quota(root) == 2.0


def test_inside_a_container_the_mount_itself_is_read(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/self/cgroup": "0::/docker/abc\n", "sys/fs/cgroup/cpu.max": "50000 100000"})
    assert cpus.cgroup_quota(root) == 0.5


@pytest.mark.parametrize(("quota", "expected"), [("-1", None), ("300000", 3.0)])
def test_v1_has_two_files(tmp_path: Path, quota: str, expected: float | None) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/x\n",
            "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": quota + "\n",
            "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
        },
    )
    assert cpus.cgroup_quota(root) == expected


def test_the_quota_is_rounded_down_but_never_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    root = tree(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "350000 100000"})
    assert cpus.usable(root) == 3
    tree(tmp_path, {"sys/fs/cgroup/cpu.max": "50000 100000"})
    assert cpus.usable(root) == 1
    tree(tmp_path, {"sys/fs/cgroup/cpu.max": "max 100000"})
    assert cpus.usable(root) == 8
