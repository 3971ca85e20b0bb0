"""Whether the frames that a subscriber is sent continue each other: the conservation that playback promises. Pure."""

from dataclasses import dataclass

from bff_wsrelay.playback.pacer import Emission


@dataclass(slots=True)
class ContinuityCheck:
    """Whether frames follow each other without gap or overlap since the last seek."""

    expected: int
    jumps: int = 0
    frames: int = 0
    covered: int = 0
    faults: int = 0

    def enter(self, emission: Emission, jumps: int) -> bool:
        """Count a frame; return whether it continues where the one before ended, or the client sought."""
        start, end, _ = emission
        fits = start == self.expected or jumps != self.jumps
        self.faults += not fits
        self.jumps, self.expected = jumps, end
        self.frames += 1
        self.covered += end - start
        return fits
