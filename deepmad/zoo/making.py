"""Making a zoo: tables, designs, measurements, files; every step is stored once, so that a killed run goes on."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmad.engine.answers.parts import Round
from deepmad.engine.answers.repeated import agreed
from deepmad.engine.answers.solutions import Measured, Solution
from deepmad.profilers.backends import find_backend
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.measuring.steps import Once
from deepmad.profilers.tables.table_files import Key
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import STOPS, InputError
from deepmad.search_spaces.files import write_text
from deepmad.search_spaces.units import human
from deepmad.tasks import check_place
from deepmad.zoo.cards import card
from deepmad.zoo.entries import WAVES, Entry, entries_of
from deepmad.zoo.families import Family, Need, build, free_step, load_family, needs
from deepmad.zoo.files import file_name, remove_others, write_architecture, write_network, write_solution
from deepmad.zoo.journal import Journal
from deepmad.zoo.measuring import Companion, timed_apart
from deepmad.zoo.neighbours import exchanged, starts_for
from deepmad.zoo.records import Baseline, Record, entry_record, failed_record, networkless_record
from deepmad.zoo.references import check_references, figure_record, known, reference_record, unavailable_record
from deepmad.zoo.report import write_report
from deepmad.zoo.results import write_results
from deepmad.zoo.solving import Assignment, crew_for, solve_all, solver_for
from deepmad.zoo.spec import Reference, SpecFile, load_spec
from deepmad.zoo.verifying import Timing, Verifier

if TYPE_CHECKING:
    from deepmad.profilers.building.building import Progress

WAITING, SOLVING, SOLVED, TIMING = "waiting", "solving", "solved", "timing"
"""What happens to an entry before it is met, missed, infeasible or failed."""


@dataclass(frozen=True)
class News:
    """Something that happened: a line to be told, all `entries` once they are known, or how one `entry` stands.

    `record` is the document of an entry that is finished, `solution` what is known of one before. A `lasting` line is
    worth reading when all is over, too.
    """

    line: str
    entries: tuple[Entry, ...] = ()
    entry: Entry | None = None
    state: str = ""
    solution: Solution | None = None
    record: Record | None = None
    lasting: bool = False


Tell = Callable[[News], None]


def make_zoo(
    spec: str | Path,
    folder: str | Path,
    *,
    on: str = "local",
    timing: Timing | None = None,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """Make the zoo of a spec file in `folder`, or go on with it; return the document of its zoo.json.

    Solves run `on` processes of this machine ("local") or a cluster ("ray", "ray://HOST:PORT"), networks are timed on
    this machine, one at a time, when all solves are over. `timing` times a network in the place of a new process: a
    function of the table's conditions (a `Key`) and an architecture, or the name of a reference, that returns a
    `Measured`; one that replays recorded measurements makes a zoo that can be had twice, with one worker and a
    deterministic limit. `tell` is told the news.

    Raises `InputError` for a spec that cannot be made, or a folder that holds another one, `DeviceError` where a table
    or the timing of a design without a target fails, and `KeyboardInterrupt` or `MemoryError`, after writing what is
    designed and finished, where one of them ends it.
    """
    file, folder = load_spec(spec), Path(folder)
    needed = needs(file)
    check_place(on)
    with closing(Journal(folder)) as journal:
        return _Making(file, folder, journal, on, timing, tell or (lambda _: None)).go(needed)


class _Making:
    """One run: what it rests on, and what is finished by now."""

    def __init__(
        self, file: SpecFile, folder: Path, journal: Journal, on: str, timing: Timing | None, tell: Tell
    ) -> None:
        self.file, self.spec, self.folder, self.journal = file, file.spec, folder, journal
        self.on, self.given_timing, self.tell = on, timing, tell
        self.families: list[Family] = []
        self.baselines: dict[str, Baseline] = {}
        self.networkless: list[Record] = []
        self.entries: list[Entry] = []
        self.records: dict[str, Record] = {}
        self.references, self.doubts = list[Record](), Once()

    def go(self, needed: Sequence[Need]) -> dict[str, Any]:
        """Do all steps that are not done, from the tables on; return the document of zoo.json."""
        try:
            return self._all(needed)
        except STOPS as stop:
            if self.entries:
                self.keep_designs()
                self.write(finished=False)
                self._report()
            kind = MemoryError if isinstance(stop, MemoryError) else KeyboardInterrupt
            raise kind(self._kept()) from stop

    def _kept(self) -> str:
        """Return what a run that ended before its time leaves behind."""
        finished = sum(record["files"]["onnx"] is not None for record in self.records.values())
        so_far = (
            f"{finished} of {len(self.entries)} networks are finished" if self.entries else "what was finished is kept"
        )
        return f"{so_far} in {self.folder}; the same command goes on"

    def _all(self, needed: Sequence[Need]) -> dict[str, Any]:
        """Do all steps, as `go`."""
        self.open_families(needed)
        self.design_without_target()
        throughputs = {name: baseline.throughput for name, baseline in self.baselines.items()}
        self.entries = entries_of(self.spec, self.families, throughputs)
        self.tell(News(f"{len(self.entries)} networks are asked for", entries=tuple(self.entries)))
        for entry in self.entries:
            if (record := self.journal.get(f"entry-{entry.name}")) is not None:
                self.records[entry.name] = record
                self.tell(News("", entry=entry, state=record["outcome"], record=record))
        solved = self.solve()
        for _, entries in groupby(self.entries, lambda entry: entry.family.name):
            self.finish_family(list(entries), solved)
        self.refer()
        document = self.write(finished=True)
        self._report()
        return document

    def _report(self) -> None:
        """Write the report; a library that it lacks costs nothing else."""
        try:
            write_report(self.folder)
        except InputError as error:
            self.tell(News(f"no report: {error}", lasting=True))

    def open_families(self, needed: Sequence[Need]) -> None:
        """Open the tables, and measure those that are missing; no two spaces or tables may mix in one folder."""
        check_references(self.file)
        there = {need.name: load_family(need, self.spec) for need in needed if not need.missing}
        spaces = {need.member.slug: need.member.space.identity for need in needed}
        self.journal.check("spec", {"spec": self.file.document, "spaces": spaces}, "spec")
        for need in needed:
            if need.missing:
                self.tell(News(f"measuring the latency table {need.path}"))
                build(need, self.spec, self._tell_build, self._tell_step)
                there[need.name] = load_family(need, self.spec)
        self.families = [there[need.name] for need in needed]
        for family in self.families:
            self._compare_device(family)
        self.journal.check("tables", {family.name: family.digest for family in self.families}, "latency table")

    def _compare_device(self, family: Family) -> None:
        """Warn where networks are timed here, and the table is another device's."""
        if self.given_timing is None and family.measured:
            here, there = find_backend(family.key.backend, family.key.precision).device(), family.table.device
            if here != there:
                line = f"warning: {family.name}: its latency table is of {there}, and networks are timed on {here}"
                self.tell(News(line, lasting=True))

    def _tell_build(self, progress: "Progress") -> None:
        left = "" if progress.seconds_left is None else f", {progress.seconds_left:.0f} s left"
        self.tell(News(f"table: {progress.done} of {progress.total} probes{left}"))
        self._tell_doubts(progress.doubts)

    def _tell_doubts(self, doubts: Sequence[str]) -> None:
        """Tell what makes a number doubtful, once."""
        for doubt in self.doubts.new(doubts):
            self.tell(News(f"warning: {doubt}", lasting=True))

    def _tell_step(self, step: str, *, lasting: bool = False) -> None:
        """Tell for whom a measurement waits, once; its other steps are short."""
        for wait in self.doubts.new([step] if lasting else []):
            self.tell(News(wait))

    def design_without_target(self) -> None:
        """Design the networks whose throughput relative targets are multiples of, one for alike families."""
        if not self.spec.relative:
            return
        steps = {family.name: free_step(family) for family in self.families}
        firsts = {step: next(one for one in self.families if steps[one.name] == step) for step in steps.values()}
        crew = crew_for(self.spec.solver, self.on, len(firsts))
        pending = [step for step in firsts if self.journal.solution(step) is None]
        solver = solver_for(self.spec.solver, crew.workers)
        if pending:
            self.tell(News(f"designing without a target: {len(pending)} network(s)"))
        assignments = [Assignment(firsts[step].problem(self.spec), solver) for step in pending]
        failed: dict[str, str] = {}
        for index, outcome in solve_all(crew, assignments):
            if isinstance(outcome, str):
                failed[pending[index]] = outcome
            else:
                self.journal.put(pending[index], outcome.to_dict())
        for family in self.families:
            step = steps[family.name]
            solution = self.journal.solution(step)
            if solution is not None and solution.architecture is not None:
                self.baselines[family.name] = self._baseline(family, solution)
            else:
                self._do_without(family, solution or failed[step])

    def _do_without(self, family: Family, found: Solution | str) -> None:
        """Note a family that has no network even without a target; `found` says why. The others go on."""
        relative = sum(target.relative is not None for target in self.spec.targets)
        self.networkless.append(networkless_record(family, relative, found))
        self.tell(News(f"{family.name}: no network even without a target: {self.networkless[-1]['message']}"))

    def _baseline(self, family: Family, solution: Solution) -> Baseline:
        """Return a family's design without a target, timed where networks are timed."""
        baseline, timed = Baseline(family, solution, None), f"timed-{family.name}"
        if family.measured:
            if self.journal.measured(timed) is None:
                timing = partial(self.timing(), family.key, baseline.network)
                self.journal.put(timed, asdict(agreed(timing)))
            baseline = replace(baseline, measured=self.journal.measured(timed))
        how = "measured" if baseline.measured else "predicted"
        self.tell(News(f"{family.name}: {how} at {baseline.throughput:.4g} images/s without a target"))
        return baseline

    def timing(self, companion: Companion | None = None) -> Timing:
        """Return what times a network, in turns with a companion where there is one."""
        if self.given_timing is not None:
            return self.given_timing
        return partial(self._timed, companion)

    def _timed(self, companion: Companion | None, key: Key, network: Architecture | str) -> Measured:
        """Return the time of a network on this machine; what makes it doubtful is told."""
        measured = timed_apart(key, network, self.spec.verify.seconds, companion, tell=self._tell_step)
        self._tell_doubts(measured.warnings)
        return measured

    def timing_of(self, entry: Entry) -> Timing:
        """Return what times the networks of an entry: in turns with the design that its target is a multiple of."""
        baseline = self.baselines.get(entry.family.name)
        if entry.target.relative is None or baseline is None or baseline.measured is None:
            return self.timing()
        return self.timing(Companion(baseline.network, baseline.measured.latency_seconds))

    def solve(self) -> dict[str, Solution | str]:
        """Return the solution of every entry, or why it failed; neighbours of the first wave start the second."""
        waves = [[entry for entry in self.entries if entry.wave == wave] for wave in range(WAVES)]
        crew = crew_for(self.spec.solver, self.on, max(map(len, waves)))
        solver = solver_for(self.spec.solver, crew.workers)
        solved: dict[str, Solution | str] = {}
        for wave in waves:
            known_ones = {entry.name: self.journal.solution(f"solved-{entry.name}") for entry in wave}
            pending = [entry for entry in wave if known_ones[entry.name] is None]
            assignments = [
                Assignment(entry.problem(self.spec), solver, self._starts(entry, solved)) for entry in pending
            ]
            solved |= {name: solution for name, solution in known_ones.items() if solution is not None}
            for entry in pending:
                self.tell(News("", entry=entry, state=SOLVING))
            for index, outcome in solve_all(crew, assignments):
                entry = pending[index]
                solved[entry.name] = outcome
                if isinstance(outcome, Solution):
                    self.journal.put(f"solved-{entry.name}", outcome.to_dict())
                    self._tell_entry(entry, SOLVED, outcome)
        return solved

    def _starts(self, entry: Entry, solved: dict[str, Solution | str]) -> tuple[Architecture, ...]:
        """Return the networks that the solve of an entry begins from."""
        family = [other for other in self.entries if other.family is entry.family]
        baseline = self.baselines.get(entry.family.name)
        free = baseline.network if baseline else None
        return starts_for(entry.place, [_solution(solved.get(other.name)) for other in family], free)

    def finish_family(self, entries: Sequence[Entry], solved: dict[str, Solution | str]) -> None:
        """Verify the entries of a family one after the other, and write their files."""
        problems = [entry.problem(self.spec) for entry in entries]
        solutions = exchanged(problems, [_solution(solved[entry.name]) for entry in entries], self.spec.solver.gap)
        found: dict[Entry, Solution | str] = {
            entry: solution or str(solved[entry.name])
            for entry, solution in zip(entries, solutions, strict=True)
            if entry.name not in self.records
        }
        if entries[0].family.measured:
            found |= self._verify({entry: one for entry, one in found.items() if isinstance(one, Solution)})
        for entry, solution in found.items():
            if isinstance(solution, str):
                self.records[entry.name] = failed_record(entry, solution)
            else:
                try:
                    self.records[entry.name] = self._finish(entry, solution)
                except DeviceError as error:
                    self.records[entry.name] = failed_record(entry, str(error))
            remove_others(self.folder, entry, self.records[entry.name]["files"])
            self._tell_finished(entry, self.records[entry.name])
            self.write(finished=False)

    def keep_designs(self) -> None:
        """Write the networks of the entries that are not finished, as they are designed or measured by now.

        That is no step of the journal: a run that goes on verifies them, and writes all of their files.
        """
        for entry in self.entries:
            steps = (f"{step}-{entry.name}" for step in ("verified", "solved"))
            solution = next(filter(None, map(self.journal.solution, steps)), None)
            if entry.name not in self.records and solution is not None and solution.architecture is not None:
                self.records[entry.name] = self._written(entry, solution, whole=False)

    def _finish(self, entry: Entry, solution: Solution) -> Record:
        """Return the document of an entry, its files written."""
        record = self._written(entry, solution, whole=True)
        self.journal.put(f"entry-{entry.name}", record)
        return record

    def _written(self, entry: Entry, solution: Solution, *, whole: bool) -> Record:
        """Return the document of an entry, its files written; those that take seconds only where it is `whole`."""
        network = solution.architecture and replace(solution.architecture, name=entry.name)
        solution = replace(solution, architecture=network)
        files = write_solution(self.folder, entry, solution)
        if network is not None:
            files |= write_architecture(self.folder, network)
            files |= write_network(self.folder, self.journal.folder, network) if whole else {}
            files |= {"card": file_name(entry.name, "card")}
        tables = {family.device.name: family.table for family in self.families if family.space == entry.family.space}
        record = entry_record(entry, solution, tables, files)
        if network is not None:
            write_text(self.folder / files["card"], card(entry, record, self.spec))
        return record

    def _verify(self, solved: dict[Entry, Solution]) -> dict[Entry, Solution | str]:
        """Return what measuring makes of the solved entries of a family."""
        for entry, solution in solved.items():
            self._tell_entry(entry, TIMING, solution)
        return Verifier(self.spec, self.journal, self.timing_of, self._tell_round, self._tell_time).verify(solved)

    def _tell_round(self, entry: Entry, one: Round) -> None:
        if one.measured is not None:
            verdict = "missed" if one.violated else "met"
            self.tell(News(f"{entry.name}: round {one.number}: measured {human(one.measured, 'seconds')}, {verdict}"))

    def _tell_time(self, entry: Entry, time: Measured) -> None:
        self.tell(News(f"{entry.name}: timed again: {human(time.latency_seconds, 'seconds')}"))

    def refer(self) -> None:
        """Time or predict the references on every device."""
        devices = {family.device.name: family for family in reversed(self.families)}
        for number, reference in enumerate(self.spec.references):
            if reference.model is None:
                family = devices[str(reference.device)]
                self.references.append(figure_record(reference, family.table.batch))
                continue
            for name in dict.fromkeys(family.device.name for family in self.families):
                step = f"reference-{number}-{name}"
                if (record := self.journal.get(step)) is None:
                    record = self._refer(reference, devices[name])
                    if record["latency_seconds"] is not None:  # else another run tries again
                        self.journal.put(step, record)
                self.references.append(record)

    def _refer(self, reference: Reference, family: Family) -> Record:
        """Return the document of a reference on one device."""
        self.tell(News(f"reference {reference.name} on {family.device.name}"))
        try:
            found = known(self.file, reference)
        except InputError as error:
            return unavailable_record(reference, family, str(error))
        timing = partial(self.timing(), family.key)
        return reference_record(reference, found, family, self.spec, lambda model: agreed(partial(timing, model)))

    def write(self, *, finished: bool) -> dict[str, Any]:
        """Write zoo.json and zoo.csv as far as the zoo is; return the document."""
        records = [self.records[entry.name] for entry in self.entries if entry.name in self.records]
        return write_results(
            self.folder, self.file, self.families, [*self.baselines.values()], self.networkless, self.references,
            records, finished=finished,
        )  # fmt: skip

    def _tell_entry(self, entry: Entry, state: str, solution: Solution) -> None:
        what = solution.message if solution.objective is None else f"objective {solution.objective:,.1f}"
        self.tell(News(f"{entry.name}: {state}: {what}", entry=entry, state=state, solution=solution))

    def _tell_finished(self, entry: Entry, record: Record) -> None:
        line = f"{entry.name}: {record['outcome']}: {record['message']}"
        self.tell(News(line, entry=entry, state=record["outcome"], record=record))


def _solution(solved: Solution | str | None) -> Solution | None:
    """Return a solution; None where a solve failed, or is to come."""
    return solved if isinstance(solved, Solution) else None
