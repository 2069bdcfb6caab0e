"""Looking at a meta-trained state: geometry of trajectories, curvature, loss landscapes."""

from metaccord.diagnostics.curvature import Extremes, SpectralNorm, extremes, spectral_norm
from metaccord.diagnostics.geometry import Pairs, displacements, shaped
from metaccord.diagnostics.hessians import Hessians
from metaccord.diagnostics.landscape import Plane, paths, plane
from metaccord.diagnostics.trajectory import TrajectoryScores, measure

__all__ = [
    "Extremes",
    "Hessians",
    "Pairs",
    "Plane",
    "SpectralNorm",
    "TrajectoryScores",
    "displacements",
    "extremes",
    "measure",
    "paths",
    "plane",
    "shaped",
    "spectral_norm",
]
