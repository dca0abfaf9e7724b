"""What every row was, in the order of its writes, and which of that a read may show.

Each row has one writer, and carries the number of its write. A read that starts after a write was acknowledged shows that
write or a later one that was at least submitted when the read ended; a row is missing only if it was gone, or elsewhere, at
one of these moments.
"""


class StaleAnswerError(AssertionError):
    """A read showed what it must not show any more, or not yet."""


class Acknowledged:
    """The histories of all rows; of one event loop, so that each method happens at once."""

    def __init__(self):
        self._states = {}
        self._acknowledged = {}

    def submit(self, table, row_id, columns):
        """The row is to become this, or None for gone; returns the number of the write, which the row carries."""
        states = self._states.setdefault(table, {}).setdefault(row_id, [])
        states.append(columns)
        return len(states) - 1

    def acknowledge(self, table, row_id, number):
        self._acknowledged[table, row_id] = number

    def latest(self, table, row_id):
        """What the row was to become last; None for gone."""
        return self._states[table][row_id][-1]

    def now(self):
        """A moment at which a read starts."""
        return dict(self._acknowledged)

    def check(self, since, table, shown, belongs):
        """Whether these rows of a table may be in an answer, and no others may.

        Args:
            since: when the read started.
            shown: pairs of a row's id and its number, as the answer has them.
            belongs: whether a row with this id and these columns belongs into the answer.
        """
        number_of = dict(shown)
        if set(number_of.items()) != set(shown):
            raise StaleAnswerError(f"a row of {table} is there in two states: {sorted(shown)}")
        for row_id, states in self._states[table].items():
            lowest = since.get((table, row_id), 0)
            number = number_of.pop(row_id, None)
            if number is None:
                if all(state is not None and belongs(row_id, state) for state in states[lowest:]):
                    raise StaleAnswerError(f"{table} {row_id} is missing; acknowledged: {lowest}")
            elif not lowest <= number < len(states):
                raise StaleAnswerError(f"{table} {row_id} is {number}; acknowledged: {lowest}")
            elif states[number] is None or not belongs(row_id, states[number]):
                raise StaleAnswerError(f"{table} {row_id} does not belong there as it was at {number}")
        if number_of:
            raise StaleAnswerError(f"{table} never had {number_of}")
