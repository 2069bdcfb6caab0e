"""What the doctor found: findings, the certificate and the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from metaccord.doctor.kinds import KINDS, Level
from metaccord.errors import NumericalError


@dataclass(frozen=True)
class Finding:
    """One thing that the doctor found.

    Args:
        code: A key of :data:`KINDS`.
        message: What was found, and where.
    """

    code: str
    message: str

    @property
    def level(self) -> Level:
        """How serious it is."""
        return KINDS[self.code].level

    @property
    def remedy(self) -> str:
        """What to do."""
        return KINDS[self.code].remedy

    def __str__(self) -> str:
        return f"{self.level} {self.code}: {self.message}; remedy: {self.remedy}"

    def json(self) -> dict[str, str]:
        """Return the finding as a JSON object."""
        parts = {"code": self.code, "level": self.level, "message": self.message}
        return {**parts, "remedy": self.remedy}


@dataclass(frozen=True)
class Certificate:
    """How well the meta-gradient agrees with two other roads to it, in float64.

    Attributes:
        reference: What it was compared with, in words.
        loop: Relative error over the whole gradient against a plain loop with autograd, or None.
        differences: Relative error against finite differences, or None.
        directions: Number of directions of the differences.
        notes: What was changed for the comparison.
    """

    reference: str
    loop: float | None = None
    differences: float | None = None
    directions: int = 0
    notes: tuple[str, ...] = ()

    LOOP = 1e-9
    DIFFERENCES = 1e-6

    @property
    def passed(self) -> bool:
        """Whether every comparison that was made is within its bound; NaN never is."""
        bounds = ((self.loop, self.LOOP), (self.differences, self.DIFFERENCES))
        return all(error <= bound for error, bound in bounds if error is not None)

    def __str__(self) -> str:
        found = [
            f"{word} {error:.1e} (at most {bound:.0e})"
            for word, error, bound in (
                ("plain loop", self.loop, self.LOOP),
                (
                    f"differences in {self.directions} directions",
                    self.differences,
                    self.DIFFERENCES,
                ),
            )
            if error is not None
        ]
        word = "passed" if self.passed else "FAILED"
        return f"{word}, {self.reference}: {', '.join(found)}" if found else self.reference


@dataclass(frozen=True)
class Report:
    """All findings, and the certificate if the model ran."""

    findings: tuple[Finding, ...]
    certificate: Certificate | None = None

    @property
    def healthy(self) -> bool:
        """Whether there is neither fault nor warning."""
        return all(finding.level == "notice" for finding in self.findings)

    @property
    def codes(self) -> frozenset[str]:
        """The codes of all findings."""
        return frozenset(finding.code for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """0 without fault; 5 if the meta-gradient failed; else 2 (usage) or 3 (data)."""
        faults = {KINDS[f.code].exit_code for f in self.findings if f.level == "fault"}
        wrong = NumericalError.exit_code
        return wrong if wrong in faults else max(faults, default=0)

    def json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        certificate = self.certificate
        return {
            "healthy": self.healthy,
            "exit_code": self.exit_code,
            "findings": [finding.json() for finding in self.findings],
            "certificate": certificate
            and {
                "passed": certificate.passed,
                "reference": certificate.reference,
                "loop": certificate.loop,
                "differences": certificate.differences,
                "directions": certificate.directions,
                "notes": list(certificate.notes),
            },
        }

    def __str__(self) -> str:
        lines = [str(finding) for finding in self.findings]
        if self.certificate is not None:
            lines.append(f"certificate {self.certificate}")
            lines += [f"  {note}" for note in self.certificate.notes]
        lines.append("healthy" if self.healthy else "see the findings above")
        return "\n".join(lines)
