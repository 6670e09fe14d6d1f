"""Providers with one fault each, and the tests of the kit that find it."""

from tests.conformance.mutants import (
    able,
    commanded,
    declared,
    held,
    leaving,
    living,
    pairs,
    reported,
    secretive,
    shown,
    sounding,
    timed,
)
from tests.conformance.mutants.able import Able
from tests.conformance.mutants.commanded import Shouting, Swallowing
from tests.conformance.mutants.declared import OverDeclaring, UnderDeclaring
from tests.conformance.mutants.leaving import Blocking, Leaking
from tests.conformance.mutants.living import Shielded
from tests.conformance.mutants.making import Mutant, bench_of
from tests.conformance.mutants.reported import DoubleEnd
from tests.conformance.mutants.secretive import Guarded

__all__ = [
    "MUTANTS",
    "Able",
    "Blocking",
    "DoubleEnd",
    "Guarded",
    "Leaking",
    "Mutant",
    "OverDeclaring",
    "Shielded",
    "Shouting",
    "Swallowing",
    "UnderDeclaring",
    "bench_of",
]

_ROOMS = (reported, timed, held, commanded, shown, leaving, living, declared, secretive, able, pairs, sounding)

MUTANTS: tuple[Mutant, ...] = tuple(mutant for room in _ROOMS for mutant in room.MUTANTS)
