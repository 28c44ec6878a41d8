"""Small reference populations, composed by hand, for fitting profiles in tests."""

import functools
import random

from detectors.calibration import LOOKS, Profile, Provenance, Source
from detectors.checks import ordinary
from detectors.fitting import Trajectory, ceilings, fit, trajectory
from detectors.registry import ENTRIES, Ceilings

PROVENANCE = Provenance("by hand", (Source("checks.ordinary", "Apache-2.0", 1, 1),))


def scores_of(draw, looks=None, group="g"):
    """A trajectory of scores drawn at random, the same distribution for every detector and look."""
    return Trajectory(group, [[draw() for _ in ENTRIES] for _ in LOOKS[:looks]])


def null_profile(accounts, seed, draw=lambda rng: rng.gauss(0, 1)):
    """Profile of accounts whose scores are independent draws."""
    rng = random.Random(seed)
    reference = [scores_of(lambda: draw(rng), group=str(at % 10)) for at in range(accounts)]
    return fit(reference, fitted_ceilings(), version="null", provenance=PROVENANCE)


@functools.cache
def fitted_ceilings() -> Ceilings:
    """Ceilings of a few people of `checks.ordinary`."""
    return ceilings(list(ordinary(seed, 64)) for seed in range(5))


def fit_small() -> Profile:
    """Profile of 60 people of `checks.ordinary`, fitted anew."""
    people = [list(ordinary(seed, 1100 if seed % 3 == 0 else 100)) for seed in range(60)]
    limits = ceilings(people)
    reference = [trajectory(f"group-{at % 6}", person, limits) for at, person in enumerate(people)]
    return fit(reference, limits, version="small", provenance=PROVENANCE)


small_profile = functools.cache(fit_small)
