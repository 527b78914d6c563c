"""An hour of people requests under the deployment's own autoscaling policy, second by second: backlog, age, tasks, refusals.

    python -m benchmarks.simulation        writes results/simulation.json and results/simulation.png

1,000 requests a second, ten times that for five minutes. The policy, the sizes of `prd` and the gateway's throttle are read from
`infra_pulumi` as data. Nothing here is measured but the rate of a task, which is taken twice: as the policy counts on it, and as
`scale.py` found it on this machine; a task at its rate is taken to be at 100 % of its CPU. How Application Auto Scaling looks at a
target-tracking metric is an assumption, in the constants.
"""

import json
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.measure import RESULTS, ROOT, context, write_json
from consumidor.settings import KEYS
from notebooks.drawing import PATHS as COLOURS

sys.path.insert(0, str(ROOT / "infra_pulumi"))  # whose modules import each other by their bare names
from autoscaling import METRIC_PERIOD_SECONDS, BacklogScaling
from environments import ENVIRONMENTS as ENVIRONMENTS  # noqa: PLC0414 - what tests take from here

FILE = RESULTS / "simulation.json"
HOUR = 3_600
RATE, BURST, BURST_FROM, BURST_UNTIL = 1_000, 10_000, 1_200, 1_500  # requests a second, and when
START_SECONDS = 60  # from the decision to a task that answers: image pull, start, first receive
METRIC_LAG = 60  # seconds until a minute's datapoint can be read
OUT_DATAPOINTS, IN_DATAPOINTS, IN_SHARE = (
    3,
    15,
    0.9,
)  # minutes over the target, minutes under a share of it, as the alarms it makes have them
BACKLOG_LIMIT = int(KEYS["PEOPLE_BACKLOG_LIMIT"].default)  # over it the API answers 429


@dataclass(frozen=True)
class Deployment:
    """What answers: the policy, how many messages a second one task really does, and the doors' limits (None: none)."""

    scaling: BacklogScaling
    task_rate: float
    throttle_rate: float | None = None
    throttle_burst: float | None = None
    backlog_limit: float | None = None


@dataclass
class Hour:
    """What happened, a value a second: messages waiting, seconds the oldest has waited, running tasks; refusals in all."""

    backlog: list[float] = field(default_factory=list)
    age: list[float] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)
    accepted: float = 0.0
    throttled: float = 0.0  # by the gateway
    refused: float = 0.0  # 429, backlog over its limit

    def summary(self) -> dict[str, float]:
        """The hour in a few numbers."""
        over = sum(1 for one in self.age if one > 60)
        return {
            "largest_backlog": round(max(self.backlog)), "longest_age_s": round(max(self.age)), "most_tasks": max(self.tasks),
            "seconds_with_age_over_60": over, "accepted": round(self.accepted), "throttled": round(self.throttled),
            "refused": round(self.refused), "backlog_at_end": round(self.backlog[-1]), "task_hours": round(sum(self.tasks) / 3600, 1),
        }  # fmt: skip


def arrivals(second: int) -> float:
    """Requests that come in this second."""
    return BURST if BURST_FROM <= second < BURST_UNTIL else RATE


class Autoscaler:
    """Target tracking on messages waiting for each task and on CPU, as it sees them: once a minute, a minute late.

    Of several policies the one that wants most tasks counts, so tasks go only where both let them go (the service's own rule).
    """

    def __init__(self, scaling: BacklogScaling) -> None:
        self._scaling = scaling
        self._points: deque[tuple[int, int, float, float]] = deque(maxlen=IN_DATAPOINTS + METRIC_LAG // METRIC_PERIOD_SECONDS)
        self._quiet_until = 0

    def look(self, second: int, running: int, backlog: float, cpu_percent: float) -> int:
        """How many tasks are wanted, after this second."""
        if second % METRIC_PERIOD_SECONDS:
            return running
        self._points.append((second, running, backlog / max(1, running), cpu_percent))
        seen = [point for point in self._points if point[0] <= second - METRIC_LAG]
        if not seen or second < self._quiet_until:
            return running
        scaling = self._scaling
        _, tasks, load, cpu = seen[-1]
        proposed = min(scaling.max_tasks, max(scaling.min_tasks, ceil(tasks * cpu / scaling.cpu_percent)))
        by_backlog = self._wanted(running, [point[2] for point in seen], scaling.target, scaling.desired(int(load * tasks), tasks))
        by_cpu = self._wanted(running, [point[3] for point in seen], scaling.cpu_percent, proposed)
        wanted = max(by_backlog, by_cpu)
        if wanted != running:
            self._quiet_until = second + (scaling.scale_out_cooldown if wanted > running else scaling.scale_in_cooldown)
        return wanted

    def _wanted(self, running: int, values: list[float], target: float, proposed: int) -> int:
        """One policy's tasks: what it proposes, once enough datapoints in a row are over the target, or well under it."""
        if len(values) >= OUT_DATAPOINTS and min(values[-OUT_DATAPOINTS:]) > target:
            return max(running, proposed)
        if len(values) >= IN_DATAPOINTS and max(values[-IN_DATAPOINTS:]) < IN_SHARE * target:
            return min(running, proposed)
        return running


class Doors:
    """The gateway's token bucket and the API's backlog limit, in front of the queue."""

    def __init__(self, deployment: Deployment, hour: Hour) -> None:
        self._deployment, self._hour = deployment, hour
        self._tokens = float(deployment.throttle_burst or 0)

    def admit(self, asked: float, backlog: float) -> float:
        """How many of a second's requests get in."""
        deployment, hour = self._deployment, self._hour
        if deployment.throttle_rate is not None:
            self._tokens = min(float(deployment.throttle_burst or 0), self._tokens + deployment.throttle_rate)
            passed = min(asked, self._tokens)
            self._tokens -= passed
            hour.throttled += asked - passed
            asked = passed
        if deployment.backlog_limit is not None and backlog > deployment.backlog_limit:
            hour.refused += asked
            return 0.0
        hour.accepted += asked
        return asked


def simulate(deployment: Deployment, seconds: int = HOUR, coming: Callable[[int], float] = arrivals) -> Hour:
    """Run the hour, from an empty queue with as many tasks as its first second needs."""
    scaling, hour = deployment.scaling, Hour()
    scaler, doors = Autoscaler(scaling), Doors(deployment, hour)
    tasks = min(scaling.max_tasks, max(scaling.min_tasks, ceil(coming(0) / deployment.task_rate)))
    starting: deque[tuple[int, int]] = deque()  # when, how many there are then
    waiting: deque[list[float]] = deque()  # [since, messages], oldest first
    backlog = 0.0
    for second in range(seconds):
        while starting and starting[0][0] <= second:
            tasks = starting.popleft()[1]
        admitted = doors.admit(coming(second), backlog)
        waiting.append([second, admitted])
        served = _serve(waiting, tasks * deployment.task_rate)
        backlog = max(0.0, backlog + admitted - served)
        hour.backlog.append(backlog)
        hour.age.append(second - waiting[0][0] if waiting else 0)
        hour.tasks.append(tasks)
        planned = starting[-1][1] if starting else tasks
        wanted = scaler.look(second, planned, backlog, 100 * served / (tasks * deployment.task_rate))
        if wanted > planned:
            starting.append((second + START_SECONDS, wanted))
        elif wanted < planned and not starting:
            tasks = wanted
    return hour


def _serve(waiting: deque[list[float]], capacity: float) -> float:
    """Answer the oldest first; how many."""
    left = capacity
    while waiting and left > 0:
        done = min(left, waiting[0][1])
        waiting[0][1] -= done
        left -= done
        if waiting[0][1] <= 1e-9:
            waiting.popleft()
    return capacity - left


def scenarios(measured_rate: float) -> dict[str, Deployment]:
    """As deployed, with the rate the policy counts on and with the measured one; then with doors that let everything in."""
    prd = ENVIRONMENTS["prd"]
    deployed = Deployment(prd.worker_scaling, prd.worker_scaling.rate_per_task, prd.throttle_rate, prd.throttle_burst, BACKLOG_LIMIT)
    wider = replace(prd.worker_scaling, max_tasks=150)
    return {
        "as deployed, 100/s a task": deployed,
        f"as deployed, {measured_rate:,.0f}/s a task": replace(deployed, task_rate=measured_rate),
        "doors open, up to 150 tasks, 100/s": Deployment(wider, prd.worker_scaling.rate_per_task),
        f"doors open, {measured_rate:,.0f}/s a task": Deployment(prd.worker_scaling, measured_rate),
    }


def measured_rate() -> float:
    """Messages a second of one worker process with one client, at its best threads, by the last run of `scale.py`; 500 without one."""
    file = RESULTS / "scale.json"
    if not file.exists():
        return 500.0
    rows = json.loads(file.read_text())["threads"]
    return max(float(row["median"]) for row in rows if row["clients"] == 1)


def draw(hours: dict[str, Hour], file: Path) -> None:
    """Backlog, age and tasks over the hour, a line a scenario."""
    figure, axes = plt.subplots(3, 1, figsize=(9, 8), sharex=True)
    minutes = [second / 60 for second in range(HOUR)]
    styles = [{"color": colour, "ls": line} for colour in (COLOURS["people"], COLOURS["score"]) for line in ("-", "--")]
    for (name, hour), style in zip(hours.items(), styles, strict=True):
        axes[0].plot(minutes, hour.backlog, label=name, **style)
        axes[1].plot(minutes, hour.age, **style)
        axes[2].plot(minutes, hour.tasks, **style)
    for one in axes:
        one.axvspan(BURST_FROM / 60, BURST_UNTIL / 60, color="#E4E7EB", zorder=0)
    axes[0].set(title="1,000 people requests/s, 10,000/s in the grey five minutes", ylabel="messages waiting", yscale="symlog")
    axes[1].set(ylabel="oldest message, s")
    axes[2].set(ylabel="worker tasks", xlabel="minutes")
    axes[0].legend(loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(file, dpi=110, bbox_inches="tight")
    plt.close(figure)


def main() -> None:
    """Simulate, write, draw, print."""
    chosen = scenarios(measured_rate())
    hours = {name: simulate(deployment) for name, deployment in chosen.items()}
    summaries = {name: hour.summary() for name, hour in hours.items()}
    write_json(FILE, {**context(), "measured_task_rate": measured_rate(), "scenarios": summaries})
    draw(hours, RESULTS / "simulation.png")
    for name, summary in summaries.items():
        print(f"{name:36} " + ", ".join(f"{key} {value:,}" for key, value in summary.items()))


if __name__ == "__main__":
    main()
