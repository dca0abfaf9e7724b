"""Random windows of one SELECT."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.property.planner.making import Maker
from tests.property.planner.scopes import Ref, Scope
from tests.property.planner.words import DOMAINS, quoted

_FRAMES = [
    "",
    "",
    "",
    " ROWS BETWEEN 1 PRECEDING AND CURRENT ROW",
    " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING",
]


@dataclass
class Windows:
    """Window calls; named windows go into a clause of their own."""

    maker: Maker
    scope: Scope
    main: Ref | None
    any: bool = False
    _named: list[str] = field(default_factory=list)

    def call(self) -> tuple[str, str]:
        """One call and its type."""
        draw = self.maker.draw
        self.any = True
        self.maker.used("window")
        kind = draw.choice(["row_number()", "rank()", "count(*)", "sum", "lag", "first_value", "max"])
        type_ = "BIGINT"
        if "(" not in kind:
            refs = [ref for ref in self.scope.own.refs if ref.type in DOMAINS and ref.type != "BIGINT[]"]
            if kind == "sum":
                refs = self.scope.of_type("DOUBLE")
            if not refs:
                return f"count(*) OVER ({self._partition()})", "BIGINT"
            ref = draw.choice(refs)
            kind, type_ = f"{kind}({self.scope.write(ref)})", ref.type
        return f"{kind} OVER {self._over(kind)}", type_

    def qualify(self) -> str:
        """QUALIFY, now and then."""
        draw = self.maker.draw
        if not draw.chance(0.1):
            return ""
        self.any = True
        self.maker.used("QUALIFY")
        extra = ""
        if self.main and draw.chance(0.3):
            others = [ref for ref in self.scope.of_type(self.main.type) if ref != self.main]
            if others:
                extra = f" AND {self.scope.write(self.main)} = {self.scope.write(draw.choice(others))}"
        call = draw.choice(["row_number()", "rank()", "count(*)"])
        return f"\nQUALIFY {call} OVER {self._over(call)} <= {draw.randint(1, 2)}{extra}"

    def clause(self) -> str:
        """WINDOW, if any is named."""
        return f"\nWINDOW {', '.join(self._named)}" if self._named else ""

    def _over(self, call: str) -> str:
        draw = self.maker.draw
        order = f"ORDER BY {self._order()}{draw.choice(_FRAMES) if '(' in call and call != 'rank()' else ''}"
        if call == "row_number()":
            order = f"ORDER BY {self._order()}"
        if draw.chance(0.2):
            self.maker.used("named window")
            name = f"win{len(self._named)}"
            self._named.append(f"{name} AS ({self._partition()} {order})")
            return name
        return f"({self._partition()} {order})"

    def _order(self) -> str:
        refs = [ref for ref in self.scope.own.refs if ref.alias]
        first = ""
        if refs and self.maker.draw.chance(0.5):
            ref = self.maker.draw.choice(refs)
            first = f"{quoted(ref.alias)}.{quoted(ref.name)} {self.maker.draw.choice(['', 'DESC '])}, "
        return first + self.scope.total()

    def _partition(self) -> str:
        draw = self.maker.draw
        refs = draw.some(self.scope.own.refs, 0, 1)
        if self.main and draw.chance(0.8):
            refs.append(self.main)
        texts = [self.scope.write(ref) for ref in refs]
        if draw.chance(0.04):
            texts = ["1"]
        return f"PARTITION BY {', '.join(texts)}" if texts else ""
