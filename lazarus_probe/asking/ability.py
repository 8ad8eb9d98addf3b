"""Does a model answer, and in which form best? What claims about models that can do something are gated on.

The form is chosen by cross-fitting, so that the choice cannot flatter what is then measured: families are dealt into
two halves, and each half is asked in the form that answers the other one best. Where the halves disagree on the form,
even after more questions, the claim is about one half alone, in the form that the other one chose.

About 16 prompts are asked in every form first. A share is measured in full, and compared with what a claim declares, as
it is; it is only cut short once the exact one-sided bound of every form (Clopper & Pearson 1934) is below the declared
share. All looks together end a model that reaches the share with a chance of at most `WRONG_STOP`: it ends only if the
form in which it reaches it is among those that are cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.asking.exams import Exam
from lazarus_probe.asking.forms import Form, Shots, forms_of
from lazarus_probe.statistics.intervals import exact
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.subject.chat_prompt import ChatPrompt
from lazarus_probe.subject.generate import greedy

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

TRIAL = 16
CONTENDING = 64  # cells of a half, where the halves disagree
WRONG_STOP = 0.01
Ints = NDArray[np.intp]
Marks = NDArray[np.float64]  # nan where not asked


class Completions:
    """Greedy completions, each made once: claims of a session that ask alike share them."""

    def __init__(self) -> None:
        """None yet."""
        self._texts: dict[tuple[Any, ...], str] = {}

    def of(
        self, subject: Subject, prompts: Sequence[str], max_tokens: int, stops: tuple[str, ...] = ()
    ) -> list[str]:
        """The completion of each prompt by the unedited model; as `greedy`, whose errors it raises."""
        fingerprint = subject.fingerprint  # looks at every weight
        keys = [
            (fingerprint, isinstance(prompt, ChatPrompt), str(prompt), max_tokens, stops)
            for prompt in prompts
        ]
        missing = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in self._texts}
        if missing:
            texts = greedy(subject, list(missing.values()), max_tokens, stops)
            self._texts.update(zip(missing, texts, strict=True))
        return [self._texts[key] for key in keys]


@dataclass(frozen=True, eq=False)
class Ability:
    """What a model answers of an exam, in the form that it answers best.

    Attributes:
        subject: the model.
        exam: the prompts, in the wording that it answers best where there are several.
        form: the form.
        rows: (M,) the prompts that were asked in it; all of them, unless the two halves disagreed on the form, or no
            form can reach the share that is needed.
        completions: (M,).
        right: (M,) whether each is right.
        shares: by class the share that is right, of what is marked together.
        trials: by form, how many of the first questions were right, and of how many.
        reached: whether every class reaches the needed share.
        name: of the form, with the wording where there are several.
    """

    subject: Subject
    exam: Exam
    form: Form
    rows: Ints
    completions: Sequence[str]
    right: NDArray[np.bool_]
    shares: dict[str, float]
    trials: dict[str, tuple[int, int]]
    reached: bool
    name: str = ""

    @property
    def share(self) -> float:
        """The lowest share of any class."""
        return min(self.shares.values())

    @property
    def whole(self) -> bool:
        """Whether all prompts were asked in the form."""
        return len(self.rows) == len(self.exam.prompts)

    @property
    def max_tokens(self) -> int:
        """The limit of tokens of a completion in this form."""
        return _limit(self.subject, self.exam, self.form)

    @property
    def prompts(self) -> list[str]:
        """(M,) the prompts as they were asked."""
        return [self.written(self.exam.prompts[row], self.exam.shots_of(row)) for row in self.rows]

    def written(self, prompt: str, shots: Shots | None = None) -> str:
        """Another prompt in the same form; with the examples of the exam's first prompt by default."""
        return self.form.written(self.subject, prompt, self.exam.shots_of(0) if shots is None else shots)

    def prefix(self, row: int = 0) -> str:
        """What the form puts before the plain text of a prompt; the part that a claim's prompts have in common."""
        written = self.written(self.exam.prompts[row], self.exam.shots_of(row))
        return written[: written.rindex(self.exam.prompts[row])]

    def says(self, what: str) -> str:
        """In words for a requirement: the share of `what`, the form, and how all forms did in the trial."""
        lowest = min(self.shares, key=lambda name: self.shares[name])
        where = f"{what} ({lowest})" if len(self.shares) > 1 else what
        marked = len(self.rows) // self.exam.together
        count = f", the first {marked} of them" if not self.whole else ""
        tried = ", ".join(f"{name} {right} of {total}" for name, (right, total) in self.trials.items())
        return f"answers {self.share:.2f} of {where}{count}, asked as {self.name} (tried: {tried})"

    def noted(self, measurement: Measurement) -> Measurement:
        """The measurement with the form in its details, and how often each form was right in the trial."""
        trials = {name: f"{right} of {count}" for name, (right, count) in self.trials.items()}
        form = {"form": self.name, "answered": self.share, "trial_of_forms": trials}
        return replace(measurement, details={**measurement.details, **form})


def ability(
    subject: Subject, exam: Exam | Sequence[Exam], needed: float, store: Completions | None = None
) -> Ability:
    """Ask an exam in the form that a model answers best.

    Args:
        subject: the model.
        exam: the prompts; or the same questions in several wordings, of which the best is chosen along with the form.
        needed: the share that a claim needs, in each class; what cannot reach it is not asked to the end.
        store: completions of the session.

    Raises:
        ValueError: `needed` outside 0..1; a class with prompts of one family alone; wordings of different questions; as
            `greedy`.
    """
    if not 0 <= needed <= 1:
        raise ValueError(f"needed is {needed}; it is a share, from 0 to 1")
    exams = [exam] if isinstance(exam, Exam) else list(exam)
    alike = {(tuple(one.families), tuple(one.classes), one.together, one.at_once) for one in exams}
    if len(alike) != 1:
        raise ValueError(
            f"{len(exams)} exams are no wordings of one: their families, classes or marks differ"
        )
    return _Asking(subject, exams, needed, Completions() if store is None else store).result()


def falls_short(right: int, count: int, needed: float, looks: int = 1) -> bool:
    """Whether the exact one-sided bound of a share is below the needed one; all looks together err by `WRONG_STOP`."""
    return exact(right, count, 1 - 2 * WRONG_STOP / looks).high < needed


@dataclass(frozen=True, eq=False)
class _Way:
    """A form, and the wording that is asked in it."""

    name: str
    form: Form
    exam: Exam


class _Asking:
    """The marks of an exam's cells, by form, as far as they have been asked."""

    def __init__(self, subject: Subject, exams: Sequence[Exam], needed: float, store: Completions) -> None:
        exam = self.exam = exams[0]
        self.subject, self.needed, self.store = subject, needed, store
        self.forms = [
            _Way(f"{form.name} as in {one.prompts[0]!r}" if len(exams) > 1 else form.name, form, one)
            for one in exams
            for form in forms_of(subject, at_once=one.at_once, shots=bool(one.shots))
        ]
        count = len(exam.prompts) // exam.together
        self.classes = np.array(
            [exam.classes[i * exam.together] if exam.classes else "" for i in range(count)]
        )
        self.half = _halves([exam.families[i * exam.together] for i in range(count)], self.classes)
        if any(len(set(self.half[self.classes == name])) < 2 for name in set(self.classes)):
            raise ValueError(
                "an exam needs two families of each class: the form is chosen on one half of them"
            )
        self.order = np.array(
            sorted(range(count), key=lambda i: crc32(exam.prompts[i * exam.together].encode())), dtype=np.intp
        )
        self.marks: dict[_Way, Marks] = {form: np.full(count, np.nan) for form in self.forms}

    def result(self) -> Ability:
        trial = self.first_of_halves(TRIAL // 2)
        for form in self.forms:
            self.ask(form, trial)
        names = sorted(set(self.classes))
        trials = {form.name: (int(self.marks[form][trial].sum()), len(trial)) for form in self.forms}
        looks = 1 + max(0, int(np.ceil(np.log2(max(1, len(self.order) / TRIAL)))))
        if all(self.hopeless(form, names, looks) for form in self.forms):
            return self.ability(self.best(trial), trial, trials, reached=False)
        chosen = [self.best(self.asked_of(half)) for half in (0, 1)]
        if chosen[0] is not chosen[1]:
            more = self.first_of_halves(CONTENDING)
            for form in dict.fromkeys(chosen):
                self.ask(form, more)
            contenders = [form for form in self.forms if form in chosen]
            chosen = [self.best(more[self.half[more] == half], contenders) for half in (0, 1)]
        cells = self.order if chosen[0] is chosen[1] else self.order[self.half[self.order] == 1]
        form, size = chosen[0], TRIAL
        while True:
            self.ask(form, cells[:size])
            if size >= len(cells):
                break
            if self.hopeless(form, names, looks):
                return self.ability(form, cells[:size], trials, reached=False)
            size *= 2
        return self.ability(form, cells, trials, reached=None)

    def first_of_halves(self, count: int) -> Ints:
        """Cells of each class and half, so many of either half in all classes together, four of each at least."""
        each_class = max(4, count // len(set(self.classes)))
        parts = [
            self.order[(self.classes[self.order] == name) & (self.half[self.order] == half)][:each_class]
            for name in sorted(set(self.classes))
            for half in (0, 1)
        ]
        return np.concatenate(parts)

    def ask(self, form: _Way, cells: Ints) -> None:
        """Ask what has not been asked in a form yet."""
        new = [int(cell) for cell in cells if np.isnan(self.marks[form][cell])]
        if new:
            right = np.array(self.right(form, self.rows_of(new))[1]).reshape(-1, self.exam.together)
            self.marks[form][new] = right.all(axis=1)

    def rows_of(self, cells: Sequence[int] | Ints) -> list[int]:
        step = self.exam.together
        return [int(cell) * step + part for cell in cells for part in range(step)]

    def right(self, form: _Way, rows: Sequence[int]) -> tuple[list[str], list[bool]]:
        exam = form.exam
        prompts = [form.form.written(self.subject, exam.prompts[row], exam.shots_of(row)) for row in rows]
        texts = self.store.of(self.subject, prompts, _limit(self.subject, exam, form.form), form.form.stops)
        return texts, [bool(exam.is_right(row, text)) for row, text in zip(rows, texts, strict=True)]

    def asked_of(self, half: int) -> Ints:
        """The cells of a half that have been asked in every form."""
        everywhere = ~np.isnan(np.stack(list(self.marks.values()))).any(axis=0)
        return np.flatnonzero(everywhere & (self.half == half))

    def best(self, cells: Ints, forms: Sequence[_Way] | None = None) -> _Way:
        """The form with the highest mean share of the classes; the plainest among equals."""
        return max(
            forms or self.forms, key=lambda form: float(np.mean(list(self.shares(form, cells).values())))
        )

    def shares(self, form: _Way, cells: Ints) -> dict[str, float]:
        of_cells, marks = self.classes[cells], self.marks[form][cells]
        return {name: float(marks[of_cells == name].mean()) for name in sorted(set(of_cells))}

    def hopeless(self, form: _Way, names: Sequence[str], looks: int) -> bool:
        """Whether a class is surely below the needed share, by what has been asked in a form."""
        marks = self.marks[form]
        for name in names:
            of_class = marks[(self.classes == name) & ~np.isnan(marks)]
            missing = int((self.classes == name).sum()) - len(of_class)
            if not len(of_class) or not missing:
                continue
            if falls_short(int(of_class.sum()), len(of_class), self.needed, looks):
                return True
        return False

    def ability(
        self, form: _Way, cells: Ints, trials: dict[str, tuple[int, int]], reached: bool | None
    ) -> Ability:
        rows = np.array(sorted(self.rows_of(cells)), dtype=np.intp)
        texts, right = self.right(form, rows.tolist())
        shares = self.shares(form, cells)
        if reached is None:
            reached = min(shares.values()) >= self.needed
        marks = np.array(right, dtype=bool)
        return Ability(
            self.subject, form.exam, form.form, rows, texts, marks, shares, trials, reached, form.name
        )


def _halves(families: Sequence[str], classes: NDArray[Any]) -> Ints:
    """(N,) 0 or 1: families dealt in turn into two halves, whose order depends on their names alone."""
    by_class: dict[str, str] = {}
    for family, name in zip(families, classes, strict=True):
        by_class.setdefault(family, str(name))
    dealt: dict[str, int] = {}
    for name in sorted(set(by_class.values())):
        of_class = sorted((f for f in by_class if by_class[f] == name), key=lambda f: (crc32(f.encode()), f))
        dealt |= {family: turn % 2 for turn, family in enumerate(of_class)}
    return np.array([dealt[family] for family in families], dtype=np.intp)


def _limit(subject: Subject, exam: Exam, form: Form) -> int:
    return form.slack + exam.max_tokens if exam.max_tokens else form.limit(subject, exam.answers)
