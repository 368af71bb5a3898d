"""What recursion does to gradients: naive recursion, LVBN, and the same depth without sharing, side by side."""

from drnn.analysis.gradients.course import Course, Plan, at_start, first_images, follow
from drnn.analysis.gradients.probe import GradientProbe, Readings, read_gradients
from drnn.analysis.gradients.statistics import recalibrate, with_mixed_statistics, with_own_statistics
from drnn.analysis.gradients.study import load_study, save_study, study
from drnn.analysis.gradients.variants import VARIANTS, Site, build_variant

__all__ = [
    "VARIANTS",
    "Course",
    "GradientProbe",
    "Plan",
    "Readings",
    "Site",
    "at_start",
    "build_variant",
    "first_images",
    "follow",
    "load_study",
    "read_gradients",
    "recalibrate",
    "save_study",
    "study",
    "with_mixed_statistics",
    "with_own_statistics",
]
