{#-
    A staging model: each raw row of a dataset with its columns named and typed, and why it is
    rejected, if it is.

    typed_columns: a column's name from here on, its type (macros/values.sql), and the names that it
        has had in TLC's files or in common copies, in lower case. A file has one of them.

    Two ways lead to the same rows. Any month can go the first one, which looks at each value. The
    second one casts values as they are, in half the time; a transaction asks for it by a
    setting, if the loader has seen that the month is written plainly (flows/tlc/plain.py), and takes
    the first one where that fails: `raw.fill_month` (flows/warehouse/schema.sql).

    The loader renders a staging model as well, without dbt, to try a file's values before they take
    the place of a month (flows/warehouse/staged.py): so nothing here is dbt's alone but `ref` and `source`.
-#}
{% macro typed_rows(dataset, raw_table, typed_columns) -%}
{#- Words in the place of codes, in lower case: those of TLC's files until 2014, earlier names in its
    dictionary, and ways of writing yes and no. The dictionary's own are in its seeds. A word that
    nobody knows becomes null and is listed in unknown_spellings; its row is a trip all the same. -#}
{%- set yes_or_no = {
    'y': 'Y', 'yes': 'Y', 'true': 'Y', 't': 'Y', '1': 'Y', '1.0': 'Y',
    'n': 'N', 'no': 'N', 'false': 'N', 'f': 'N', '0': 'N', '0.0': 'N',
} -%}
{%- set spellings = {
    'vendor_id': {'cmt': 1, 'vts': 2, 'dds': 3, 'verifone inc.': 2, 'verifone inc': 2},
    'rate_code_id': {'unknown': 99},
    'payment_type_id': {
        'credit': 1, 'cre': 1, 'crd': 1, 'cash': 2, 'cas': 2, 'csh': 2,
        'no charge': 3, 'no': 3, 'noc': 3, 'dispute': 4, 'dis': 4,
    },
    'trip_type_id': {'street hail': 1},
    'sr_flag': {'y': 1, 'yes': 1, 'true': 1, 't': 1, 'n': 0, 'no': 0, 'false': 0, 'f': 0},
    'store_and_fwd_flag': yes_or_no,
    'shared_request_flag': yes_or_no,
    'shared_match_flag': yes_or_no,
    'access_a_ride_flag': yes_or_no,
    'wav_request_flag': yes_or_no,
    'wav_match_flag': yes_or_no,
} -%}
{%- set in_dictionary = [
    'vendor_id', 'rate_code_id', 'payment_type_id', 'trip_type_id', 'store_and_fwd_flag',
    'request_source', 'hvfhs_license_num',
] -%}

select
    (select '{{ dataset }}'::text) as dataset,  -- a subquery, as in trips.sql
    rows_of_months.*
from (
    {{ rows_looked_at(raw_table, typed_columns, spellings, in_dictionary) }}

    union all

    {{ rows_cast(raw_table, typed_columns, spellings) }}
) as rows_of_months
{%- endmacro %}


{#- Not a CTE: PostgreSQL would keep the steps around it apart, and pass each row on from one to the next. -#}
{% macro named(raw_table, typed_columns) -%}
(
    select
        raw_rows.source_month,
        raw_rows.source_row,
        raw_rows.load_id,
        {%- for name, type, raw_names in typed_columns %}
            {{ first_there('raw_rows', type, raw_names) }} as {{ name }}_text,
        {%- endfor %}
        -- With `.*`, because a file may have a column that is called raw_rows.
        coalesce(raw_rows.*) as raw_row
    from {{ raw_table }} as raw_rows
) as named
{%- endmacro %}


{% macro rows_looked_at(raw_table, typed_columns, spellings, in_dictionary) -%}
{#- The types of which a text that is no value costs that value, and never its row. -#}
{%- set lossy_columns = typed_columns | rejectattr(1, 'in', ['text', 'code']) | list -%}

{#- Conditions on typed_at, which is volatile, are checked after the values are there. One on the
    values alone PostgreSQL would check first, and read them all twice. -#}
{%- set is_any_lost -%}
    case when typed_at is not null then {{ any_lost(lossy_columns, spellings) }} end
{%- endset -%}

select
    source_month,
    source_row,
    load_id,
    {%- for name, type, raw_names in typed_columns %}
        {{ name }},
    {%- endfor %}

    {{ is_any_lost }} as is_rejected,
    case when {{ is_any_lost }} then {{ rejection_reasons(lossy_columns, spellings) }} end
        as rejection_reasons,
    case when {{ is_any_lost }} then jsonb_strip_nulls(
        to_jsonb(raw_row) - array['source_month', 'source_row', 'load_id']
    ) end as raw_values,
    {{ unknown_spellings(typed_columns, spellings) }} as unknown_spellings

-- Not CTEs: PostgreSQL fills one with a volatile column as a whole, and in one process.
from (
    select
        source_month,
        source_row,
        load_id,
        raw_row,
        {%- for name, type, raw_names in typed_columns %}
            {{ name }}_text,
            {{ value(
                name ~ '_text', type, name ~ '_reading', spellings.get(name),
                name if name in in_dictionary
            ) }} as {{ name }},
        {%- endfor %}
        {{ read_once() }} as typed_at
    from (
        select
            *,
            {%- for name, type, raw_names in typed_columns %}
                {{ reading(name ~ '_text', type) }} as {{ name }}_reading,
            {%- endfor %}
            {{ read_once() }} as read_at
        from {{ named(raw_table, typed_columns) }}
        where not raw.values_are_plain()
    ) as readings
) as typed
{%- endmacro %}


{#- Flags and codes are few, and looked at in either way; no word of a dictionary is plain. -#}
{% macro rows_cast(raw_table, typed_columns, spellings) -%}
select
    source_month,
    source_row,
    load_id,
    {%- for name, type, raw_names in typed_columns %}
        {{ name }},
    {%- endfor %}

    {{ is_not_plain(typed_columns) }} as is_rejected,
    null::text as rejection_reasons,
    null::jsonb as raw_values,
    {{ unknown_spellings(typed_columns, spellings) }} as unknown_spellings
from (
    select
        source_month,
        source_row,
        load_id,
        {%- for name, type, raw_names in typed_columns %}
            {{ name }}_text,
            {% if type in ['text', 'code'] -%}
                {{ value(name ~ '_text', type, reading(name ~ '_text', type), spellings.get(name)) }}
            {%- else -%}
                nullif({{ name }}_text, '')::{{ type }}
            {%- endif %} as {{ name }},
        {%- endfor %}
        {{ read_once() }} as cast_at
    from {{ named(raw_table, typed_columns) }}
    where raw.values_are_plain()
) as plain
{%- endmacro %}


{#-
    Never true: it fails where a cast took what the other way would not take, and the loader could not
    see: a code below zero, a time of before 1900, or with anything behind its seconds. A comparison
    with a null is no sign of it. Together with what the loader has seen, it leaves no value to chance.
-#}
{% macro is_not_plain(typed_columns) -%}
    case
        when cast_at is null then true  -- never, but volatile: so this is asked of what was cast
        when
            {%- for name, type, raw_names in typed_columns %}
                {%- if type == 'smallint' %}
            {{ name }} < 0 or
                {%- elif type == 'timestamp' %}
            {{ name }} < '1900-01-01' or octet_length({{ name }}_text) <> 19 or
                {%- endif %}
            {%- endfor %}
            false
            then (source_row || ' is not plain')::boolean
        else false
    end
{%- endmacro %}
