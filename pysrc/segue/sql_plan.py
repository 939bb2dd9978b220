"""Recognise the statements that Segue's kernels aggregate, and rewrite the rest of them.

A statement is *native* when its heavy part is: one fact table, inner joins of dimensions on
their keys, a conjunction of predicates that the file list (or a dimension alone) decides,
GROUP BY plain columns, COUNT(*). Everything else in it (HAVING, ORDER BY, LIMIT, windows and
expressions over groups and counts) is rewritten into the *finish*: the same statement with
FROM replaced by the table of groups. Anything not understood raises :class:`NotNative` with
the reason, and the statement goes to DuckDB as it was written, so this module may refuse
freely but must never accept a statement whose meaning it would change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlglot import exp

from segue.relations import ArrowRelation, EventsRelation, ParquetRelation, Relation

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["AGGREGATE", "COUNT", "FILES", "CountQuery", "DimensionUse", "GroupKey", "NotNative", "recognise"]

AGGREGATE = "__segue_aggregate"
"""Table that the finish reads: columns g0..gN and `COUNT`."""
COUNT = "count"
FILES = "__segue_files"
"""Table of the partition values of the fact's files, which the partition predicate reads."""


class NotNative(Exception):  # noqa: N818 - a verdict, not an error
    """The statement is DuckDB's to run; the message says why."""


@dataclass(frozen=True)
class GroupKey:
    """A grouping column: of the fact, or of a joined dimension."""

    column: str
    join: int | None = None


@dataclass
class DimensionUse:
    """A dimension joined to the fact by equality of one column each."""

    alias: str
    relation: ArrowRelation
    fact_column: str = ""
    key: str = ""
    attributes: list[str] = field(default_factory=list)
    """Columns that the groups need."""
    predicates: list[exp.Expr] = field(default_factory=list)
    """Conjuncts over this dimension alone, with its columns qualified by `alias`."""


@dataclass
class CountQuery:
    """A grouped count over one fact table, and the statement that finishes it."""

    fact: ParquetRelation
    joins: list[DimensionUse]
    group_by: list[GroupKey]
    partition_predicates: list[exp.Expr]
    """Conjuncts over partition columns, with columns qualified by `FILES`."""
    finish: exp.Select
    """Over `AGGREGATE`; its select list has the statement's items in order, unnamed where they were."""
    columns: list[str]
    """Columns of the fact that are used: join columns, groups, predicates, each once."""

    @property
    def group_names(self) -> list[str]:
        """The grouping columns as a reader would write them."""
        return [
            key.column if key.join is None else f"{self.joins[key.join].alias}.{key.column}"
            for key in self.group_by
        ]

    @property
    def global_count(self) -> bool:
        """True without GROUP BY: one row, even over nothing."""
        return not self.group_by

    def aggregate_schema(self) -> pa.Schema:
        """Return schema of the table that the finish reads."""
        import pyarrow as pa

        fields = []
        for i, key in enumerate(self.group_by):
            schema = self.fact.schema if key.join is None else self.joins[key.join].relation.schema
            fields.append(pa.field(f"g{i}", schema.field(key.column).type))
        return pa.schema([*fields, pa.field(COUNT, pa.int64())])


def recognise(statement: exp.Expr, relations: Mapping[str, Relation]) -> CountQuery:
    """Return the grouped count in a parsed statement, or :class:`NotNative`.

    `relations` maps case-folded table names to what they stand for.
    """
    if not isinstance(statement, exp.Select):
        raise NotNative(f"it is not a plain SELECT ({statement.key})")
    return _Recogniser(statement.copy(), relations).run()


# --- what may stand where ---

_SELECT_CLAUSES = {
    "expressions", "from_", "from", "joins", "where", "group", "having", "qualify", "windows", "order",
    "limit", "offset", "distinct",
}  # fmt: skip

_NEVER: tuple[type[exp.Expr], ...] = (
    exp.Query, exp.Lambda, exp.Parameter, exp.Placeholder, exp.Command, exp.Unnest, exp.Explode, exp.Pivot,
    exp.Columns, exp.Rollup, exp.Cube, exp.GroupingSets, exp.Dot,
)  # fmt: skip
"""Nodes that no part of a native statement has, because the rewrite would have to look inside them."""

_PREDICATE_NODES: frozenset[str] = frozenset({
    "column", "identifier", "literal", "boolean", "null", "paren", "tuple", "and", "or", "not", "xor",
    "eq", "neq", "gt", "gte", "lt", "lte", "nullsafeeq", "nullsafeneq", "is", "in", "between", "like",
    "ilike", "cast", "trycast", "datatype", "datatypeparam", "add", "sub", "mul", "mod", "neg",
    "interval", "var", "extract", "timestamptrunc", "datetrunc", "year", "month", "day", "dayofweek",
    "dayofmonth", "dayofyear", "week", "quarter", "currentdate", "currenttimestamp", "coalesce",
    "lower", "upper", "length", "startswith", "dateadd", "datesub",
})  # fmt: skip
"""Kinds of node in a predicate that is not evaluated row by row: the same for equal values."""


@dataclass
class _Source:
    alias: str
    relation: Relation
    columns: dict[str, str]
    using: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Base:
    """A column of a source, by the source's position in FROM."""

    source: int
    column: str


class _Recogniser:
    def __init__(self, select: exp.Select, relations: Mapping[str, Relation]) -> None:
        self.select = select
        self.relations = relations
        self.sources: list[_Source] = []
        self.fact_index = -1
        self.conjuncts: list[exp.Expr] = []
        self.joins: dict[int, DimensionUse] = {}
        self.aliases: dict[str, exp.Expr] = {}
        self.keys: list[_Base] = []
        self.columns: list[str] = []
        self.predicates: list[exp.Expr] = []
        self.merged: dict[str, list[int]] = {}

    def run(self) -> CountQuery:
        select = self.select
        for clause, value in select.args.items():
            if value and clause not in _SELECT_CLAUSES:
                raise NotNative(f"it has {clause.rstrip('_').upper()}")
        for node in select.walk():
            if node is not select and isinstance(node, _NEVER):
                raise NotNative(
                    "it has a subquery" if isinstance(node, exp.Query) else f"it has {node.key.upper()}"
                )
        for node in select.find_all(exp.AggFunc):
            self._check_aggregate(node)
        self._read_from()
        self._read_aliases()
        for conjunct in self.conjuncts:
            self._place_join(conjunct)
        for index, source in enumerate(self.sources):
            if index != self.fact_index and index not in self.joins:
                raise NotNative(f"{source.alias} is joined without an equality of a fact column and its key")
        for conjunct in self.conjuncts:
            self._place_predicate(conjunct)
        self._read_groups()
        self._rewrite()
        order = list(self.joins)
        uses = [self.joins[index] for index in order]
        groups = []
        for base in self.keys:
            if base.source == self.fact_index:
                groups.append(GroupKey(base.column))
                self._use(base.column)
            else:
                use = self.joins[base.source]
                if base.column != use.key and base.column not in use.attributes:
                    use.attributes.append(base.column)
                groups.append(GroupKey(base.column, order.index(base.source)))
        # Joins first, then groups, then predicates: the order in which a row meets them is the reverse,
        # but this is the order in which people name them.
        predicate_columns = [c for c in self.columns if c not in self._joined_and_grouped(uses, groups)]
        columns = [*self._joined_and_grouped(uses, groups), *predicate_columns]
        fact = self.sources[self.fact_index].relation
        assert isinstance(fact, ParquetRelation)
        return CountQuery(fact, uses, groups, self.predicates, select, columns)

    @staticmethod
    def _joined_and_grouped(uses: Sequence[DimensionUse], groups: Sequence[GroupKey]) -> list[str]:
        names = [use.fact_column for use in uses] + [key.column for key in groups if key.join is None]
        return list(dict.fromkeys(names))

    def _use(self, column: str) -> None:
        if column not in self.columns:
            self.columns.append(column)

    # -- FROM

    def _read_from(self) -> None:
        start = self.select.args.get("from_") or self.select.args.get("from")
        if start is None:
            raise NotNative("it has no FROM")
        self._add_source(start.this)
        for join in self.select.args.get("joins") or []:
            self._add_join(join)
        facts = [i for i, source in enumerate(self.sources) if isinstance(source.relation, ParquetRelation)]
        events = [s.alias for s in self.sources if isinstance(s.relation, EventsRelation)]
        if events:
            raise NotNative(f"{events[0]} is an event table")
        if len(facts) != 1:
            raise NotNative("it has no fact table" if not facts else "it has more than one fact table")
        self.fact_index = facts[0]
        where = self.select.args.get("where")
        if where is not None:
            self.conjuncts.extend(_conjuncts(where.this))
        if self.merged and any(self.fact_index not in members for members in self.merged.values()):
            raise NotNative("USING joins two dimensions")
        for name, members in self.merged.items():
            for index in members:
                if index != self.fact_index:
                    fact, dimension = self.sources[self.fact_index], self.sources[index]
                    self._set_join(index, fact.columns[name], dimension.columns[name])

    def _add_source(self, table: exp.Expr) -> None:
        if not isinstance(table, exp.Table) or not isinstance(table.this, exp.Identifier):
            raise NotNative("it reads something that is not a table")
        for arg, value in table.args.items():
            if value and arg not in ("this", "alias", "db"):
                raise NotNative(f"{table.name} has {arg.upper()}")
        if table.db and table.db.casefold() != "main":
            raise NotNative(f"{table.name} has a schema name")
        alias = table.args.get("alias")
        if alias is not None and alias.args.get("columns"):
            raise NotNative(f"{table.name} has column aliases")
        relation = self.relations.get(table.name.casefold())
        if relation is None:
            raise NotNative(f"{table.name} is not a table of the database")
        columns: dict[str, str] = {}
        for name in relation.schema.names:
            if name.casefold() in columns:
                raise NotNative(f"{table.name} has two columns called {name}")
            columns[name.casefold()] = name
        label = table.alias or table.name
        if any(source.alias.casefold() == label.casefold() for source in self.sources):
            raise NotNative(f"{label} stands for two tables")
        self.sources.append(_Source(label, relation, columns))

    def _add_join(self, join: exp.Join) -> None:
        for arg, value in join.args.items():
            if value and arg not in ("this", "kind", "on", "using"):
                raise NotNative(f"it has a {str(value).upper()} join")
        if join.args.get("kind", "") not in ("", "INNER", "CROSS"):
            raise NotNative(f"it has a {join.args['kind']} join")
        self._add_source(join.this)
        here = len(self.sources) - 1
        if join.args.get("on") is not None:
            self.conjuncts.extend(_conjuncts(join.args["on"]))
        for identifier in join.args.get("using") or []:
            name = identifier.name.casefold()
            owners = [i for i, source in enumerate(self.sources[:here]) if name in source.columns]
            members = self.merged.setdefault(name, [])
            if (
                name not in self.sources[here].columns
                or not owners
                or (len(owners) > 1 and set(owners) != set(members))
            ):
                raise NotNative(f"USING ({identifier.name}) names more than one column, or none")
            members.extend(i for i in [*owners, here] if i not in members)

    # -- names

    def _read_aliases(self) -> None:
        for item in self.select.expressions:
            if isinstance(item, exp.Alias):
                name = item.alias.casefold()
                if name in self.aliases:
                    raise NotNative(f"{item.alias} is the name of two columns")
                self.aliases[name] = item.this

    def _resolve(self, column: exp.Column) -> _Base | None:
        """Return the source column that a reference means, or None for the alias of a select item."""
        if column.args.get("db") or column.args.get("catalog") or not isinstance(column.this, exp.Identifier):
            raise NotNative(f"{column.sql('duckdb')} is not a plain column")
        name, table = column.name.casefold(), column.table.casefold()
        if table:
            for i, source in enumerate(self.sources):
                if source.alias.casefold() == table and name in source.columns:
                    return _Base(i, source.columns[name])
            raise NotNative(f"{column.sql('duckdb')} is not a column of a table of the statement")
        owners = [i for i, source in enumerate(self.sources) if name in source.columns]
        if len(owners) > 1 and name in self.merged and set(self.merged[name]) == set(owners):
            owners = [self.fact_index]
        if len(owners) > 1:
            raise NotNative(f"{column.name} is ambiguous")
        if not owners:
            if name in self.aliases:
                return None
            raise NotNative(f"{column.name} is not a column of a table of the statement")
        base = _Base(owners[0], self.sources[owners[0]].columns[name])
        if name in self.aliases:
            # Which of the two a reference means depends on the clause it stands in.
            target = _unwrap(self.aliases[name])
            if target is not column and not self._is_base(target, base):
                raise NotNative(f"{column.name} is a column and the alias of something else")
        return base

    def _is_base(self, node: exp.Expr, base: _Base) -> bool:
        if not isinstance(node, exp.Column):
            return False
        if node.table:
            return self._resolve(node) == base
        # Unqualified, so it is the very name: resolving it again would not end.
        return node.name.casefold() == base.column.casefold()

    # -- WHERE and ON

    def _place_join(self, conjunct: exp.Expr) -> None:
        pair = self._join_pair(conjunct)
        if pair is not None:
            fact, dimension = pair
            self._set_join(dimension.source, fact.column, dimension.column)

    def _join_pair(self, conjunct: exp.Expr) -> tuple[_Base, _Base] | None:
        """Return the fact's and the dimension's column if this is an equality of the two."""
        if not isinstance(conjunct, exp.EQ):
            return None
        sides = [_unwrap(conjunct.this), _unwrap(conjunct.expression)]
        bases = [self._resolve(side) for side in sides if isinstance(side, exp.Column)]
        if len(bases) != 2 or bases[0] is None or bases[1] is None or bases[0].source == bases[1].source:
            return None
        first, second = bases[0], bases[1]
        if first.source == self.fact_index:
            return first, second
        if second.source == self.fact_index:
            return second, first
        raise NotNative(f"{conjunct.sql('duckdb')} joins two dimensions")

    def _set_join(self, index: int, fact_column: str, key: str) -> None:
        source = self.sources[index]
        assert isinstance(source.relation, ArrowRelation)
        if index in self.joins:
            raise NotNative(f"{source.alias} is joined on more than one column")
        fact = self.sources[self.fact_index].relation
        types = fact.schema.field(fact_column).type, source.relation.schema.field(key).type
        if not _joinable(*types):
            raise NotNative(
                f"{fact_column} ({types[0]}) and {source.alias}.{key} ({types[1]}) are of different types"
            )
        self.joins[index] = DimensionUse(source.alias, source.relation, fact_column, key)
        self._use(fact_column)

    def _place_predicate(self, conjunct: exp.Expr) -> None:
        if self._join_pair(conjunct) is not None:
            return
        shown = conjunct.sql("duckdb", comments=False)
        for node in conjunct.walk():
            if node.key not in _PREDICATE_NODES:
                raise NotNative(f"the predicate {shown} has {node.key.upper()}")
        columns = list(conjunct.find_all(exp.Column))
        bases = [self._resolve(column) for column in columns]
        if any(base is None for base in bases):
            raise NotNative(f"the predicate {shown} has the alias of a select item")
        placed = [base for base in bases if base is not None]
        owners = {base.source for base in placed}
        if len(owners) > 1:
            raise NotNative(f"the predicate {shown} has columns of several tables")
        owner = owners.pop() if owners else self.fact_index
        if owner == self.fact_index:
            fact = self.sources[owner].relation
            assert isinstance(fact, ParquetRelation)
            for base in placed:
                if base.column not in fact.partition_columns:
                    raise NotNative(
                        f"the predicate {shown} reads {base.column}, which is not a partition column"
                    )
                self._use(base.column)
        alias = FILES if owner == self.fact_index else self.sources[owner].alias
        moved = conjunct.copy()
        for column, base in zip(list(moved.find_all(exp.Column)), placed, strict=True):
            replacement = exp.column(base.column, table=alias, quoted=True)
            if column is moved:
                moved = replacement
            else:
                column.replace(replacement)
        if owner == self.fact_index:
            self.predicates.append(moved)
        else:
            self.joins[owner].predicates.append(moved)

    # -- GROUP BY

    def _read_groups(self) -> None:
        group = self.select.args.get("group")
        if group is None:
            return
        for arg, value in group.args.items():
            if value and arg not in ("expressions", "all"):
                raise NotNative(f"it has GROUP BY {arg.upper()}")
        if group.args.get("all"):
            if group.expressions:
                raise NotNative("it has GROUP BY ALL with more")
            for item in self.select.expressions:
                inner = _unwrap(item.unalias())
                if isinstance(inner, exp.Column):
                    self._add_key(inner)
                elif inner.find(exp.Window) or not any(_is_count_star(n) for n in inner.find_all(exp.Count)):
                    raise NotNative(f"it groups by the expression {inner.sql('duckdb')}")
        for expression in group.expressions:
            self._add_key(self._group_column(_unwrap(expression)))
        if not self.keys:
            raise NotNative("it groups by nothing")

    def _group_column(self, expression: exp.Expr) -> exp.Column:
        if isinstance(expression, exp.Literal) and not expression.is_string:
            items = self.select.expressions
            if not expression.this.isdigit() or not 1 <= int(expression.this) <= len(items):
                raise NotNative(f"it groups by position {expression.this}")
            expression = _unwrap(items[int(expression.this) - 1].unalias())
        if isinstance(expression, exp.Column):
            if self._resolve(expression) is not None:
                return expression
            expression = _unwrap(self.aliases[expression.name.casefold()])
        if not isinstance(expression, exp.Column) or self._resolve(expression) is None:
            raise NotNative(f"it groups by the expression {expression.sql('duckdb')}")
        return expression

    def _add_key(self, column: exp.Column) -> None:
        base = self._resolve(column)
        if base is None:
            raise NotNative(f"it groups by {column.sql('duckdb')}")
        if base not in self.keys:
            self.keys.append(base)

    # -- the finish

    def _rewrite(self) -> None:
        """Turn the statement into its finish: the same over the table of groups."""
        select = self.select
        grouped = select.args.get("group") is not None
        counted = any(
            _is_count_star(node) and not _in_window(node)
            for part in [*select.expressions, select.args.get("having"), select.args.get("qualify")]
            if part is not None
            for node in part.find_all(exp.Count)
        )
        if not grouped and not counted:
            raise NotNative("it groups nothing and counts nothing")
        for part in self._finish_parts():
            for aggregate in list(part.find_all(exp.AggFunc)):
                self._rewrite_aggregate(aggregate)
            for column in list(part.find_all(exp.Column)):
                self._rewrite_column(column)
            if any(not isinstance(star.parent, exp.Count) for star in part.find_all(exp.Star)):
                raise NotNative("it selects *")
        having = select.args.get("having")
        select.set("where", exp.Where(this=having.this) if having is not None else None)
        for clause in ("having", "group", "joins"):
            select.set(clause, None)
        select.set(
            "from_" if "from_" in select.args else "from", exp.From(this=exp.to_table(AGGREGATE, quoted=True))
        )
        for node in select.walk():
            node.comments = None

    def _finish_parts(self) -> Iterator[exp.Expr]:
        yield from self.select.expressions
        for clause in ("having", "qualify", "order", "distinct"):
            part = self.select.args.get(clause)
            if part is not None:
                yield part
        yield from self.select.args.get("windows") or []
        for clause, kind in (("limit", exp.Limit), ("offset", exp.Offset)):
            part = self.select.args.get(clause)
            if part is None:
                continue
            plain = isinstance(part, kind) and isinstance(part.expression, exp.Literal)
            if not plain or any(value for arg, value in part.args.items() if arg != "expression"):
                raise NotNative(f"its {clause.upper()} is not a plain number")

    @staticmethod
    def _check_aggregate(node: exp.AggFunc) -> None:
        filtered = isinstance(node.parent, (exp.Filter, exp.WithinGroup))
        if not _in_window(node) and (filtered or not _is_count_star(node)):
            shown = node.parent if filtered and node.parent is not None else node
            raise NotNative(f"it has the aggregate {shown.sql('duckdb', comments=False)}")

    def _rewrite_aggregate(self, node: exp.AggFunc) -> None:
        if not _in_window(node):
            node.replace(exp.column(COUNT, table=AGGREGATE, quoted=True))

    def _rewrite_column(self, column: exp.Column) -> None:
        if column.table == AGGREGATE:
            return
        if isinstance(column.this, exp.Star):
            raise NotNative("it selects *")
        base = self._resolve(column)
        if base is None:
            return
        if base not in self.keys:
            raise NotNative(f"{column.sql('duckdb', comments=False)} is neither grouped nor counted")
        replacement = exp.column(f"g{self.keys.index(base)}", table=AGGREGATE, quoted=True)
        column.replace(replacement)


def _joinable(left: pa.DataType, right: pa.DataType) -> bool:
    """Return True where equality of the two types needs no cast that could change a value."""
    import pyarrow.types as types

    def plain(data_type: pa.DataType) -> pa.DataType:
        return data_type.value_type if types.is_dictionary(data_type) else data_type

    def is_text(data_type: pa.DataType) -> bool:
        view = getattr(types, "is_string_view", lambda _: False)
        return bool(types.is_string(data_type) or types.is_large_string(data_type) or view(data_type))

    left, right = plain(left), plain(right)
    if types.is_floating(left) or types.is_floating(right):
        return False
    both = [(types.is_integer(left), types.is_integer(right)), (is_text(left), is_text(right))]
    return bool(left == right) or any(a and b for a, b in both)


def _conjuncts(predicate: exp.Expr) -> Iterator[exp.Expr]:
    predicate = _unwrap(predicate)
    if isinstance(predicate, exp.And):
        yield from _conjuncts(predicate.this)
        yield from _conjuncts(predicate.expression)
    else:
        yield predicate


def _unwrap(expression: exp.Expr) -> exp.Expr:
    while isinstance(expression, exp.Paren):
        expression = expression.this
    return expression


def _is_count_star(node: exp.Expr) -> bool:
    """COUNT(*), COUNT() or COUNT of a constant that is not NULL: the rows of a group."""
    if not isinstance(node, exp.Count) or node.args.get("expressions"):
        return False
    return (
        node.this is None or isinstance(node.this, (exp.Literal, exp.Boolean)) or type(node.this) is exp.Star
    )


def _in_window(node: exp.Expr) -> bool:
    """Return True for the function of a window, which is computed over groups, not within one."""
    child, parent = node, node.parent
    while (
        isinstance(parent, (exp.Filter, exp.IgnoreNulls, exp.RespectNulls, exp.WithinGroup))
        and parent.this is child
    ):
        child, parent = parent, parent.parent
    return isinstance(parent, exp.Window) and parent.this is child
