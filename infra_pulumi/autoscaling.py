"""How the worker scales, as data: no pulumi in here, so that a simulation can read the same numbers the policy is made of.

Target tracking holds the backlog per task (messages waiting for each running task) at a constant. Source of the method:
docs.aws.amazon.com/AWSEC2/latest/userguide/as-using-sqs-queue.html (acceptable backlog = acceptable delay x rate of one task).
"""

from dataclasses import dataclass
from math import ceil

METRIC_PERIOD_SECONDS = 60  # SQS and Container Insights publish once a minute: no policy can see further than that


@dataclass(frozen=True)
class BacklogScaling:
    """Numbers of one backlog-per-task policy; times in seconds.

    The acceptable backlog is `acceptable_delay` x `rate_per_task`: 10 s of work at 100 requests/s, a tenth of what a worker answers
    on one shared core of a laptop, so that a slower database still meets the delay.
    """

    min_tasks: int
    max_tasks: int
    rate_per_task: int = 100  # requests a second that one task is counted on for
    acceptable_delay: int = 10
    scale_out_cooldown: int = 60  # one metric period: the next look already sees the new tasks
    scale_in_cooldown: int = 300  # a lull of less than five minutes costs less than starting again
    cpu_percent: int = 60  # held by a second policy: tasks that keep the queue empty by being busy are not taken away for its emptiness

    @property
    def target(self) -> int:
        """Messages waiting for each running task that the policy aims at."""
        return self.rate_per_task * self.acceptable_delay

    def desired(self, backlog: int, running: int) -> int:
        """Tasks that target tracking asks for: in proportion to the metric over its target, rounded up, within the limits.

        `backlog` in messages; with no task running the metric counts one, as the policy's expression does.
        """
        per_task = backlog / max(running, 1)
        return min(self.max_tasks, max(self.min_tasks, ceil(max(running, 1) * per_task / self.target)))


# The policy's expression over m1 (messages visible) and m2 (running tasks); a missing count of tasks is read as one.
BACKLOG_PER_TASK = "m1 / IF(FILL(m2, 1) > 0, FILL(m2, 1), 1)"
