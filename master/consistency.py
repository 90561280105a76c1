"""What results that fit together, or do not, say of a deployment: a figure, and an alarm.

Told of every batch to which all slots replied, by a code that can tell. One batch in a hundred may
look suspicious though everybody is honest, so that an alarm needs several of the last ones. Pure.
"""

from collections import deque
from dataclasses import dataclass, field

RECENT = 10  # batches that an alarm is about
ENOUGH = 3  # suspicious ones among them; by chance, at 1 in 100, one window in ten thousand
MEMORY = 0.9  # weight of the figure's past: about the last ten batches count


@dataclass
class Consistency:
    """The residuals of one deployment since it was deployed."""

    checked: int = 0  # batches to which all slots replied
    suspicious: int = 0  # of these
    residual: float = 0.0  # of the last ones, a moving mean; 0 before the first
    is_alarmed: bool = False
    _recent: deque[bool] = field(default_factory=lambda: deque(maxlen=RECENT))

    def add(self, residual: float, is_suspicious: bool) -> bool:
        """A batch was checked; whether the alarm has changed."""
        memory = MEMORY if self.checked else 0.0
        self.residual = memory * self.residual + (1 - memory) * residual
        self.checked += 1
        self.suspicious += is_suspicious
        self._recent.append(is_suspicious)
        count = sum(self._recent)
        was_alarmed = self.is_alarmed
        self.is_alarmed = count >= ENOUGH or (was_alarmed and count > 0)
        return self.is_alarmed != was_alarmed
