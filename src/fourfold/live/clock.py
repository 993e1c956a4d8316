"""What moment is shown while a scene plays."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Clock:
    """Time of a scene that plays.

    Attributes:
        begin, end: the scene's first and last second.
        time: the moment shown, seconds.
        playing: whether it goes on.
        speed: scene seconds a second; negative plays backwards.
        loop: whether it begins again at the end.
    """

    begin: float
    end: float
    time: float = 0.0
    playing: bool = False
    speed: float = 1.0
    loop: bool = True

    def __post_init__(self) -> None:
        self.time = min(max(self.time, self.begin), self.end)

    def advance(self, seconds: float) -> bool:
        """Let `seconds` pass; whether the moment shown is another one. Without loop the clock stops at an end."""
        if not self.playing or self.end <= self.begin:
            return False
        before, length = self.time, self.end - self.begin
        time = self.time + self.speed * seconds
        if self.loop:
            self.time = self.begin + (time - self.begin) % length
        else:
            self.time = min(max(time, self.begin), self.end)
            self.playing = self.time not in ((self.end,) if self.speed > 0 else (self.begin,))
        return self.time != before

    def over(self, begin: float, end: float) -> None:
        """The scene has become another one."""
        self.begin, self.end = begin, end
        self.time = min(max(self.time, begin), end)
