"""The people of evaluations are those of the ledger and of ibench, picture for picture."""

from __future__ import annotations

from pathlib import Path

from benchmarks.studies.people import held_out
from benchmarks.suites import load_suite
from methods.faces import load_encoder
from methods.pocket.references import reference_png


def test_a_fit_of_an_evaluation_serves_the_ledger_and_ibench(tmp_path: Path) -> None:
    """Fits are kept by the bytes of the reference, so these have to be the same."""
    [fitted] = load_suite("claims", sets=("people",)).sets
    benched = load_suite("ibench").sets[0]
    for number in (0, 4):
        person = held_out(number, tmp_path, load_encoder("pocket"))
        for entry in (fitted.identities[number], benched.identities[number]):
            assert entry.person is not None
            expected = reference_png(entry.person, entry.context, entry.nuisance)
            assert Path(person.pictures[0]).read_bytes() == expected
