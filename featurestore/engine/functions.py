"""The functions that saved SQL may call: an allow-list.

DuckDB's own labels can't be trusted for this (it calls `age(ts)`, `current_localtime` and `getvariable`
consistent), so every name below was chosen by hand from DuckDB 1.5.5's `duckdb_functions()`. A function is here if

- its result is a function of its arguments alone: no chance, clock, settings, catalogue, session or file. Clock
  functions are the one exception: allowed, listed apart, warned of and never cached;
- it can't turn a short text into memory or time that neither the memory limit nor an interrupt stops. So
  `repeat`, `list_resize`, `sleep_ms` are out, `lpad`, `rpad`, `printf`, `format` and lists made by `range` are
  allowed with constant sizes only (`BOUNDED`), and the table functions `range` and `generate_series`, which
  stream, are allowed as they are;
- it does not call another function by a name that is data (`list_aggregate`).

What depends on ties or on the order of its input is allowed and listed in `ORDER_SENSITIVE`.
"""

from __future__ import annotations


def _words(*texts: str) -> frozenset[str]:
    return frozenset(word for text in texts for word in text.split())


OPERATORS = _words(
    "+ - * / // % ** ^ & | << >> ~ @ || && ~~ !~~ ~~* !~~* ~~~ ^@ ->> <-> <=> <@ @> !__postfix"
)

_NUMBERS = """
abs acos acosh add asin asinh atan atan2 atanh bit_count bit_length cbrt ceil ceiling cos cosh cot degrees divide even
exp factorial fdiv floor fmod gamma gcd greatest greatest_common_divisor isfinite isinf isnan lcm least
least_common_multiple lgamma ln log log10 log2 mod multiply nextafter pi pow power radians round round_even
roundbankers sign signbit sin sinh sqrt subtract tan tanh trunc xor
"""

_TEXT = """
array_to_string ascii bar base64 bin char_length character_length chr concat concat_ws contains damerau_levenshtein
decode editdist3 encode ends_with format_bytes formatreadabledecimalsize formatreadablesize from_base64 from_binary
from_hex hamming hash hex ilike_escape instr jaccard jaro_similarity jaro_winkler_similarity lcase left left_grapheme
len length length_grapheme levenshtein like_escape lower ltrim md5 md5_number md5_number_lower md5_number_upper
mismatches nfc_normalize not_ilike_escape not_like_escape octet_length ord parse_dirname parse_dirpath
parse_filename parse_formatted_bytes parse_path pg_size_pretty position prefix regexp_escape regexp_extract
regexp_extract_all regexp_full_match regexp_matches regexp_replace regexp_split_to_array replace reverse right
right_grapheme rtrim sha1 sha256 split split_part starts_with str_split str_split_regex string_split
string_split_regex string_to_array strip_accents strlen strpos substr substring substring_grapheme suffix to_base64
to_binary to_hex translate trim ucase unbin unhex unicode upper url_decode url_encode
"""

_TIME = """
century date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname dayofmonth
dayofweek dayofyear days_in_month decade epoch epoch_ms epoch_ns epoch_us era hour isodow isoyear julian last_day
make_date make_time make_timestamp make_timestamp_ms make_timestamp_ns make_timestamptz microsecond millennium
millisecond minute month monthname nanosecond normalized_interval quarter second strftime strptime time_bucket
timezone timezone_hour timezone_minute to_centuries to_days to_decades to_hours to_microseconds to_millennia
to_milliseconds to_minutes to_months to_quarters to_seconds to_timestamp to_weeks to_years try_strptime
uuid_extract_timestamp uuid_extract_version week weekday weekofyear year yearweek
"""

_NESTED = """
apply array_append array_apply array_cat array_concat array_contains array_cosine_distance array_cosine_similarity
array_cross_product array_distance array_distinct array_dot_product array_extract array_filter array_grade_up
array_has array_has_all array_has_any array_indexof array_inner_product array_intersect array_length
array_negative_dot_product array_negative_inner_product array_pop_back array_pop_front array_position array_prepend
array_push_back array_push_front array_reduce array_reverse array_reverse_sort array_select array_slice array_sort
array_transform array_unique array_value array_where array_zip cardinality element_at filter flatten
generate_subscripts grade_up list_any_value list_append list_apply list_avg list_bit_and list_bit_or list_bit_xor
list_bool_and list_bool_or list_cat list_concat list_contains list_cosine_distance list_cosine_similarity list_count
list_distance list_distinct list_dot_product list_element list_entropy list_extract list_filter list_first
list_grade_up list_has list_has_all list_has_any list_histogram list_indexof list_inner_product list_intersect
list_kurtosis list_kurtosis_pop list_last list_mad list_max list_median list_min list_mode list_negative_dot_product
list_negative_inner_product list_pack list_position list_prepend list_product list_reduce list_reverse
list_reverse_sort list_select list_sem list_skewness list_slice list_sort list_stddev_pop list_stddev_samp
list_string_agg list_sum list_transform list_unique list_value list_var_pop list_var_samp list_where list_zip map
map_concat map_contains map_contains_entry map_contains_value map_entries map_extract map_extract_value
map_from_entries map_keys map_values reduce row struct_concat struct_contains struct_extract struct_extract_at
struct_has struct_indexof struct_insert struct_keys struct_pack struct_position struct_update struct_values
union_extract union_tag union_value unnest unpivot_list
"""

_JSON = """
array_to_json from_json from_json_strict json json_array json_array_length json_contains json_exists json_extract
json_extract_path json_extract_path_text json_extract_string json_keys json_merge_patch json_object json_pretty
json_quote json_structure json_transform json_transform_strict json_type json_valid json_value row_to_json to_json
"""

_OTHER = """
can_cast_implicitly enum_code enum_first enum_last enum_range enum_range_boundary equi_width_bins
is_histogram_other_bin nullif switch typeof
"""

_AGGREGATES = """
approx_count_distinct avg bit_and bit_or bit_xor bool_and bool_or corr count count_if count_star countif covar_pop
covar_samp entropy favg fsum geomean geometric_mean histogram histogram_exact kahan_sum kurtosis kurtosis_pop mad max
mean median min product quantile quantile_cont quantile_disc regr_avgx regr_avgy regr_count regr_intercept regr_r2
regr_slope regr_sxx regr_sxy regr_syy sem skewness stddev stddev_pop stddev_samp sum sum_no_overflow sumkahan var_pop
var_samp variance wavg weighted_avg
"""

_WINDOW = "cume_dist dense_rank percent_rank rank rank_dense"

AGGREGATES = _words(_AGGREGATES)
"""Aggregates that are determined by their input; some are macros, which DuckDB does not list as aggregates."""

ORDER_SENSITIVE = _words("""
    any_value approx_quantile approx_top_k arbitrary arg_max arg_max_null arg_max_nulls_last arg_min arg_min_null
    arg_min_nulls_last argmax argmin array_agg fill first first_value group_concat json_group_array json_group_object
    lag last last_value lead list listagg max_by min_by mode nth_value ntile row_number string_agg
    """)
"""Allowed, but where rows tie or come in no order, two runs of one query may differ."""

COLLECTS = _words("array_agg group_concat json_group_array list listagg string_agg")
"""Of these: determined when ordered by what they collect, as in `list(x ORDER BY x)`."""

SORTS = _words("array_reverse_sort array_sort list_reverse_sort list_sort")
"""Of these: what they are given need not be ordered."""

BOUNDED = _words("format generate_series lpad printf range rpad")
"""Allowed with constant sizes; see `featurestore.engine.sizes`."""

CLOCK = _words("""
    ago current_localtime current_localtimestamp get_current_time get_current_timestamp now today
    transaction_timestamp
    """)
"""Allowed, with a warning: the answer changes with time alone. `age` belongs here with one argument only."""

ALLOWED = (
    OPERATORS
    | _words(_NUMBERS, _TEXT, _TIME, _NESTED, _JSON, _OTHER, _AGGREGATES, _WINDOW)
    | ORDER_SENSITIVE
    | BOUNDED
    | CLOCK
    | {"age"}
)

TABLE_FUNCTIONS = frozenset(("generate_series", "range", "unnest"))

CLOCK_WORDS = frozenset(("current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"))
"""Bare words that are a clock function when no column has the name."""

SESSION_WORDS = frozenset(
    ("current_catalog", "current_role", "current_schema", "current_user", "session_user", "user")
)
"""Bare words that are a session function when no column has the name."""

_CHANCE = "its result is left to chance, so training and serving would differ"
_SESSION = "its result depends on the session, so training and serving could differ"
_CATALOG = "it reads the engine's catalogue or settings, which differ between training and serving"
_UNBOUNDED = "it can use more memory or time than any limit could stop"
_BY_NAME = "it calls another function by name; write list_sum(x), list_max(x) and the like"

_WHY = {
    **dict.fromkeys(_words("random setseed uuid uuidv4 uuidv7 gen_random_uuid reservoir_quantile"), _CHANCE),
    **dict.fromkeys(_words("nextval currval"), "sequences change with every call"),
    **dict.fromkeys(
        _words("""
        getvariable current_database current_schema current_schemas current_user current_role current_catalog user
        session_user current_query current_query_id current_connection_id current_transaction_id txid_current
        in_search_path
        """),
        _SESSION,
    ),
    **dict.fromkeys(_words("current_setting query query_table stats vector_type get_block_size"), _CATALOG),
    **dict.fromkeys(
        _words("repeat list_resize array_resize sleep_ms pg_sleep bitstring to_base"), _UNBOUNDED
    ),
    **dict.fromkeys(_words("list_aggregate list_aggr array_aggregate array_aggr aggregate"), _BY_NAME),
}


def why_refused(name: str) -> str:
    """Why a function that DuckDB has is not on the list: the second half of a sentence."""
    return _WHY.get(name, "it is not among the functions that are known to depend on their arguments alone")
