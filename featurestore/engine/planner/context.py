"""What one pass over a query shares: the key's types, the rules that hold, and what they did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from featurestore.engine.planner import advice
from featurestore.engine.planner.columns import Col, Leaf, Miss
from featurestore.engine.planner.facts import Facts, Implication
from featurestore.engine.planner.model import Rule, Stop

Stops = tuple[Stop, ...]


@dataclass(slots=True)
class Context:
    """One pass.

    Attributes:
        types: of each part of the key; those of chains follow.
        key_width: how many parts are the key's own.
        off: rules that tests switch off.
        fired: how often a rule let the key pass to a table.
        refused: how often a rule stopped it.
        clashes: sources that are compared with the key in a way that does not let it pass.
    """

    types: list[str]
    key_width: int
    off: frozenset[Rule]
    fired: Counter[Rule] = field(default_factory=Counter)
    refused: Counter[Rule] = field(default_factory=Counter)
    clashes: dict[Leaf, Stop] = field(default_factory=dict)

    def holds(self, rule: Rule) -> bool:
        """Whether a rule is heeded."""
        return rule not in self.off

    def stop(self, rule: Rule, advice: str) -> Stops:
        """Note that a rule stopped the key."""
        self.refused[rule] += 1
        return (Stop(rule, advice),)

    def comparable(self, one: str | None, other: str | None, part: int) -> bool:
        """Whether two columns and a part of the key are of one known type."""
        return one == other == self.types[part] or not self.holds(Rule.SAME_TYPE)

    def close(self, facts: Facts, implications: Sequence[Implication]) -> None:
        """Law B: add to the facts all that follows from them."""
        changed = True
        while changed:
            changed = False
            for each in implications:
                known = facts.strong if each.strong else facts.weak
                target = facts.strong if each.sure else facts.weak
                for (col, part), way in list(known.items()):
                    then = (each.then, part)
                    if col is not each.given or then in target or (not each.sure and then in facts.strong):
                        continue
                    if each.then is col or self.comparable(col.type, each.then.type, part):
                        target[then] = way | {each.rule}
                        changed = True
                    else:
                        self._clash(col, each.then)

    def miss(self, facts: Facts, misses: Iterable[Miss]) -> None:
        """Note which sources the key could not reach, because of how they are compared with it."""
        known = {col for col, _ in (*facts.strong, *facts.weak)}
        for one, other, rule in misses:
            for given, then in ((one, other), (other, one)):
                if given in known and then not in known and then.leaf and then.leaf not in self.clashes:
                    [self.clashes[then.leaf]] = self.stop(rule, advice.MISSED[rule])

    def _clash(self, known: Col, other: Col) -> None:
        if other.leaf and other.leaf not in self.clashes:
            said = advice.same_type(other.name, other.type, known.type)
            [self.clashes[other.leaf]] = self.stop(Rule.SAME_TYPE, said)
