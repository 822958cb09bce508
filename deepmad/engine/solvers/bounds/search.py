"""Branch and price: a valid upper bound on the objective over a whole space, better with every step."""

import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.bounds.branching import children, network, rounded, split
from deepmad.engine.solvers.bounds.coarse import MANY_CELLS, cells
from deepmad.engine.solvers.bounds.columns import Pool
from deepmad.engine.solvers.bounds.grouping import tables_of
from deepmad.engine.solvers.bounds.nodes import Effort, Node, evaluate
from deepmad.engine.solvers.bounds.pricing import no_prices, price
from deepmad.engine.solvers.bounds.relaxation import Relaxation, full_box, penalty_cut, within
from deepmad.engine.solvers.bounds.tables import Array, OutOfTimeError, SpaceTables, charged, families
from deepmad.search_spaces.architectures import Architecture

_ROOT, _WIDE_ROOT = Effort(rounds=40, sweeps=0), Effort(rounds=4, sweeps=0)
"""For the whole space, and for one that is looked at coarsely first, where a round takes long."""
_CHILD = Effort(rounds=4, sweeps=1)
_TIE = 2e-7
"""Relative distance to the best known objective within which a box is not split any further."""
_DIVE_GAP, _DIVE_EVERY = 0.01, 5
"""Relative gap above which every node is dived from, and how many nodes there are to a dive else."""
_SHARED = 8
"""Nodes handed to another process at once at most: the second, fourth and so on of the best ones."""
_MOST_PROPOSALS = 5
"""Networks that another process tells of at once: the last ones."""


@dataclass(frozen=True)
class BoundStep:
    """What is proven after one step of work.

    No feasible network of the space has an objective above the larger of `bound` and the best incumbent handed
    in so far; `bound` is inf before the first one is known. `infeasible`: the space holds no feasible network.
    `proposal` is a member of the space worth checking, not necessarily within the budget. `done`: the bound
    cannot be improved any further.
    """

    bound: float
    proposal: Architecture | None
    done: bool
    infeasible: bool = False


@dataclass(frozen=True)
class Share:
    """Open nodes that another process works on, and the best objective known.

    Of a tree that has not `begun` there are no nodes, but the whole space is open.
    """

    nodes: tuple[Node, ...]
    known: float
    begun: bool = True


@dataclass(frozen=True)
class Outcome:
    """What became of a share: the nodes still open, the best value settled and the largest bound within a tie of it.

    `met` is the network of that value, `proposals` are other members of the space worth checking, `evaluated` is the
    number of nodes worked on.
    """

    nodes: tuple[Node, ...]
    met: Architecture | None
    settled: float
    ties: float
    proposals: tuple[Architecture, ...]
    evaluated: int


def tighten(problem: Problem, incumbent: Callable[[], float | None], end: float = math.inf) -> Iterator[BoundStep]:
    """Yield ever better upper bounds on the objective of `problem`, one bounded piece of work a step; see `Tree`."""
    yield from Tree(problem, incumbent, end).steps()


class Tree:
    """Boxes that together hold every network worth finding, and what has been proven.

    `incumbent` returns the best objective known of a feasible network, or None; it is asked again at every
    step. Networks that are not better are left out, so a good incumbent makes the bound better and faster.
    The paper gives no bound; this is branch and price (Barnhart et al., Operations Research 46(3), 1998).
    Nodes may be handed to other processes (`share`), whose trees work on them (`work_on`). The tree stops, within a
    step too, when the clock (`time.monotonic`) is past `end`. Trees of problems that differ in limits alone may share
    their `tables` but for these, and the columns of a `pool`. Objectives are those less what the tables charge.
    """

    def __init__(
        self,
        problem: Problem,
        incumbent: Callable[[], float | None],
        end: float = math.inf,
        *,
        tables: SpaceTables | None = None,
        pool: Pool | None = None,
    ) -> None:
        self.problem, self.end = problem, end
        self.incumbent, self.tables, self.columns = incumbent, tables, pool
        self.heap: list[tuple[float, int, Node]] = []
        self.pushed = 0
        self.evaluated = 0
        self.best = math.inf
        self.settled = -math.inf  # the best network met by splitting boxes down to one
        self.known = -math.inf
        self.ties = -math.inf
        self.current: Node | None = None
        self.siblings: list[Node] = []
        self.fresh: list[Node] = []  # evaluated since the last node was split, not in the heap yet
        self.dives = 0
        self.shared: list[Share] = []
        self.met: Architecture | None = None  # the network settled last, told with the next step
        self.proposals: list[Architecture] = []
        self.proposed: set[Architecture] = set()

    @cached_property
    def space(self) -> SpaceTables:
        """The problem's tables, read when they are needed first."""
        return tables_of(self.problem, self.end) if self.tables is None else replace(self.tables, end=self.end)

    @cached_property
    def pool(self) -> Pool:
        """The columns found so far."""
        return Pool(self.space) if self.columns is None else self.columns

    def steps(self) -> Iterator[BoundStep]:
        """Yield what is proven, one bounded piece of work a step."""
        yield BoundStep(math.inf, None, False)
        try:
            for _ in self.run():
                yield self.step()
            yield self.step()
        except OutOfTimeError:  # what was under way is not known to be open or closed: only what was told before holds
            yield BoundStep(self.best, None, False)

    def floor(self) -> float:
        """Return the best objective known: handed in, or settled here."""
        value = self.incumbent()
        self.known = max(self.known, self.settled, -math.inf if value is None else value)
        return self.known

    @property
    def idle(self) -> bool:
        """Whether all that is open is with other processes."""
        return bool(self.shared) and not (self.heap or self.siblings or self.fresh or self.current)

    def step(self) -> BoundStep:
        """Return what is proven now."""
        waiting = [node.bound for node in (*self.siblings, *self.fresh)]
        waiting += [self.current.bound] if self.current else []
        waiting += [node.bound for share in self.shared for node in share.nodes]
        open_bound = max([self.settled, self.ties, *waiting, *([-self.heap[0][0]] if self.heap else [])])
        self.best = float(min(self.best, max(open_bound, self.known)))
        proposal = self.met or (self.proposals.pop() if self.proposals else None)
        self.met = None
        done = not waiting and not self.heap
        return BoundStep(self.best, proposal, done, infeasible=done and self.best == -math.inf)

    def closed(self, node: Node) -> bool:
        """Whether nothing in a node is worth finding; what a tie may still hide counts towards the bound."""
        floor = self.floor()
        if node.bound <= floor or floor == -math.inf:
            return node.bound <= floor
        if node.bound <= floor + _TIE * abs(floor):
            self.ties = max(self.ties, node.bound)
            return True
        return False

    def push(self, node: Node) -> None:
        """Keep a node for later, unless nothing in it is worth finding."""
        if not self.closed(node):
            heapq.heappush(self.heap, (-node.bound, self.pushed, node))
            self.pushed += 1

    def run(self) -> Iterator[None]:
        """Do one piece of work between two yields until nothing is left open."""
        yield from self.begin()
        while self.heap or self.shared:
            if not self.heap:
                yield
                continue
            yield from self.dive(heapq.heappop(self.heap)[2])

    def begin(self) -> Iterator[None]:
        """Evaluate the whole space."""
        self.siblings = [_root(self.space, kinds) for kinds in families(self.problem)]
        while self.siblings:
            yield from self.work(_WIDE_ROOT if cells(self.siblings[-1].box) > MANY_CELLS else _ROOT)
        self.keep()

    def dive(self, node: Node) -> Iterator[None]:
        """Split a node; where a good network is still to be found, go on with its best child, and so on downwards.

        Best bounds first proves most for the work, and meets networks late.
        """
        gap = -self.heap[0][0] - self.floor() if self.heap else 0.0
        self.dives += 1
        deep = gap > _DIVE_GAP * abs(self.known) or self.dives % _DIVE_EVERY == 0
        below: Node | None = node
        while below is not None and not self.closed(below):
            self.siblings = children(self.space, below)
            assert self.siblings, "a box of one network is settled, never kept"
            while self.siblings:
                yield from self.work(_CHILD)
            self.fresh.sort(key=lambda child: child.bound)
            below = self.fresh.pop() if deep and self.fresh else None
            self.keep()

    def keep(self) -> None:
        """Let the nodes evaluated last wait."""
        while self.fresh:
            self.push(self.fresh.pop())

    def work(self, effort: Effort) -> Iterator[None]:
        """Evaluate the next sibling and keep it."""
        node = self.current = self.siblings.pop()
        self.evaluated += 1
        self.pool.put(node.columns)
        for _ in evaluate(self.space, node, self.pool, self.floor, effort):
            yield
        if node.box.single:  # the evaluation may have shrunk it to this
            self.single(node)
        else:
            if node.master is not None and node.bound > self.floor():
                self.propose(rounded(self.space, node.master))
            node.parts = split(self.space, node)
            node.close()
            self.fresh.append(node)
        self.current = None

    def single(self, node: Node) -> None:
        """Settle a box of one network by its exact value; one of groups of widths stays as open as it is."""
        if node.bound <= self.floor():
            return
        if self.space.grouped:
            self.ties = max(self.ties, node.bound)
            return
        found = network(self.space, node.box)
        if found is not None and not self.problem.broken(found):
            value = self.problem.value(found) - charged(self.space, found)
            if value > self.floor():
                self.met = found
            self.settled = max(self.settled, value)

    def propose(self, found: Architecture | None) -> None:
        """Keep a network worth checking for the next step; each is told once."""
        if found is not None and found not in self.proposed:
            self.proposed.add(found)
            self.proposals.append(found)

    def share(self) -> Share | None:
        """Return nodes for another process, which count as open until they are taken back; None where there are few."""
        count = min(_SHARED, len(self.heap) // 2)
        if not count:
            return None
        best = heapq.nsmallest(2 * count, self.heap)
        for entry in best[1::2]:
            self.heap.remove(entry)
        heapq.heapify(self.heap)
        share = Share(tuple(node for _, _, node in best[1::2]), self.floor())
        self.shared.append(share)
        return share

    def take_back(self, share: Share, outcome: Outcome | None) -> None:
        """Take back a share with what came of it; None where its process was lost."""
        self.shared.remove(share)
        if outcome is not None:
            self.settled = max(self.settled, outcome.settled)
            self.ties = max(self.ties, outcome.ties)
            self.evaluated += outcome.evaluated
        for node in share.nodes if outcome is None else outcome.nodes:
            self.push(node)

    def work_on(self, share: Share, over: Callable[[], bool]) -> Outcome:
        """Work on another tree's nodes, the best first, until `over` says so or none is open."""
        self.heap, self.met, self.proposals, self.evaluated = [], None, [], 0
        self.settled = self.ties = -math.inf
        self.known = share.known
        for node in share.nodes:
            self.push(node)
        if not share.begun:
            for _ in self.begin():
                pass
        while self.heap and not (self.evaluated and over()):
            node = heapq.heappop(self.heap)[2]
            for _ in self.dive(node):
                pass
        nodes = tuple(node for _, _, node in self.heap)
        proposals = tuple(self.proposals[-_MOST_PROPOSALS:])
        return Outcome(nodes, self.met, self.settled, self.ties, proposals, self.evaluated)


def _root(space: SpaceTables, kinds: tuple[str, ...]) -> Node:
    """Return the node of the whole space, the first stage's block among `kinds`."""
    box, first = full_box(space, kinds), kinds[0]
    count = len(space.scales)
    low, high = _entropy_ranges(space)
    depths = np.array([float(values.min()) for values in space.depths])
    relaxation = Relaxation(box, first, low, high, ((),) * count, ((),) * count, (penalty_cut(space, first, depths),))
    return Node(within(relaxation, space, box), math.inf)


def _entropy_ranges(space: SpaceTables) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Return the least and the largest entropy before every scale, for every channel count there, limits aside."""
    kinds = tuple(space.problem.space.stages[0].block)
    box = full_box(space, kinds)
    least, most = (
        price(space, box, replace(no_prices(space), entropy=np.full(space.stages, sign))).ahead for sign in (-1.0, 1.0)
    )

    def finite(values: Array, start: float) -> Array:
        return start + np.where(np.isfinite(values), values, 0.0)

    low = tuple(finite(-least[info.stages], info.entropy) for info in space.scales)
    high = tuple(finite(most[info.stages], info.entropy) for info in space.scales)
    return low, high
