"""The row-at-a-time path; see _rows.pyx."""

from segue import _engine

class RowAppender:
    """Appends single events to one open event store."""

    def __init__(self, store: _engine.EventStore) -> None: ...
    def append(self, *args: object, **kwargs: object) -> int: ...
